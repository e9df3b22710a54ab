import Foundation
import TestSupport
import Testing

/// The life of the package on a separate machine.
@Suite(.tags(.bootedMachine), .enabled(if: BootedCopy.obstacle == nil, "\(BootedCopy.obstacle ?? "")"))
struct PackageTests {
    /// The commands of the page for administrators, as they are there.
    private func documentedCommands() throws -> [String] {
        let page = try String(contentsOfFile: "\(Executables.packageFolder)/docs/operations.md", encoding: .utf8)
        let section = try #require(page.components(separatedBy: "## Install on a host\n").last)
        let block = try #require(section.components(separatedBy: "```").dropFirst().first)
        return block.split(separator: "\n").dropFirst().map { String($0.replacing("sudo ", with: "")) }
    }

    @Test(.timeLimit(.minutes(10)))
    func `installed as documented, upgraded under load, purged without a trace`() async throws {
        let commands = try documentedCommands()
        #expect(commands.count == 5)
        #expect(commands[0] == "make deb")
        let copy = try await InstalledHost.bootBare()
        let before = try await traces(copy)
        try await copy.shell(
            """
            mkdir -p /var/lib/test-mongod
            systemd-run --unit=test-mongod \(InstalledHost.Path.mongod) --dbpath /var/lib/test-mongod --bind_ip 127.0.0.1
            mkdir -p /root/source/.build/deb
            cp \(InstalledHost.Path.package) /root/source/.build/deb/syncd_1_test.deb
            """)
        // The package under test is what `make deb` has built.
        for command in commands.dropFirst() {
            try await copy.shell("cd /root/source; \(command)", within: .seconds(120))
        }
        #expect(try await copy.output("curl", "-sf", "http://127.0.0.1:3001/").contains("\"sync\":\"attached\""))

        let host = try await InstalledHost(of: copy)
        let daemon = try await copy.mainProcess(of: "syncd.service")
        try await copy.shell(
            """
            dpkg-deb -R \(InstalledHost.Path.package) /root/newer
            sed -i 's/^Version: .*/&+newer/' /root/newer/DEBIAN/control
            dpkg-deb -Zgzip -z1 -b /root/newer /root/newer.deb
            """, within: .seconds(120))
        let report = try await host.underLoad {
            try await copy.shell("apt-get install -y /root/newer.deb", within: .seconds(120))
        }
        #expect(report.failed == 0 && report.stale.isEmpty, "\(report)")
        #expect(try await copy.output("dpkg-query", "-Wf", "${Version}", "syncd").hasSuffix("+newer"))
        #expect(try await copy.mainProcess(of: "syncd.service") != daemon)
        #expect(report.workers.count > host.cores, "every worker is another one: \(report.workers)")

        try await copy.output("apt-get", "purge", "-y", "syncd", within: .seconds(60))
        #expect(try await traces(copy) == before)
        #expect(try await copy.run("curl", "-s", "http://127.0.0.1:3001/").exit == .status(7))
    }

    /// Everything that is named after the package: files, users, groups, units.
    private func traces(_ copy: BootedCopy) async throws -> String {
        try await copy.shell(
            """
            find /etc /usr/bin /usr/lib /usr/share /lib/systemd /var/lib /run \\( -name '*syncd*' -o -name '*apiworker*' \\) \\
                -not -path '/run/systemd/*' -not -path '/var/lib/dpkg/*' -not -path '/usr/lib/debug/*' | sort
            getent passwd syncd apiworker || true
            getent group syncd apiworker || true
            systemctl list-units --all --plain --no-legend '*syncd*' 'apiworker*' | grep -v not-found || true
            systemctl list-unit-files --plain --no-legend '*syncd*' 'apiworker*' || true
            dpkg-query -W syncd 2>/dev/null || true
            """)
    }
}
