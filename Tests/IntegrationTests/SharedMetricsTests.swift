import Foundation
import NIOCore
import TestSupport
import Testing

/// docs/http-api.md, "Metrics": those of all workers of a host, from whichever is asked.
@Suite(.tags(.servers), .processes) struct SharedMetricsTests {
    /// The metrics that a worker answers, over a connection to it.
    private func scrape(_ connection: HTTPConnection) async throws -> PrometheusExposition {
        try PrometheusExposition(try await connection.get("/metrics").text)
    }

    /// The names of the workers in an answer, by process.
    private func names(_ metrics: PrometheusExposition) -> [String: String] {
        let samples = metrics["apiworker_info"]?.samples ?? []
        return Dictionary(samples.map { ($0.labels["pid"] ?? "", $0.labels["worker"] ?? "") }) { "\($0), \($1)" }
    }

    private func statistics(_ metrics: PrometheusExposition, of name: String) -> Double? {
        let labels = ["method": "GET", "route": "/api/users/stats/overview", "status": "2xx", "worker": name]
        return metrics.value("apiworker_http_requests_total", labels)
    }

    private func isComplete(_ metrics: PrometheusExposition, workers: Int) -> Bool {
        metrics.value("apiworker_metrics_complete") == 1
            && metrics.value("apiworker_metrics_workers") == Double(workers)
    }

    private func isAlone(_ metrics: PrometheusExposition) -> Bool {
        metrics.value("apiworker_metrics_complete") == 0 && metrics.value("apiworker_metrics_workers") == 1
    }

    @Test func `each worker, and syncd, tell of all`() async throws {
        let host = try await TestHost.start(workers: 3, home: .embedded)
        let connections = try await host.connectToEach()
        for (index, connection) in connections.enumerated() {
            for _ in 0...index { #expect(try await connection.get("/api/users/stats/overview").status == 200) }
        }
        let pids = host.workers.map { "\($0.pid)" }
        func isWhole(_ metrics: PrometheusExposition) -> Bool {
            let names = names(metrics)
            return isComplete(metrics, workers: 3) && Set(names.values).count == 3
                && pids.enumerated().allSatisfy { statistics(metrics, of: names[$1] ?? "") == Double($0 + 1) }
        }
        for connection in connections {
            try await eventually("it tells of all", details: { host.transcript }) {
                isWhole(try await scrape(connection))
            }
        }
        let syncd = try #require(host.syncd)
        let text = try await syncd.runTool(["metrics"]).output
        #expect(isWhole(try PrometheusExposition(text)) && text.contains("\nsyncd_attached 1\n"))
        let own = try await syncd.runTool(["metrics", "--without-workers"])
        #expect(own.exit == .status(0) && !own.output.contains("apiworker_"))
        #expect(own.output.contains("\nsyncd_attached 1\n"))
    }

    @Test func `a worker that is killed and comes again continues its series, which goes down once`() async throws {
        let host = try await TestHost.start(workers: 2, home: .embedded)
        let connections = try await host.connectToEach()
        for _ in 0..<20 { _ = try await connections[0].get("/api/users/stats/overview") }
        var seen: [Double] = []
        var workers: Set<String> = []
        // Both answer by turns before, as Prometheus finds them; then the one that stays.
        func look(_ connection: HTTPConnection, _ name: String) async throws {
            let metrics = try await scrape(connection)
            workers.formUnion(names(metrics).values)
            if let uptime = metrics.value("apiworker_uptime_seconds", ["worker": name]) { seen.append(uptime) }
        }
        var name = ""
        try await eventually("it is named", details: { host.transcript }) {
            name = names(try await scrape(connections[1]))["\(host.workers[0].pid)"] ?? ""
            return !name.isEmpty
        }
        for _ in 0..<10 { for connection in connections { try await look(connection, name) } }
        async let restarted: Void = host.workers[0].restart()
        try await eventually("it is there again", details: { host.transcript }) {
            try await look(connections[1], name)
            return names(try await scrape(connections[1]))["\(host.workers[0].pid)"] == name
        }
        try await restarted
        let again = try await host.connectToEach()
        for _ in 0..<10 { for connection in again { try await look(connection, name) } }
        #expect(workers.count == 2, "no other name")
        #expect(zip(seen, seen.dropFirst()).filter { $0 > $1 }.count == 1, "\(seen)")
        let after = try await scrape(again[1])
        #expect(isComplete(after, workers: 2) && statistics(after, of: name) == nil, "it begins again")
    }

    @Test func `workers on one core have two names`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let (port, mongo) = (try ReservedPort(), try await MongoServer.shared())
        var workers: [WorkerProcess] = []
        for _ in 0..<2 {
            workers.append(
                try await WorkerProcess(
                    port: port, database: mongo.url(database: MongoServer.newDatabaseName()),
                    socketPath: syncd.socketPath, wrapper: ["/usr/bin/taskset", "-c", "0"]))
        }
        let http = try HTTPConnection(port: port.number)
        try await eventually("both are named", details: { workers.map(\.transcript).joined() }) {
            Set(names(try await scrape(http)).values) == ["0", "0-2"]
        }
    }

    @Test func `without syncd a worker tells of itself, with the name that it had`() async throws {
        let host = try await TestHost.start(workers: 2, home: .embedded)
        let (connections, syncd) = (try await host.connectToEach(), try #require(host.syncd))
        try await eventually("both are known") { isComplete(try await scrape(connections[0]), workers: 2) }
        let known = names(try await scrape(connections[0]))
        syncd.kill()
        for (worker, connection) in zip(host.workers, connections) {
            try await eventually("it is alone") { isAlone(try await scrape(connection)) }
            let pid = "\(worker.pid)"
            #expect(names(try await scrape(connection)) == [pid: known[pid] ?? ""])
        }
        try await syncd.start()
        for connection in connections {
            try await eventually("all are there again", details: { host.transcript }) {
                isComplete(try await scrape(connection), workers: 2)
            }
            #expect(names(try await scrape(connection)) == known)
        }
    }

    /// Somebody who may use the socket wants to spoil the text, or to speak for others.
    @Test func `a hostile report changes nothing of others`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let (http, syncd) = (try await host.connectToEach()[0], try #require(host.syncd))
        for _ in 0..<3 { _ = try await http.get("/api/users/stats/overview") }
        let honest = try await scrape(http)
        let name = try #require(names(honest).values.first)
        let hostile = try await syncd.connect()
        let report = """
            # TYPE apiworker_http_requests_total gauge
            apiworker_http_requests_total{worker="\(name)"} 1e999
            # TYPE apiworker_http_request_duration_seconds_count counter
            apiworker_http_request_duration_seconds_count 7
            # TYPE apiworker_l1_hits_total counter
            apiworker_l1_hits_total{worker="\(name)"} 1000000
            apiworker_l1_hits_total NaN
            apiworker_l1_hits_total{a="x\"} 1\nup 0\n"} 5 1700000000000
            # TYPE apiworker_metrics_complete gauge
            apiworker_metrics_complete 0
            # TYPE syncd_attached gauge
            syncd_attached 0
            # TYPE up gauge
            up{a="\u{0}"} 0
            # HELP apiworker_epoch \\q
            # TYPE apiworker_epoch gauge
            apiworker_epoch 12
            """
        #expect(try await hostile.command("METRICS", "SET", name, report).string == "\(name)-2")
        for refused in ["a\"b", "a\nb", String(repeating: "x", count: 65)] {
            #expect(try await hostile.command("METRICS", "SET", refused, report).errorText?.hasPrefix("ERR") == true)
        }
        try await eventually("the report is merged") { isComplete(try await scrape(http), workers: 2) }
        for text in [try await http.get("/metrics").text, try await syncd.runTool(["metrics"]).output] {
            let metrics = try PrometheusExposition(text)
            let samples = metrics.metrics.flatMap(\.samples)
            let foreign = samples.filter { $0.labels["worker"] == "\(name)-2" }
            #expect(
                Set(foreign.map(\.name)) == [
                    "apiworker_epoch", "apiworker_l1_hits_total", "apiworker_metrics_age_seconds",
                ])
            #expect(statistics(metrics, of: name) == 3)
            #expect(metrics.value("apiworker_metrics_complete") == 1)
            #expect(metrics["up"] == nil && metrics.value("syncd_attached") != 0)
            #expect(metrics["apiworker_http_requests_total"]?.type == "counter")
        }
    }
}
