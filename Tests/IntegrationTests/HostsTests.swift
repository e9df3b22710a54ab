import IPCWire
import NIOCore
import TestSupport
import Testing

/// Several hosts on one Redis.
@Suite(.tags(.servers), .processes) struct HostsTests {
    @Test func `two connections per host, whatever its clients do`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        var clients: [RESPSocket] = []
        for host in hosts {
            for number in 0..<8 {
                let client = try await host.syncd.connect()
                try await client.send("SUBSCRIBE", "a", "b\(number)")
                _ = try await client.lease("key\(number)")
                try await client.invalidate("x")
                clients.append(client)
            }
        }
        #expect(
            try await redis.clientNames() == ["syncd", "syncd", "syncd-subscriptions", "syncd-subscriptions"])
    }

    @Test func `an invalidation reaches the table of every host`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(3, redis)
        for round in 1...30 {
            let writer = hosts[round % 3]
            let position = try await writer.client.invalidate("t\(round)")
            #expect(writer.slot("t\(round)") == position, "before it is acknowledged on its own host")
            for host in hosts {
                await host.waitUntilApplied(position)
                #expect(host.slot("t\(round)") == position)
            }
        }
        // Position and incarnation are the log's, the epoch is each host's own.
        #expect(Set(hosts.map(\.table.incarnation)).count == 1)
        #expect(hosts.allSatisfy { $0.table.applied == 30 })
    }

    @Test func `others follow within 10 ms`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        var best = Duration.seconds(60)
        // The promise is for a healthy machine: of several rounds one has to keep it.
        for _ in 0..<10 where best > .milliseconds(10) {
            var delays: [Duration] = []
            for _ in 0..<100 {
                let position = try await hosts[0].client.invalidate("t")
                let acknowledged = ContinuousClock.now
                while hosts[1].table.applied.number < UInt64(position), ContinuousClock.now - acknowledged < .seconds(1)
                {
                    await Task.yield()
                }
                delays.append(ContinuousClock.now - acknowledged)
            }
            best = min(best, delays.sorted()[90])
        }
        #expect(best <= .milliseconds(10))
    }

    @Test func `a value stored by one host serves the others, until one of them invalidates it`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        try await hosts[0].client.store("users:all", "[1]", tags: ["users"])
        #expect(try await hosts[1].client.hit("users:all").text == "[1]")
        let position = try await hosts[1].client.invalidate("users")
        _ = try await hosts[1].client.lease("users:all")
        await hosts[0].waitUntilApplied(position)
        _ = try await hosts[0].client.lease("users:all")
    }

    /// Redis sends short values at once and long ones a few at a time, over the connection that appends use.
    @Test func `values of every length come from Redis, in the order in which they were asked for`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        let lengths = [0, 1, 16_000, 17_000, 300_000, 1_048_576, 5, 1_000_000, 900_000, 20_000]
        for (number, length) in lengths.enumerated() {
            try await hosts[0].client.store("k\(number)", String(repeating: "v", count: length))
        }
        for number in lengths.indices { try await hosts[1].client.send("FETCH", "k\(number)") }
        var replies: [FetchReply] = []
        for _ in lengths { replies.append(try FetchReply(try await hosts[1].client.reply())) }
        for (number, length) in lengths.enumerated() {
            switch replies[number] {
            case .outcome(.hit(let hit)): #expect(hit.entry.value?.readableBytes == length)
            case .outcome(.lease(let lease)):
                // A busy machine may need more than 200 ms.
                try await hosts[1].client.command("ABANDON", "k\(number)", "\(lease.id)")
                fallthrough
            default: #expect(try await hosts[1].client.hit("k\(number)").entry.value?.readableBytes == length)
            }
        }
    }

    @Test func `a fill from before another host's invalidation is refused`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        let lease = try await hosts[0].client.lease("key")
        let position = try await hosts[1].client.invalidate("users")
        await hosts[0].waitUntilApplied(position)
        #expect(try await hosts[0].client.fill("key", lease.id, "old", tags: ["users"]) == "STALE")
        // One that slipped in before the entry came is a miss as soon as it has.
        let second = try await hosts[0].client.lease("key")
        let next = try await hosts[1].client.invalidate("users")
        _ = try await hosts[0].client.fill("key", second.id, "old", tags: ["users"])
        await hosts[0].waitUntilApplied(next)
        for host in hosts { #expect(try await host.client.fetch("key").value != "old") }
    }

    @Test func `two namespaces on one server are two logs`() async throws {
        let redis = try await RedisServer()
        let first = try await Host(redis)
        let second = try await Host(redis, ["SYNCD_NAMESPACE": "other"])
        try await first.client.store("key", "first")
        _ = try await second.client.lease("key")
        try await first.client.invalidate("a")
        #expect(second.table.applied == 0 && second.slot("a") == 0)
        try await second.client.invalidate("a")
        #expect(first.table.incarnation != second.table.incarnation)
        let keys = try await redis.command("KEYS", "*").elements?.compactMap(\.string).sorted()
        #expect(
            keys == [
                "{other}:incarnation", "{other}:position", "{other}:stream", "{syncd}:incarnation", "{syncd}:position",
                "{syncd}:stream", "{syncd}:v:key",
            ])
    }

    @Test func `a database of its own, a Unix socket, a password`() async throws {
        let redis = try await RedisServer(["--requirepass", "pass word/@:"])
        let login = ":pass%20word%2F%40%3A@"
        for url in ["redis://\(login)127.0.0.1:\(redis.portNumber)/5", "unix://\(login)\(redis.socketPath)?db=7"] {
            let host = try await Host(redis, ["REDIS_URL": url])
            #expect(host.table.applied == 0, "each database has its own log")
            try await host.client.invalidate("a")
            let status = try await host.client.command("INFO").string ?? ""
            #expect(!(status + host.syncd.log).contains("pass"), "the password is shown nowhere")
        }
    }

    @Test func `the log goes on over all lives of all hosts`() async throws {
        let redis = try await RedisServer()
        let first = try await Host(redis)
        let a = try await first.client.invalidate("a")
        let second = try await Host(redis)
        #expect(second.slot("a") == a, "slots are rebuilt from the stream")
        let b = try await second.client.invalidate("b")
        first.syncd.kill()
        let c = try await second.client.invalidate("c")
        try await first.syncd.start()
        await first.waitUntilAttached()
        #expect(first.slot("b") == b && first.slot("c") == c)
        let d = try await first.syncd.connect().invalidate("d")
        #expect([a, b, c, d] == [a, b, c, d].sorted() && Set([a, b, c, d]).count == 4)
    }

    @Test func `a long way to catch up is gone in pages`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        hosts[1].syncd.kill()
        let writer = hosts[0].client
        for _ in 0..<30 {
            for _ in 0..<100 { try await writer.send("INVALIDATE", "TAGS", "a") }
            for _ in 0..<100 { _ = try await writer.reply() }
        }
        let last = try await writer.invalidate("last")
        #expect(last > 512, "more than one page")
        try await hosts[1].syncd.start()
        await hosts[1].waitUntilAttached()
        #expect(hosts[1].table.applied.number >= UInt64(last) && hosts[1].slot("last") >= last)
        #expect(hosts[1].table.firstKnownPosition == 0, "nothing was missed")
    }
}
