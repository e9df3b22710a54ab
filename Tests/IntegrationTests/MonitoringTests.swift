import Foundation
import TestSupport
import Testing

/// Alert rules and dashboards against what `syncd metrics` and the workers print.
@Suite(.tags(.servers), .processes) struct MonitoringTests {
    private static func document(_ name: String) throws -> String {
        try String(contentsOfFile: "\(Executables.packageFolder)/docs/\(name)", encoding: .utf8)
    }

    /// Everything in a text that looks like a name of ours, samples of histograms by the histogram's name.
    private static func names(in text: String, _ prefix: String = "syncd_") -> Set<String> {
        let words = text.split { !($0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_")) }
        return Set(
            words.filter { $0.hasPrefix(prefix) }.map { word in
                let suffix = ["_bucket", "_sum", "_count"].first { word.hasSuffix($0) } ?? ""
                return String(word.dropLast(suffix.count))
            })
    }

    @Test func `every metric that is named is printed`() async throws {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        let metrics = try await syncd.runTool(["metrics", "--without-workers"])
        #expect(metrics.exit == .status(0), "\(metrics)")
        let printed = Set(try PrometheusExposition(metrics.output).metrics.map(\.name))
        #expect(printed.count > 20)
        for name in ["monitoring/alerts.yml", "monitoring/dashboard.json"] {
            let named = Self.names(in: try Self.document(name))
            #expect(named.count > 5)
            #expect(named.subtracting(printed) == [], "\(name)")
        }
        // A figure that nobody looks at is not worth a time series.
        let shown = Self.names(in: try Self.document("monitoring/dashboard.json"))
        #expect(printed.subtracting(shown) == [])
    }

    @Test func `every metric of the workers that is named is printed, documented and shown`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        _ = try await host.connect().get("/api/users")
        let text = try await host.connect().get("/metrics").text
        let printed = Set(try PrometheusExposition(text).metrics.map(\.name))
        #expect(printed.count > 10)
        let alerts = Self.names(in: try Self.document("monitoring/alerts.yml"), "apiworker_")
        #expect(alerts.count > 3 && alerts.subtracting(printed) == [])
        #expect(Self.names(in: try Self.document("monitoring/apiworker.json"), "apiworker_") == printed)
        let page = try Self.document("http-api.md")
        let section = try #require(page.components(separatedBy: "\n## ").first { $0.hasPrefix("Metrics\n") })
        let rows = section.split(separator: "\n").filter { $0.hasPrefix("| `") }
        let documented = rows.flatMap { row in
            row.split(separator: "|")[0].split(separator: "`").filter { $0.first?.isLetter == true }
        }
        #expect(Set(documented.map { "apiworker_\($0)" }) == printed)
    }

    @Test func `histograms, limits and what workers report are what the rules expect`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let clients = [try await syncd.connect(), try await syncd.connect(), try await syncd.connect()]
        for (client, figure) in zip(clients, ["7", "5", "nonsense"]) {
            try await client.command("REPORT", "http-requests-per-s", figure)
        }
        let metrics = try await syncd.runTool(["metrics"]).output
        #expect(metrics.contains("\nsyncd_limit{limit=\"clients\"} 1024\n"))
        #expect(metrics.contains("\nsyncd_invalidation_latency_seconds_bucket{le=\"+Inf\"} "))
        #expect(metrics.contains("\nsyncd_workers_requests_per_second 12\n"), "what is no number is passed over")
        #expect(!metrics.contains("syncd_redis"), "no Redis, no figures of it")
    }

    @Test func `the page for administrators tells of each alert, and of no other`() throws {
        let rules = try Self.document("monitoring/alerts.yml")
        let alerts = rules.split(separator: "\n").compactMap { line in
            line.firstRange(of: "- alert: ").map { String(line[$0.upperBound...]) }
        }
        let rows = try Self.document("operations.md").split(separator: "\n").filter {
            $0.hasPrefix("| `Syncd") || $0.hasPrefix("| `Apiworker")
        }
        let explained = rows.map { String($0.split(separator: "`")[1]) }
        #expect(alerts.count > 5 && alerts == explained)
    }

    @Test(arguments: [("dashboard", "syncd_"), ("apiworker", "apiworker_")])
    func `a dashboard is JSON with panels that ask`(name: String, prefix: String) throws {
        let parsed = try JSONSerialization.jsonObject(with: Data(try Self.document("monitoring/\(name).json").utf8))
        let panels = try #require((parsed as? [String: Any])?["panels"] as? [[String: Any]])
        #expect(panels.count > 10)
        for panel in panels {
            let targets = try #require(panel["targets"] as? [[String: Any]], "\(panel["title"] ?? "")")
            #expect(targets.allSatisfy { ($0["expr"] as? String)?.contains(prefix) == true })
        }
    }
}
