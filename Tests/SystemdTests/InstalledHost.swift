import Foundation
import TestSupport

/// A booted copy with the package installed from its .deb, a separate Redis and MongoDB, and everything started.
final class InstalledHost: Sendable {
    let copy: BootedCopy
    /// How many cores the copy has: as many workers are expected.
    let cores: Int

    /// Where things are in the copy.
    enum Path {
        static let package = "/root/syncd.deb"
        static let mongod = "/root/mongod"
        static let load = "/root/load.py"
        static let stopLoad = "/run/stop-load"
    }

    /// Boots a copy, with what the tests need in it; nothing of syncd is installed.
    static func bootBare() async throws -> BootedCopy {
        let copy = try await BootedCopy()
        try await copy.put(try package(), at: Path.package)
        try await copy.put(try Executables.mongod(), at: Path.mongod)
        try await copy.put("\(Executables.packageFolder)/Tests/SystemdTests/load.py", at: Path.load)
        return copy
    }

    /// The package under test: `SYNCD_TEST_PACKAGE`, else the one that `make deb` built.
    static func package() throws -> String {
        if let path = ProcessInfo.processInfo.environment["SYNCD_TEST_PACKAGE"] { return path }
        let folder = "\(Executables.packageFolder)/.build/deb"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        guard let name = names.filter({ $0.hasPrefix("syncd_") && $0.hasSuffix(".deb") }).sorted().last else {
            throw TestFailure("there is no package in \(folder): make deb")
        }
        return "\(folder)/\(name)"
    }

    /// The state of a copy in which everything is installed and started already.
    init(of copy: BootedCopy) async throws {
        self.copy = copy
        cores = Int(try await copy.output("nproc")) ?? 0
        try await waitUntilUp()
    }

    init() async throws {
        copy = try await Self.bootBare()
        cores = Int(try await copy.output("nproc")) ?? 0
        // Enabled as on a real machine, so that they come back after a reboot.
        for (name, command) in Self.servers {
            let unit = "[Service]\nExecStart=\(command)\n[Install]\nWantedBy=multi-user.target\n"
            try await copy.shell("printf '%s' '\(unit)' > /etc/systemd/system/\(name).service")
        }
        try await copy.shell(
            """
            mkdir -p /var/lib/test-mongod
            systemctl daemon-reload
            systemctl enable --now test-mongod test-redis
            apt-get install -y --no-install-recommends \(Path.package)
            echo REDIS_ENABLED=true >> /etc/syncd/syncd.conf
            systemctl enable --now syncd.service apiworker.target
            """, within: .seconds(120))
        try await waitUntilUp()
    }

    private static let servers = [
        (
            "test-mongod",
            "\(Path.mongod) --dbpath /var/lib/test-mongod --bind_ip 127.0.0.1 --wiredTigerCacheSizeGB 0.25 --quiet"
        ),
        ("test-redis", "/usr/bin/redis-server --bind 127.0.0.1 --save \"\""),
    ]

    /// Waits until the host is attached, every core has its worker, and the database answers through each.
    func waitUntilUp() async throws {
        try await copy.output("syncd", "wait", "attached", "workers=\(cores)", "--timeout", "50")
        try await copy.shell(
            "until curl -sf --max-time 5 http://127.0.0.1:3001/api/users >/dev/null; do sleep 0.1; done",
            within: .seconds(30))
    }

    /// The units of the workers.
    var workers: [String] { (0..<cores).map { "apiworker@\($0).service" } }

    /// Everything is up and nothing has failed: what a test begins with, and leaves behind.
    func settle() async throws {
        try await copy.shell("systemctl reset-failed; systemctl start syncd.service apiworker.target")
        try await waitUntilUp()
    }

    /// Uses the API while `body` runs.
    func underLoad(_ body: () async throws -> Void) async throws -> LoadReport {
        try await copy.output("rm", "-f", Path.stopLoad)
        let load = try copy.start("python3", Path.load, "3001", Path.stopLoad)
        // Every client has had answers before anything happens.
        try await copy.shell("until curl -sf http://127.0.0.1:3001/api/users | grep -q Load; do sleep 0.1; done")
        let problem: (any Error)?
        do {
            try await body()
            problem = nil
        } catch {
            problem = error
        }
        // And again after it.
        try await copy.output("sleep", "1")
        try await copy.output("touch", Path.stopLoad)
        _ = try await load.waitForExit(within: .seconds(60))
        try await copy.shell(
            """
            for id in $(curl -sf http://127.0.0.1:3001/api/users | grep -o '"_id":"[^"]*"' | cut -d'"' -f4); do
                curl -sf -X DELETE http://127.0.0.1:3001/api/users/$id >/dev/null
            done
            """)
        if let problem { throw problem }
        guard let report = try? JSONDecoder().decode(LoadReport.self, from: Data(load.output.utf8)) else {
            throw TestFailure("the load did not report\n\(load.transcript)")
        }
        return report
    }
}

/// The observations of the clients of `load.py`.
struct LoadReport: Decodable, CustomStringConvertible {
    var requests: Int
    var writes: Int
    var failed: Int
    /// The first of them, in words.
    var failures: [String]
    /// Reads that showed less than what had been acknowledged before they began.
    var stale: [String]
    /// The longest time of a request, in seconds.
    var slowest: Double
    /// Answers by the process that gave them.
    var workers: [String: Int]
    /// Answers by their `X-Cache`.
    var sources: [String: Int]

    var description: String {
        "\(requests) requests, \(writes) writes, \(failed) failed \(failures), stale \(stale), slowest \(slowest) s, workers \(workers), sources \(sources)"
    }
}
