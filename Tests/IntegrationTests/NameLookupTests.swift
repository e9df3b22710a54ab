import Glibc
import TestSupport
import Testing

/// Redis by a name, with name servers that are slow, fail or are silent.
@Suite(
    .tags(.servers), .processes,
    .enabled(if: getuid() == 0, "only root can give one process a name server of its own: lookups are not tested"))
struct NameLookupTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func start(_ server: NameServer, _ url: String) async throws -> SyncdProcess {
        try await SyncdProcess(
            environment: ["REDIS_ENABLED": "true", "REDIS_URL": url], wrapper: try server.wrapper(directory))
    }

    @Test(arguments: [2, 10]) func `a slow lookup`(seconds: Int) async throws {
        let server = try NameServer(delay: .seconds(seconds))
        let redis = try await RedisServer()
        let syncd = try await start(server, "redis://redis.test:\(redis.portNumber)")
        await eventually("STATUS says what it waits for", details: { syncd.transcript }) {
            let warnings = try? await syncd.status("redis", "warnings")?.elements
            return warnings?.contains { $0.string?.contains("lookup of the name redis.test") == true } == true
        }
        try await syncd.waitUntilAttached()
        #expect(syncd.log.contains("waiting for the lookup of a name"))
        #expect(syncd.log.contains("a slow lookup has ended"))
        #expect(server.lookups == 1 && server.mostAtOnce == 1)
        // The result also serves the second connection.
        #expect(try await syncd.status("redis", "connections")?.number == 2)
    }

    @Test func `connections that are lost while a lookup hangs`() async throws {
        let server = try NameServer()
        let redis = try await RedisServer()
        let syncd = try await start(server, "redis://redis.test:\(redis.portNumber)")
        try await syncd.waitUntilAttached()
        server.set(.silence)
        let before = server.lookups
        try await eventually("a lookup hangs", details: { syncd.transcript }) {
            try await lose(redis, syncd)
            return server.lookups > before
        }
        for _ in 0..<5 { try await lose(redis, syncd) }
        #expect(syncd.log.contains("its last addresses are used"))
        #expect(server.lookups == before + 1 && server.mostAtOnce == 1)
    }

    /// Ends all connections of syncd, and waits until they are made again.
    private func lose(_ redis: RedisServer, _ syncd: SyncdProcess) async throws {
        let connects = try await syncd.status("redis", "reconnects")?.number ?? 0
        try await redis.command("CLIENT", "KILL", "TYPE", "normal")
        try await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        try await eventually("they are made again", details: { syncd.transcript }) {
            try await syncd.status("redis", "reconnects")?.number ?? 0 >= connects + 2
        }
        try await syncd.waitUntilAttached()
    }

    @Test func `lookups that fail`() async throws {
        let server = try NameServer(.failure)
        let redis = try await RedisServer()
        let syncd = try await start(server, "redis://redis.test:\(redis.portNumber)")
        try await syncd.expectRefusal(
            "the name redis.test cannot be looked up (Temporary failure in name resolution): check the name servers")
        server.set(.noSuchName)
        try await syncd.expectRefusal(
            "the name redis.test has no address (Name or service not known): check its spelling (in REDIS_URL")
        server.set(.addresses([NameServer.loopback]))
        try await syncd.waitUntilAttached()
        server.set(.failure)
        try await eventually("the last addresses are used", details: { syncd.transcript }) {
            try await lose(redis, syncd)
            return syncd.log.contains("a name cannot be looked up, its last addresses are used")
        }
        #expect(server.mostAtOnce == 1)
    }

    @Test func `several addresses, of which one answers`() async throws {
        let server = try NameServer(.addresses([[127, 201, 1, 1], [127, 201, 1, 2], NameServer.loopback]))
        let redis = try await RedisServer()
        let syncd = try await start(server, "redis://redis.test:\(redis.portNumber)")
        try await syncd.waitUntilAttached()
        redis.stop()
        try await syncd.expectRefusal("cannot connect to redis.test:\(redis.portNumber): ")
        #expect(syncd.log.contains("127.201.1.1: Connection refused; "))
    }

    @Test func `sentinels by name`() async throws {
        let server = try NameServer(delay: .seconds(3))
        let redis = try await RedisServer()
        let sentinel = try SentinelProcess(["sentinel monitor cache 127.0.0.1 \(redis.portNumber) 1"])
        let port = sentinel.port.number
        let nobody = try ReservedPort()
        // The one that is an address refuses at once, again and again, and the lookups go on.
        let syncd = try await start(
            server, "redis+sentinel://127.0.0.1:\(nobody.number),a.test:\(port),b.test:\(port)/cache")
        try await syncd.waitUntilAttached()
        #expect(server.mostAtOnce == 1)
    }
}
