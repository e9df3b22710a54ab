import Foundation
import TestSupport
import Testing

/// Hits of a worker that are compared with a real database.
@Suite(.processes) struct AuditorTests {
    private struct Figures: Decodable, Equatable {
        var sampled = 0
        var stale = 0
        var excused = 0
    }

    private struct Status: Decodable { var audit: Figures? }

    private static func figures(_ host: TestHost) async throws -> Figures? {
        let status = try await (try #require(host.syncd)).runTool(["status", "--json"])
        return try JSONDecoder().decode(Status.self, from: Data(status.output.utf8)).audit
    }

    private static func start(_ home: Home) async throws -> (TestHost, HTTPConnection, path: String) {
        let host = try await TestHost.start(workers: 1, home: home, environment: ["WORKER_AUDIT_ONE_IN": "1"])
        let http = try host.connect()
        let id = try await TestHost.createUser(http, "Ada")
        #expect(try await http.get("/api/users/\(id)").cache == "MISS")
        return (host, http, "/api/users/\(id)")
    }

    @Test(arguments: Home.allCases) func `a change behind the API's back is found`(home: Home) async throws {
        let (host, http, path) = try await Self.start(home)
        #expect(try await http.get(path).cache == "L1")
        try await eventually("an audit that finds nothing", details: { host.transcript }) {
            try await Self.figures(host) == Figures(sampled: 1)
        }

        let id = try #require(path.split(separator: "/").last.map(String.init))
        try await host.mongo.command(
            [
                "update": "users",
                "updates": .array([
                    .document(["q": ["_id": .string(id)], "u": ["$set": ["username": "Eve"]]])
                ]),
            ], database: host.database)
        let served = try await http.get(path)
        #expect(served.cache == "L1" && served.json["username"].string == "Ada", "nobody told the cache")
        // A hit while the auditor rests is no sample.
        try await eventually("it is found", within: .seconds(30), details: { host.transcript }) {
            let reply = try await http.get(path)
            let figures = try await Self.figures(host)
            return reply.status == 200 && figures?.stale == 1
        }
        let log = host.workers[0].log
        #expect(log.contains("A cached value was not what the database holds") && log.contains("user:\(id)"))
        let tool = try await (try #require(host.syncd)).runTool(["status"])
        #expect(tool.output.contains("\naudit    stale 1 of "), "\(tool.output)")
        let metrics = try await (try #require(host.syncd)).runTool(["metrics"])
        #expect(metrics.output.contains("\nsyncd_workers_audit_stale 1\n"))
    }

    @Test func `writes through the API are no finding`() async throws {
        let (host, http, path) = try await Self.start(.embedded)
        for age in 1...100 {
            let changed = try await http.request("PUT", path, body: #"{"age":\#(age)}"#)
            #expect(changed.status == 200)
            for _ in 0..<3 { #expect(try await http.get(path).json["age"].number == Double(age)) }
        }
        // A write directly after a hit: the audit that begins with it may see the one or the other.
        try await eventually("it was audited", details: { host.transcript }) {
            let (reply, figures) = (try await http.get(path), try await Self.figures(host))
            return reply.status == 200 && figures?.sampled ?? 0 >= 20
        }
        let figures = try await Self.figures(host)
        #expect(figures?.stale == 0)
    }
}
