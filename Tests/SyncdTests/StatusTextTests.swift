import Foundation
import IPC
import NIOCore
import Notation
import SyncCore
import Testing

@testable import syncd

@Suite struct StatusTextTests {
    private let sections: [StatusField] = [
        StatusField(
            "server",
            .fields([
                StatusField("version", .text("1.2.3")), StatusField("pid", .number(7)),
                StatusField("uptime-ms", .number(3_600_000)), StatusField("socket", .text("/run/s")),
            ])),
        StatusField(
            "log",
            .fields([
                StatusField("mode", .text("redis")), StatusField("state", .text("isolated")),
                StatusField("since-ms", .number(5000)), StatusField("why", .text("Redis is away")),
                StatusField("applied", .number(41)), StatusField("epoch", .number(2)),
                StatusField("epoch-reason", .text("started")), StatusField("pending", .number(0)),
            ])),
        StatusField(
            "clients",
            .list([
                .fields([
                    StatusField("id", .number(1)), StatusField("name", .bytes(ByteBuffer(bytes: [0x61, 0x0a, 0xff]))),
                    StatusField("pid", .number(99)), StatusField("tracking", .flag(true)),
                    StatusField(
                        "reported",
                        .fields([
                            StatusField("l1-hits", .bytes(ByteBuffer(string: "3"))),
                            StatusField("l1-misses", .bytes(ByteBuffer(string: "1"))),
                        ])),
                ])
            ])),
    ]

    @Test func `the table says what matters`() {
        let text = StatusTable.render(sections, time: 1_000_000_000)
        #expect(text.hasPrefix("syncd    1.2.3  pid 7  up 60 min  /run/s\nhealth   DEGRADED"))
        #expect(text.contains("isolated for 5 s, since 2001-09-"))
        #expect(text.contains("why      Redis is away\n"))
        #expect(text.contains("applied 41"))
        #expect(!text.contains("\nredis "), "no such section, no such line")
        #expect(text.contains("75.0 %"))
        #expect(text.contains("a\\x0a\\xff"), "no client can forge a line")
    }

    @Test(arguments: [
        ("redis://127.0.0.1:6379", "127.0.0.1:6379", "redis    redis://127.0.0.1:6379  7.0.15"),
        ("redis+cluster://a:1,b:2", "10.0.0.2:2", "redis    redis+cluster://a:1,b:2  primary 10.0.0.2:2  7.0.15"),
        ("redis+cluster://a:1,b:2", "b:2", "redis    redis+cluster://a:1,b:2  primary b:2  7.0.15"),
        ("redis+cluster://a:1,b:2", "", "redis    redis+cluster://a:1,b:2  7.0.15"),
    ]) func `the primary is named where the URL does not`(endpoint: String, primary: String, line: String) {
        let redis = StatusField(
            "redis",
            .fields([
                StatusField("endpoint", .text(endpoint)), StatusField("primary", .text(primary)),
                StatusField("server-version", .text("7.0.15")),
            ]))
        #expect(StatusTable.render(sections + [redis], time: 0).contains(line))
    }

    @Test func `a status of a later or an earlier version is shown as far as it goes`() {
        #expect(StatusTable.render([], time: 0).hasPrefix("syncd    -  pid -  up -  -\n"))
        #expect(StatusJSON.render([]) == "{}\n")
    }

    private static func audits(_ reports: [[String: String]]) -> [StatusField] {
        let clients = reports.map { report in
            let fields = report.map { StatusField($0, .bytes(ByteBuffer(string: $1))) }
            return StatusValue.fields([StatusField("reported", .fields(fields))])
        }
        return [StatusField("clients", .list(clients))]
    }

    @Test func `workers that cannot write into the journal are counted`() throws {
        let two = Self.audits([["journal": "unusable"], ["journal": "ok"], ["journal": "unusable"], [:]])
        #expect(StatusTable.render(two, time: 0).contains("2 workers cannot write into the journal"))
        #expect(SyncdMetrics.render(two).contains("\nsyncd_workers_journal_unusable 2\n"))
        let none = Self.audits([["journal": "ok"]])
        #expect(!StatusTable.render(none, time: 0).contains("journal"))
        #expect(SyncdMetrics.render(none).contains("\nsyncd_workers_journal_unusable 0\n"))
    }

    @Test func `what the auditors found is added up`() throws {
        let none = Self.audits([["l1-hits": "3"], [:]])
        #expect(AuditFigures(none) == nil && AuditFigures([]) == nil)
        #expect(!StatusTable.render(none, time: 0).contains("audit"))

        let clean = Self.audits([
            ["audit-sampled": "1000", "audit-stale": "0", "audit-superseded": "3"], ["l1-hits": "3"],
            ["audit-sampled": "503", "audit-stale": "0", "audit-superseded": "0"],
        ])
        let table = StatusTable.render(clean, time: 0)
        #expect(table.contains("\naudit    stale 0 of 1500 sampled (< 3/1500)  superseded 3\n"), "\(table)")
        let metrics = SyncdMetrics.render(clean)
        #expect(metrics.contains("\nsyncd_workers_audit_sampled 1503\n"))
        #expect(metrics.contains("\nsyncd_workers_audit_superseded 3\n"))
        let json = StatusJSON.render([try #require(AuditFigures(clean)).section])
        let parsed = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: [String: Int]]
        #expect(parsed == ["audit": ["sampled": 1503, "stale": 0, "superseded": 3]])
    }

    @Test func `what is stale has no bound, and nonsense counts nothing`() {
        let stale = Self.audits([["audit-sampled": "10", "audit-stale": "2", "audit-superseded": "1"]])
        #expect(AuditFigures(stale)?.text == "stale 2 of 9 sampled  superseded 1")
        #expect(SyncdMetrics.render(stale).contains("\nsyncd_workers_audit_stale 2\n"))
        let nonsense = Self.audits([
            ["audit-sampled": "-5", "audit-stale": "x", "audit-superseded": "18446744073709551615"]
        ])
        #expect(AuditFigures(nonsense)?.text == "stale 0 of 0 sampled  superseded 18446744073709551615")
        #expect(AuditFigures(Self.audits([[:]])) == nil)
    }

    @Test func `durations`() {
        let texts = [0, 119_999, 120_000, 7_199_999, 7_200_000, 172_799_999, 172_800_000].map {
            StatusTable.duration(.number($0))
        }
        #expect(texts == ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"])
        #expect(StatusTable.duration(.null) == "-")
        #expect(StatusTable.duration(.text("x")) == "-")
    }

    @Test func `JSON that others can read`() throws {
        let parsed = try JSONSerialization.jsonObject(with: Data(StatusJSON.render(sections).utf8))
        let status = try #require(parsed as? [String: Any])
        #expect((status["log"] as? [String: Any])?["applied"] as? Int == 41)
        let client = try #require((status["clients"] as? [[String: Any]])?.first)
        #expect(client["name"] as? String == "a\\x0a\\xff")
        #expect(client["tracking"] as? Bool == true)
    }

    @Test func `a JSON string holds anything`() throws {
        let text = "quote \" backslash \\ line \n tab \t bell \u{7} é 😀 \u{2028}"
        let parsed = try JSONSerialization.jsonObject(
            with: Data(JSONString.quoted(text).utf8), options: .fragmentsAllowed)
        #expect(parsed as? String == text)
    }

    @Test func `the form of INFO`() {
        let text = String(buffer: InfoText.render(sections))
        #expect(text.hasPrefix("# Server\r\nversion:1.2.3\r\npid:7\r\nuptime_ms:3600000\r\n"))
        #expect(text.contains("\r\n\r\n# Log\r\nmode:redis\r\nstate:isolated\r\n"))
        #expect(text.contains("client0:id=1,name=a\\x0a\\xff,pid=99,tracking=1,reported=l1_hits=3;l1_misses=1\r\n"))
        for line in text.split(separator: "\r\n") {
            #expect(line.hasPrefix("#") || line.contains(":"), "every line has a name")
        }
    }
}
