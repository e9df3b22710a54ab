import Foundation
import TestSupport
import Testing

/// Hits of a worker that are compared with a real database.
@Suite(.tags(.servers), .processes) struct AuditorTests {
    private struct Figures: Decodable, Equatable {
        var sampled = 0
        var stale = 0
        var superseded = 0
    }

    private struct Status: Decodable { var audit: Figures? }

    private static func figures(_ host: TestHost) async throws -> Figures? {
        let status = try await (try #require(host.syncd)).runTool(["status", "--json"])
        return try JSONDecoder().decode(Status.self, from: Data(status.output.utf8)).audit
    }

    private static func start(_ home: Home) async throws -> (TestHost, HTTPConnection, path: String) {
        let host = try await TestHost.start(
            workers: 1, home: home,
            environment: ["WORKER_AUDIT_ONE_IN": "1", "WORKER_CHANGE_FEED": "false"])
        let http = try host.connect()
        let id = try await TestHost.createUser(http, "Ada")
        try await eventually("it is in the cache", details: { host.transcript }) {
            try await http.get("/api/users/\(id)").cache == "L1"
        }
        return (host, http, "/api/users/\(id)")
    }

    /// As a program does that knows of no cache.
    private static func rename(_ id: String, _ name: String, _ host: TestHost) async throws {
        let update: BSONValue = .document(["q": ["_id": .string(id)], "u": ["$set": ["username": .string(name)]]])
        try await host.mongo.command(["update": "users", "updates": .array([update])], database: host.database)
    }

    @Test(arguments: Home.allCases) func `a change behind the API's back is found`(home: Home) async throws {
        let (host, http, path) = try await Self.start(home)
        try await eventually("an audit that finds nothing", details: { host.transcript }) {
            let reply = try await http.get(path)
            let figures = try await Self.figures(host)
            return reply.status == 200 && figures?.sampled ?? 0 > 0 && figures?.stale == 0
        }

        let id = try #require(path.split(separator: "/").last.map(String.init))
        // On a busy machine the host may be isolated for a moment; then the cache has the new value, and nothing is found.
        for attempt in 1...5 {
            let name = "Eve \(attempt)"
            try await Self.rename(id, name, host)
            // A hit while the auditor rests is no sample, so it reads on.
            var isCacheOld = true
            await eventually("it is found", within: .seconds(40), details: { host.transcript }) {
                let reply = try? await http.get(path)
                isCacheOld = reply?.json["username"].string != name
                let figures = try? await Self.figures(host)
                return !isCacheOld || figures?.stale ?? 0 > 0
            }
            if isCacheOld { break }
        }
        #expect(try await Self.figures(host)?.stale == 1)
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
