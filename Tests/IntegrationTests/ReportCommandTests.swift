import Foundation
import IPC
import TestSupport
import Testing

/// `syncd report` as an operator sees it.
@Suite(.tags(.servers), .processes) struct ReportCommandTests {
    /// An object of the report's JSON.
    private struct Object {
        var fields: [String: Any]
        var names: Set<String> { Set(fields.keys) }

        func number(_ name: String) -> Int { fields[name] as? Int ?? -1 }
        func text(_ name: String) -> String? { fields[name] as? String }
        func object(_ name: String) -> Object { Object(fields: fields[name] as? [String: Any] ?? [:]) }
        func list(_ name: String) -> [Object] { (fields[name] as? [[String: Any]] ?? []).map(Object.init) }

        /// Times of isolation by reason in ms.
        var reasons: [String: Int] {
            list("isolated").reduce(into: [:]) { $0[$1.text("reason") ?? ""] = $1.number("ms") }
        }
    }

    private static let names: Set = [
        "version", "mode", "state", "why", "since", "until", "starts", "pending", "total", "days",
    ]
    private static let figureNames: Set = [
        "time-ms", "attached-ms", "idle-ms", "isolated-ms", "isolated", "visible-here", "visible-from-others", "audits",
        "uncovered-writes", "most-pending", "longest-wait-ms", "cold",
    ]

    /// - Parameter exit: the expected status; `nil`: any.
    private static func report(_ syncd: SyncdProcess, exit: Int32? = 0) async throws -> Object {
        let finished = try await syncd.runTool(["report", "--json"])
        if let exit { #expect(finished.exit == .status(exit), "\(finished)") }
        let parsed = try JSONSerialization.jsonObject(with: Data(finished.output.utf8))
        return Object(fields: try #require(parsed as? [String: Any]))
    }

    @Test func `Redis is stopped and goes on`() async throws {
        let redis = try await RedisServer()
        let host = try await Host(redis)
        try await host.client.invalidate("a")
        try await host.client.command("REPORT", "audit-sampled", "300", "audit-stale", "0", "audit-superseded", "0")
        redis.pause()
        await host.waitUntilIsolated()
        try await host.deferred("b")
        let isolated = try await Self.report(host.syncd, exit: 1)
        #expect(isolated.text("state") == "isolated")
        #expect(isolated.number("pending") == 1)
        redis.resume()
        await host.waitUntilAttached()

        let report = try await Self.report(host.syncd)
        #expect(report.names == Self.names)
        let (total, days) = (report.object("total"), report.list("days"))
        // The test may run at midnight.
        #expect((1...2).contains(days.count))
        #expect(days.first?.text("day")?.count == 10)
        for figures in [total] + days { #expect(figures.names.subtracting(["day"]) == Self.figureNames) }
        let sum = total.number("attached-ms") + total.number("idle-ms") + total.number("isolated-ms")
        #expect((sum...(sum + 2)).contains(total.number("time-ms")), "each is rounded down")
        let reasons = total.reasons
        #expect(reasons["starting"] != nil)
        #expect(reasons.keys.contains { $0.hasPrefix("late-") }, "\(reasons)")
        #expect(total.number("most-pending") == 1)
        #expect(total.number("longest-wait-ms") > 0)
        let here = total.object("visible-here")
        #expect(here.number("count") >= 1)
        #expect(here.number("p50-us") > 0)
        #expect(here.number("p99-us") <= here.number("max-us"))
        let audits = total.object("audits")
        #expect(audits.number("judged") == 300)
        #expect(audits.text("stale-share-at-most") == "0.010")
        let cold = try #require(total.list("cold").first)
        #expect(cold.text("cause") == "no-table")
        #expect(cold.number("times") == 1)
        try await verifyTable(host)
    }

    private func verifyTable(_ host: Host) async throws {
        let people = try await host.syncd.runTool(["report"])
        #expect(people.exit == .status(0) && people.errors.isEmpty)
        #expect(people.output.contains("now attached\n") && people.output.contains("late-"), "\(people.output)")
        #expect(people.output.contains("stale 0 of 300 judged: at most 1.0 % of the answers"), "\(people.output)")
        #expect(people.output.contains("\nDAY (UTC) "))
    }

    @Test func `a stopped syncd was not running, and a restart loses nothing`() async throws {
        let redis = try await RedisServer()
        let host = try await Host(redis)
        try await host.client.invalidate("a")
        host.syncd.pause()
        // Workers trust its last heartbeat for a second.
        await eventually("the heartbeat is old") { BootClock.now &- host.table.heartbeat > 2_000_000_000 }
        host.syncd.resume()
        try await eventually("the stop is in the report") {
            let total = try await Self.report(host.syncd, exit: nil).object("total")
            return total.reasons["not-running", default: 0] >= 500
        }
        await host.waitUntilAttached()
        let before = try await Self.report(host.syncd).object("total")
        #expect(try await host.syncd.stop() == .status(0))
        #expect(host.syncd.directory.names().contains("report"))
        try await host.syncd.start()
        try await host.syncd.waitUntilAttached()
        let report = try await Self.report(host.syncd)
        let after = report.object("total")
        #expect(report.number("starts") == 2)
        #expect(after.object("visible-here").number("count") == before.object("visible-here").number("count"))
        #expect(after.number("attached-ms") >= before.number("attached-ms"))
        #expect(after.list("cold").map { $0.text("cause") } == ["started", "no-table"])

        #expect(try await host.syncd.stop() == .status(0))
        try host.syncd.directory.write("syncd-report 1\nnonsense", to: "report")
        try await host.syncd.start()
        try await host.syncd.waitUntilAttached()
        #expect(try await Self.report(host.syncd).number("starts") == 1, "a damaged file counts as none")
    }

    @Test func `a host measures invalidations of another host`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        func seen(_ host: Host) async throws -> Object {
            try await Self.report(host.syncd).object("total").object("visible-from-others")
        }
        // One of them may have told the other that it found another log.
        let (writerBefore, before) = (try await seen(hosts[0]), try await seen(hosts[1]))
        let position = try await hosts[0].client.invalidate("a")
        await hosts[1].waitUntilApplied(position)
        let after = try await seen(hosts[1])
        #expect(after.number("count") == before.number("count") + 1)
        // Both have the clock of this machine.
        #expect(after.number("max-ms") < 60_000)
        #expect(try await seen(hosts[0]).number("count") == writerBefore.number("count"))
        let people = try await hosts[1].syncd.runTool(["report"])
        #expect(people.output.contains("\nfrom others   p50 "), "\(people.output)")
    }

    @Test func `STATUS has the section only when it is asked for`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let status = try await syncd.status()
        #expect(status["log"] != nil && status["report"] == nil)
        let report = try await syncd.command("STATUS", "REPORT")
        #expect(report["report"]?["state"]?.string == "attached")
        #expect(report["log"] == nil)
        #expect(try await syncd.command("INFO", "report").string == "", "exporters need no list of days")
        #expect(try await syncd.command("STATUS", "nothing").errorText?.contains("limits, report") == true)
    }

    @Test func `nobody there, and an unknown option`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let embedded = try await syncd.runTool(["report"])
        #expect(embedded.exit == .status(0))
        #expect(embedded.output.contains("  embedded  now attached"), "\(embedded)")
        #expect(try await syncd.runTool(["report", "--nonsense"]).exit == .status(64))
        syncd.kill()
        let nobody = try await syncd.runTool(["report"])
        #expect(nobody.exit == .status(3) && nobody.output.isEmpty && nobody.errors.contains(syncd.socketPath))
    }
}
