import IPCWire
import NIOCore
import TestSupport
import Testing

/// Answers of a worker when its database is down and its values have expired.
@Suite(.tags(.servers), .processes) struct GraceTests {
    /// Stops MongoDB, and gives the statistics that the worker has cached a short time to live: five minutes are too
    /// long for a test. MongoDB stops first, or a slow machine would load them once more, for five minutes.
    ///
    /// - Returns: the body that is served from now on.
    private static func stop(
        _ mongo: MongoServer, _ host: TestHost, _ http: HTTPConnection
    ) async throws -> String {
        let fresh = try await http.get("/api/users/stats/overview")
        try #require(fresh.status == 200)
        let client = try await (try #require(host.syncd)).connect()
        let kept = try await client.hit("stats:overview")
        mongo.pause()
        try await eventually("the worker has it", within: .seconds(60), details: { host.transcript }) {
            try await client.invalidate("users")
            let lease = try await client.lease("stats:overview")
            let refusal = try await client.fill(
                "stats:overview", lease.id, kept.text, tags: ["users"], ttl: 1500)
            #expect(refusal == nil)
            // With a value that ended before it was asked for, it would have asked MongoDB.
            return try await http.get("/api/users/stats/overview").status == 200
        }
        return fresh.text
    }

    @Test(arguments: Home.allCases) func `without MongoDB a value that has ended is served, with its age`(
        home: Home
    ) async throws {
        let mongo = try await MongoServer()
        let host = try await TestHost.start(
            workers: 1, home: home, mongo: mongo, environment: ["WORKER_GRACE_SECONDS": "60"])
        let http = try host.connect()
        try await TestHost.createUser(http, "Ada")
        let body = try await Self.stop(mongo, host, http)
        try await eventually("its time ends", details: { host.transcript }) {
            let reply = try await http.get("/api/users/stats/overview")
            #expect(reply.status == 200 && reply.text == body)
            return reply.cache == "STALE"
        }
        let stale = try await http.get("/api/users/stats/overview")
        #expect(stale.cache == "STALE" && stale.text == body)
        let age = try #require(stale["age"].flatMap { Int($0) })
        // An upper bound: this worker only knows that no value is kept for more than 300 s.
        #expect((1...330).contains(age), "\(age)")

        // An invalidated value is not served, even without another one.
        let client = try await (try #require(host.syncd)).connect()
        try await client.invalidate("users")
        let refused = try await http.get("/api/users/stats/overview")
        #expect(refused.status == 503 && refused["age"] == nil, "\(refused.status) \(refused.cache ?? "-")")

        mongo.resume()
        try await eventually("MongoDB is asked again", within: .seconds(20), details: { host.transcript }) {
            let reply = try await http.get("/api/users/stats/overview")
            return reply.status == 200 && reply.cache == "MISS" || reply.cache == "L1"
        }
    }

    @Test func `without being asked for there is no grace`() async throws {
        let mongo = try await MongoServer()
        let host = try await TestHost.start(workers: 1, home: .embedded, mongo: mongo)
        let http = try host.connect()
        try await TestHost.createUser(http, "Ada")
        _ = try await Self.stop(mongo, host, http)
        try await eventually("its time ends", details: { host.transcript }) {
            let reply = try await http.get("/api/users/stats/overview")
            #expect(reply.cache != "STALE")
            return reply.status == 503
        }
    }
}
