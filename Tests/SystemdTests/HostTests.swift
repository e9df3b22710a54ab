import Foundation
import TestSupport
import Testing

/// One installed host for all tests of this file; each leaves it as it found it.
private let sharedHost = Task { try await InstalledHost() }

@Suite(
    .tags(.bootedMachine), .serialized, .enabled(if: BootedCopy.obstacle == nil, "\(BootedCopy.obstacle ?? "")"),
    .timeLimit(.minutes(5)))
struct HostTests {
    let host: InstalledHost
    var copy: BootedCopy { host.copy }

    init() async throws {
        host = try await sharedHost.value
        try await host.settle()
    }

    // MARK: Units

    @Test func `the units are sound, silently`() async throws {
        let units = "syncd.service syncd.socket apiworker@0.service apiworker@0.socket apiworker.target"
        let result = try await copy.run("bash", "-c", "systemd-analyze verify \(units) 2>&1")
        #expect(result.exit == .status(0))
        #expect(result.output == "")
    }

    @Test(arguments: [("syncd.service", 12), ("apiworker@0.service", 15)])
    func `exposure is low`(_ unit: String, _ tenths: Int) async throws {
        let result = try await copy.run("systemd-analyze", "security", "--no-pager", "--threshold=\(tenths)", unit)
        #expect(result.exit == .status(0), "\(result.output.split(separator: "\n").last ?? "")")
    }

    @Test func `readiness and state are shown`() async throws {
        #expect(try await copy.property("ActiveState", of: "syncd.service") == "active")
        #expect(try await copy.property("StatusText", of: "syncd.service").hasPrefix("attached"))
        for worker in host.workers {
            #expect(try await copy.property("StatusText", of: worker) == "serving, attached to syncd")
        }
        #expect(try await copy.output("systemctl", "--failed", "--plain", "--no-legend") == "")
    }

    @Test func `one worker per core, on its core`() async throws {
        #expect(host.cores > 0)
        var found: Set<Int> = []
        for (core, worker) in host.workers.enumerated() {
            let pid = try await copy.mainProcess(of: worker)
            let list = try await copy.shell("awk '/^Cpus_allowed_list/ {print $2}' /proc/\(pid)/status")
            #expect(list == "\(core)")
            found.insert(pid)
        }
        #expect(found.count == host.cores)
        #expect(try await copy.run("systemctl", "is-active", "apiworker@\(host.cores).service").exit != .status(0))
        let status = try await copy.output("syncd", "status")
        for pid in found { #expect(status.contains("apiworker-\(pid)")) }
    }

    @Test func `the journal knows the priority, and time is not said twice`() async throws {
        let line = try await copy.shell(
            "journalctl --boot --unit=syncd --output=json --no-pager | grep 'syncd listens' | tail -n 1")
        #expect(line.contains("\"PRIORITY\":\"5\""))
        #expect(line.contains("\"MESSAGE\":\"syncd listens "))
    }

    @Test func `idle processes are small`() async throws {
        for (unit, kilobytes) in [("syncd.service", 25 * 1024), ("apiworker@0.service", 45 * 1024)] {
            try await copy.output("systemctl", "restart", unit)
            try await host.waitUntilUp()
            let pid = try await copy.mainProcess(of: unit)
            let resident = Int(try await copy.shell("awk '/^VmRSS/ {print $2}' /proc/\(pid)/status")) ?? .max
            #expect(resident <= kilobytes, "\(unit): \(resident) KiB")
        }
    }

    // MARK: Sockets

    @Test func `a connect starts syncd`() async throws {
        // Workers would connect at once.
        try await copy.output("systemctl", "stop", "apiworker.target")
        try await copy.output("systemctl", "stop", "syncd.service")
        #expect(try await copy.property("ActiveState", of: "syncd.service") == "inactive")
        try await copy.output("syncd", "wait", "attached", "--timeout", "20")
        #expect(try await copy.property("ActiveState", of: "syncd.service") == "active")
        let status = try await copy.output("syncd", "status", "--json")
        #expect(status.contains("\"socket-activated\": true"))
        #expect(try await copy.shell("stat -c '%a %U %G' /run/syncd/syncd.sock") == "660 syncd syncd")
    }

    @Test func `a request starts a worker`() async throws {
        try await copy.output("systemctl", "stop", "apiworker@*.service")
        for worker in host.workers { #expect(try await copy.property("ActiveState", of: worker) == "inactive") }
        #expect(try await copy.output("curl", "-sf", "http://127.0.0.1:3001/").contains("API is running"))
    }

    @Test func `stopping the target closes the port, starting it opens it`() async throws {
        try await copy.output("systemctl", "stop", "apiworker.target")
        // systemctl waits for the target, whose sockets may need a moment more.
        try await eventually("the port is closed") {
            try await copy.run("curl", "-s", "http://127.0.0.1:3001/").exit == .status(7)
        }
        try await copy.output("systemctl", "start", "apiworker.target")
        try await host.waitUntilUp()
    }

    // MARK: Faults

    @Test func `syncd is killed under load: nobody notices`() async throws {
        let before = try await copy.mainProcess(of: "syncd.service")
        let report = try await host.underLoad {
            try await copy.output("systemctl", "kill", "--signal=KILL", "syncd.service")
            try await copy.output("syncd", "wait", "attached", "--timeout", "20")
        }
        #expect(report.failed == 0 && report.stale.isEmpty, "\(report)")
        #expect(try await copy.mainProcess(of: "syncd.service") != before)
    }

    @Test func `a worker is killed: its listener is still there, and it comes back`() async throws {
        let worker = host.workers[0]
        let before = try await copy.mainProcess(of: worker)
        try await copy.shell(
            """
            kill -KILL \(before)
            for attempt in $(seq 100); do curl -sf --max-time 20 http://127.0.0.1:3001/ >/dev/null; done
            """)
        try await host.waitUntilUp()
        #expect(try await copy.mainProcess(of: worker) != before)
    }

    @Test func `syncd hangs under load: the watchdog restarts it`() async throws {
        let before = try await copy.mainProcess(of: "syncd.service")
        let report = try await host.underLoad {
            try await copy.output("kill", "-STOP", "\(before)")
            try await copy.shell(
                "until [ \"$(systemctl show --property=MainPID --value syncd)\" != \(before) ]; do sleep 0.1; done",
                within: .seconds(40))
            try await copy.output("syncd", "wait", "attached", "--timeout", "20")
        }
        #expect(report.failed == 0 && report.stale.isEmpty, "\(report)")
        try await copy.shell("journalctl --boot --unit=syncd --grep='Watchdog timeout'")
    }

    @Test func `a worker hangs: the watchdog restarts it`() async throws {
        let worker = host.workers[0]
        let before = try await copy.mainProcess(of: worker)
        try await copy.output("kill", "-STOP", "\(before)")
        try await copy.shell(
            "until [ \"$(systemctl show --property=MainPID --value \(worker))\" != \(before) ]; do sleep 0.1; done",
            within: .seconds(40))
        try await host.waitUntilUp()
        try await copy.shell("journalctl --boot --unit=\(worker) --grep='Watchdog timeout'")
    }

    // MARK: Restarts

    @Test func `everything restarts under load: no request fails, no read is stale`() async throws {
        let report = try await host.underLoad {
            try await copy.output("systemctl", "restart", "syncd.service")
            for worker in host.workers { try await copy.output("systemctl", "restart", worker) }
            try await copy.output("systemctl", "restart", "apiworker.target")
            try await copy.output("systemctl", "restart", "syncd.service", "apiworker.target")
        }
        #expect(report.failed == 0 && report.stale.isEmpty, "\(report)")
        #expect(report.writes > 0)
        #expect(report.workers.count > host.cores, "\(report.workers)")
    }

    @Test func `a reload changes limits and level, a bad one changes nothing`() async throws {
        let configuration = "/etc/syncd/syncd.conf"
        try await copy.output("cp", configuration, "/root/syncd.conf")
        let pid = try await copy.mainProcess(of: "syncd.service")
        try await copy.shell("echo SYNCD_LIMIT_CLIENTS=77 >> \(configuration); systemctl reload syncd")
        let isChanged = "syncd status --json | grep '\"clients\": 77'"
        try await copy.shell("until \(isChanged); do sleep 0.1; done", within: .seconds(10))
        try await copy.shell("echo SYNCD_LIMIT_CLIENTS=none >> \(configuration); systemctl reload syncd")
        let complaint = "journalctl --boot --unit=syncd --grep='was not reloaded'"
        try await copy.shell("until \(complaint); do sleep 0.1; done", within: .seconds(10))
        try await copy.shell(isChanged)
        #expect(try await copy.mainProcess(of: "syncd.service") == pid)
        try await copy.shell("cp /root/syncd.conf \(configuration); systemctl reload syncd")
    }

    @Test func `a configuration that can't be used ends syncd until it is mended`() async throws {
        let configuration = "/etc/syncd/syncd.conf"
        try await copy.output("cp", configuration, "/root/syncd.conf")
        try await copy.shell("echo SYNCD_LIMIT_CLIENTS=none >> \(configuration)")
        #expect(try await copy.run("systemctl", "restart", "syncd.service").exit != .status(0))
        // systemd does not try again by itself; workers that connect make it try, until it has had enough of that.
        let state = "systemctl show --property=ActiveState --value"
        try await copy.shell(
            "until [ \"$(\(state) syncd.service) $(\(state) syncd.socket)\" = 'failed failed' ]; do sleep 0.1; done")
        #expect(try await copy.property("ExecMainStatus", of: "syncd.service") == "78")
        try await copy.shell("journalctl --boot --unit=syncd --grep=SYNCD_LIMIT_CLIENTS")
        // The workers go on without it.
        #expect(try await copy.output("curl", "-sf", "http://127.0.0.1:3001/").contains("API is running"))
        // As docs/operations.md has it.
        try await copy.output("cp", "/root/syncd.conf", configuration)
        try await copy.shell("systemctl reset-failed syncd.socket syncd.service; systemctl start syncd.service")
        try await host.waitUntilUp()
    }

    @Test func `everything comes back after a reboot`() async throws {
        try await copy.reboot()
        try await host.waitUntilUp()
        #expect(try await copy.output("systemctl", "--failed", "--plain", "--no-legend") == "")
    }
}
