import Foundation
import TestSupport
import Testing

/// docs/http-api.md, "Metrics".
@Suite(.tags(.servers), .processes) struct WorkerMetricsTests {
    @Test func `what a worker has done stands in its metrics`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        let id = try await TestHost.createUser(http, "a")
        for _ in 0..<3 { #expect(try await http.get("/api/users/\(id)").status == 200) }
        let bad = try host.connect()
        try await bad.send("NO HTTP\r\n\r\n")
        #expect(try await bad.reply().status == 400)
        #expect(try await http.get("/nothing").status == 404)
        let reply = try await http.get("/metrics")
        #expect(reply.status == 200 && reply["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
        #expect(reply["x-worker"] == "\(host.workers[0].pid)")
        #expect(reply["connection"] != "close", "the next scrape may come over the same connection")
        let metrics = try PrometheusExposition(reply.text)
        let info = try #require(metrics["apiworker_info"]?.samples.first)
        let name = try #require(info.labels["worker"])
        let worker = ["worker": name]
        #expect(info.value == 1 && info.labels["pid"] == "\(host.workers[0].pid)" && info.labels["version"] != nil)
        let own = metrics.metrics.filter {
            !["apiworker_metrics_workers", "apiworker_metrics_complete"].contains($0.name)
        }
        #expect(own.allSatisfy { $0.samples.allSatisfy { $0.labels["worker"] == name } })
        #expect(metrics.value("apiworker_metrics_workers") == 1 && metrics.value("apiworker_metrics_complete") == 1)
        func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
            metrics.value("apiworker_\(name)", labels.merging(worker) { $1 })
        }
        func requests(_ method: String, _ route: String, _ status: String) -> Double? {
            value("http_requests_total", ["method": method, "route": route, "status": status])
        }
        #expect(requests("GET", "/api/users/:id", "2xx") == 3)
        #expect(requests("POST", "/api/users", "2xx") == 1)
        #expect(requests("GET", "other", "4xx") == 1)
        #expect(requests("other", "other", "4xx") == 1, "what is no HTTP")
        #expect(value("http_request_duration_seconds_count", ["route": "/api/users/:id"]) == 3)
        #expect(value("cache_answers_total", ["source": "MISS"]) == 1)
        #expect(value("cache_answers_total", ["source": "L1"]) == 2)
        #expect(value("l1_hits_total") == 2 && value("l1_misses_total") == 1)
        #expect(value("l1_entries") == 1 && value("l1_bytes") ?? 0 > 0)
        #expect(value("http_connections") ?? 0 >= 2)
        #expect(value("sync_state", ["state": "attached"]) == 1)
        #expect(value("sync_state", ["state": "isolated"]) == 0 && value("sync_state", ["state": "detached"]) == 0)
        #expect(value("epoch") ?? 0 > 0 && value("applied_position") ?? 0 > 0)
        #expect(value("mongo_connections_limit") == 16 && value("mongo_connections") == 0)
        #expect(value("mongo_reachable") == 1)
        #expect(value("uptime_seconds") ?? 0 > 0)
    }

    @Test func `without syncd and without a database`() async throws {
        let mongo = try await MongoServer()
        let host = try await TestHost.start(workers: 1, home: nil, mongo: mongo)
        let http = try host.connect()
        #expect(try await http.get("/api/users").cache == "BYPASS")
        mongo.kill()
        #expect(try await http.get("/api/users").status == 503)
        let text = try await host.connect().get("/metrics").text
        let metrics = try PrometheusExposition(text)
        #expect(metrics.value("apiworker_metrics_workers") == 1 && metrics.value("apiworker_metrics_complete") == 0)
        let worker = ["worker": try #require(metrics["apiworker_info"]?.samples.first?.labels["worker"])]
        #expect(metrics.value("apiworker_mongo_reachable", worker) == 0)
        #expect(metrics.value("apiworker_sync_state", worker.merging(["state": "detached"]) { $1 }) == 1)
        let failed = ["method": "GET", "route": "/api/users", "status": "5xx"]
        #expect(metrics.value("apiworker_http_requests_total", worker.merging(failed) { $1 }) == 1)
    }

    @Test func `HEAD has the headers only`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let http = try host.connect()
        let head = try await http.request("HEAD", "/metrics")
        #expect(head.status == 200 && Int(head["content-length"] ?? "") ?? 0 > 500)
    }
}
