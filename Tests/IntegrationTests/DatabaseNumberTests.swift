import NIOCore
import TestSupport
import Testing

/// Deployments on one Redis, of one namespace, with different database numbers. Publish/subscribe ignores the number.
@Suite(.tags(.servers), .processes) struct DatabaseNumberTests {
    private func syncd(_ redis: RedisServer, database: Int) async throws -> SyncdProcess {
        let syncd = try await SyncdProcess(environment: [
            "REDIS_ENABLED": "true", "REDIS_URL": "redis://127.0.0.1:\(redis.portNumber)/\(database)",
        ])
        try await syncd.waitUntilAttached()
        return syncd
    }

    private func warnings(_ syncd: SyncdProcess) -> Int {
        syncd.log.split(separator: "\n").count { $0.contains("another deployment publishes on this log's channel") }
    }

    @Test func `they leave each other's log and values alone`() async throws {
        let redis = try await RedisServer()
        let hosts = [
            try await syncd(redis, database: 0), try await syncd(redis, database: 1),
            try await syncd(redis, database: 2),
        ]
        var epochs: [Int?] = []
        for (number, host) in hosts.enumerated() {
            try await host.connect().store("key", "of \(number)", tags: ["t"])
            epochs.append(try await host.status("log", "epoch")?.number)
        }
        for number in 1...50 { #expect(try await hosts[1].connect().invalidate("other") == number) }
        for (number, host) in hosts.enumerated() {
            #expect(try await host.connect().present("key")?.value == ByteBuffer(string: "of \(number)"))
            #expect(try await host.status("log", "applied")?.number == (number == 1 ? 50 : 0))
            #expect(try await host.status("log", "epoch")?.number == epochs[number])
            #expect(warnings(host) == 0, "nothing of the others came here")
        }
        #expect(try await hosts[0].connect().invalidate("t") == 1)
        #expect(try await hosts[0].connect().present("key") == nil)
        #expect(try await hosts[1].connect().present("key") != nil)
    }

    /// Events are for everybody, as they were before there was syncd.
    @Test func `they hear each other's events`() async throws {
        let redis = try await RedisServer()
        let hosts = [try await syncd(redis, database: 0), try await syncd(redis, database: 1)]
        let listener = try await hosts[0].connect()
        try await listener.send("SUBSCRIBE", "user:updated")
        _ = try await listener.push("subscribe")
        let payload = #"{"userId":"1"}"#
        try await hosts[1].command("INVALIDATE", "EVENT", "user:updated", payload, "TAGS", "user:1")
        #expect(try await listener.push("message")?.last == .text(payload))
        try await eventually("it is bridged") { try await hosts[0].status("log", "applied")?.number == 1 }
        #expect(try await hosts[1].status("log", "applied")?.number == 1, "and does not echo")
    }

    /// Entries from a host of an earlier version with another database, and entries that one of the same database
    /// misses.
    @Test func `entries of another log on the channel are passed over, with a warning`() async throws {
        let redis = try await RedisServer()
        let host = try await syncd(redis, database: 0)
        let client = try await host.connect()
        try await client.store("key", "value", tags: ["t"])
        let epoch = try await host.status("log", "epoch")?.number
        let entry = "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$0\r\n\r\n$1\r\nt\r\n"
        for position in 1...100 {
            let message = "\(String(repeating: "ab", count: 16)) \(position) \(entry)"
            try await redis.command("PUBLISH", "{syncd}:log", message)
        }
        await eventually("it warns", details: { host.transcript }) { warnings(host) == 1 }
        #expect(try await client.present("key") != nil)
        #expect(try await client.invalidate("x") == 1)
        #expect(try await host.status("log", "epoch")?.number == epoch && warnings(host) == 1)
    }

    @Test func `an entry that is published where nobody listens is read from the stream`() async throws {
        let redis = try await RedisServer()
        let host = try await syncd(redis, database: 1)
        #expect(try await host.connect().invalidate("t") == 1)
        let socket = try redis.connect()
        try await socket.command("SELECT", "1")
        // As an earlier version appends: all the same but for the channel.
        let script = """
            redis.call('XADD', '{syncd}:stream', '2-0', 'b', ARGV[1])
            redis.call('SET', '{syncd}:position', '2')
            redis.call('PUBLISH', '{syncd}:log', string.match(redis.call('GET', '{syncd}:incarnation'), '^%x+')
              .. ' 2 ' .. ARGV[1])
            """
        try await socket.command("EVAL", script, "0", "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$0\r\n\r\n$1\r\nt\r\n")
        try await eventually("it is applied") { try await host.status("log", "applied")?.number == 2 }
        #expect(try await host.isAttached)
    }
}
