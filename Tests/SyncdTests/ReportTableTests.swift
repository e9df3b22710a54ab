import Foundation
import IPC
import Testing

@testable import syncd

@Suite struct ReportTableTests {
    private static func latencies(_ unit: String, _ values: [UInt64]) -> StatusValue {
        .fields(
            zip(["count", "p50-\(unit)", "p99-\(unit)", "max-\(unit)"], values).map { StatusField($0, .number($1)) })
    }

    private static func figures(
        sampled: UInt64, stale: UInt64 = 0, uncovered: UInt64? = nil, others: UInt64 = 0
    ) -> [StatusField] {
        [
            StatusField("time-ms", .number(86_400_000)), StatusField("attached-ms", .number(86_399_999)),
            StatusField("idle-ms", .number(0)), StatusField("isolated-ms", .number(1)),
            StatusField(
                "isolated",
                .list([
                    .fields([
                        StatusField("reason", .text("late-probe")), StatusField("text", .text("Redis was late")),
                        StatusField("ms", .number(1)), StatusField("times", .number(2)),
                    ])
                ])),
            StatusField("visible-here", latencies("us", [12, 850, 13_400, 2_300_000])),
            StatusField("visible-from-others", latencies("ms", [others, 1, 3, 250])),
            StatusField(
                "audits",
                .fields([
                    StatusField("sampled", .number(sampled)), StatusField("stale", .number(stale)),
                    StatusField("superseded", .number(3)),
                ])),
            StatusField("uncovered-writes", uncovered.map { .number($0) } ?? .null),
            StatusField("most-pending", .number(7)), StatusField("longest-wait-ms", .number(1250)),
            StatusField(
                "cold",
                .list([
                    .fields([
                        StatusField("cause", .text("trimmed")), StatusField("text", .text("entries were gone")),
                        StatusField("times", .number(1)),
                    ])
                ])),
        ]
    }

    private static func report(_ figures: [StatusField]) -> [StatusField] {
        [
            StatusField("version", .text("1.2.3")), StatusField("mode", .text("redis")),
            StatusField("state", .text("isolated")), StatusField("why", .text("Redis is away")),
            StatusField("since", .text("2026-11-01T00:00:00.000Z")),
            StatusField("until", .text("2026-11-02T00:00:00.000Z")), StatusField("starts", .number(2)),
            StatusField("pending", .number(4)), StatusField("total", .fields(figures)),
            StatusField("days", .list([.fields([StatusField("day", .text("2026-11-01"))] + figures)])),
        ]
    }

    @Test func `the table says what matters`() {
        let text = ReportTable.render(Self.report(Self.figures(sampled: 1503)))
        #expect(
            text == """
                syncd         1.2.3  redis  now isolated: Redis is away
                counted       24 h from 2026-11-01T00:00:00.000Z to 2026-11-02T00:00:00.000Z, starts of syncd: 2
                attached      99.999 %
                idle          0.000 %
                isolated      0.001 %  1 ms
                              1 ms 2× late-probe: Redis was late
                visible here  p50 850 µs  p99 13.4 ms  max 2.3 s  of 12 invalidations by this host
                audits        stale 0 of 1500 judged: at most 0.20 % of the answers, with 95 % confidence  superseded 3
                pending       now 4  at most 7  longest wait 1.2 s
                cold caches   1× trimmed: entries were gone

                DAY (UTC)   ATTACHED  IDLE     ISOLATED  HERE P99  MAX    STALE/JUDGED  PENDING  LONGEST WAIT  COLD
                2026-11-01  99.999 %  0.000 %  1 ms      13.4 ms   2.3 s  0/1500        7        1.2 s         1

                """)
    }

    @Test func `uncovered writes have a row and a column where there is a feed`() {
        let text = ReportTable.render(Self.report(Self.figures(sampled: 3, uncovered: 0)))
        #expect(text.contains("\nuncovered     0 writes without an invalidation\n"))
        let one = ReportTable.render(Self.report(Self.figures(sampled: 3, uncovered: 1)))
        #expect(one.contains("\nuncovered     1 write without an invalidation\n"))
        #expect(text.contains("  UNCOVERED  PENDING"))
        #expect(text.contains("\naudits        none\n"), "all samples were superseded")
    }

    @Test func `invalidations of other hosts have a row and columns if there are any`() {
        let text = ReportTable.render(Self.report(Self.figures(sampled: 3, others: 44)))
        #expect(text.contains("\nfrom others   p50 1 ms  p99 3 ms  max 250 ms  of 44 by other hosts\n"), "\(text)")
        #expect(text.contains("  OTHERS P99  MAX     STALE/JUDGED"), "\(text)")
    }

    @Test func `a report of a later or an earlier version is shown as far as it goes`() {
        #expect(ReportTable.render([]).hasPrefix("syncd         -  -  now -\n"))
    }

    @Test func `JSON has the bound in the total and in each day`() throws {
        let fields = ReportCommand.withBounds(Self.report(Self.figures(sampled: 1001, stale: 1)))
        let parsed = try JSONSerialization.jsonObject(with: Data(StatusJSON.render(fields).utf8))
        let report = try #require(parsed as? [String: Any])
        let days = try #require(report["days"] as? [[String: Any]])
        for figures in [try #require(report["total"] as? [String: Any]), try #require(days.first)] {
            let audits = try #require(figures["audits"] as? [String: Any])
            #expect(audits["judged"] as? Int == 998 && audits["stale-share-at-most"] as? String == "0.0048")
            #expect(figures["uncovered-writes"] is NSNull)
        }
    }
}
