import Foundation
import Synchronization
import TestSupport
import Testing

/// Jumps of a host's wall clock have no effect: no expiry depends on it.
@Suite(.tags(.manyProcesses), .processes) struct WallClockTests {
    /// Settings for libfaketime, which asks this file what time it is.
    private static func environment(_ clock: String) throws -> [String: String] {
        let library = "/usr/lib/\(try machine())-linux-gnu/faketime/libfaketime.so.1"
        guard FileManager.default.fileExists(atPath: library) else {
            throw TestFailure("\(library) is missing: scripts/install-dependencies installs faketime")
        }
        return [
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "LOG_LEVEL": "info",
        ]
    }

    private static func machine() throws -> String {
        var name = utsname()
        guard uname(&name) == 0 else { throw TestFailure("uname: \(String(cString: strerror(errno)))") }
        return withUnsafeBytes(of: name.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    private static let shifts: [(text: String, seconds: Double)] = [
        ("+1h", 3600), ("-1h", -3600), ("+1d", 86_400), ("-1d", -86_400), ("+10d", 864_000), ("+0", 0), ("+3", 3),
        ("-3", -3),
    ]

    @Test func `hours and days forth and back change nothing`() async throws {
        let directory = try TemporaryDirectory()
        let clock = try directory.write("+0\n", to: "clock")
        // The reader of the change feed waits by timers of libdispatch. Their clock is monotonic, but libfaketime moves them
        // together with the wall clock.
        let stage = try await FaultStage.start(
            FaultStage.Pace(
                keys: 12, directs: 0, betweenWrites: 0...2000, betweenReads: 0...20, harms: 0,
                environment: try Self.environment(clock)), seed: 0)
        let pids = stage.hosts.map { [$0.syncd.pid] + $0.workers.map(\.pid) }
        let (history, port) = (stage.history, stage.hosts[0].workers[0].portNumber)
        let jumps = Mutex(0)
        try await stage.run(for: .seconds(25)) {
            let http = try HTTPConnection(port: port)
            for shift in Self.shifts + Self.shifts + Self.shifts where !history.isOver {
                try directory.write("\(shift.text)\n", to: "clock")
                await eventually("the clock is set to \(shift.text)", details: { stage.transcript }) {
                    guard let date = try? await Self.date(http) else { return false }
                    return abs(date.timeIntervalSinceNow - shift.seconds) < 2
                }
                let (reads, cached, writes) = (history.counts.reads, history.count("L1"), history.counts.writes)
                await eventually("life goes on at \(shift.text)", details: { stage.transcript }) {
                    history.isOver
                        || history.counts.reads > reads + 10 && history.count("L1") > cached
                            && history.counts.writes > writes
                }
                try await eventually("attached at \(shift.text)", details: { stage.transcript }) {
                    try await http.get("/").json["sync"].string == "attached"
                }
                jumps.withLock { $0 += 1 }
            }
        }
        #expect(jumps.withLock { $0 } >= Self.shifts.count)
        #expect(history.stale.isEmpty, "\(history.stale.prefix(5))\n\(stage.transcript)")
        #expect(history.failures.isEmpty, "\(history.failures.prefix(5))\n\(stage.transcript)")
        #expect(stage.hosts.map { [$0.syncd.pid] + $0.workers.map(\.pid) } == pids)
        for host in stage.hosts {
            // On a busy machine Redis may be late, which is no matter of clocks.
            let isolations = host.syncd.log.split(separator: "\n").filter { $0.contains("isolated") }
            #expect(isolations.allSatisfy { $0.contains("why=\"Redis ") }, "\(host.syncd.transcript)")
            #expect(host.workers.allSatisfy { $0.child.isRunning } && host.syncd.child.isRunning)
        }
        try await stage.expectRecovery()
    }

    /// The worker's idea of the time.
    private static func date(_ http: HTTPConnection) async throws -> Date? {
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.timeZone = TimeZone(identifier: "UTC")
        format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return try await http.get("/")["date"].flatMap { format.date(from: $0) }
    }
}
