import IPCWire
import NIOCore
import TestSupport
import Testing

/// Events, and the pushes of those who track.
@Suite(.tags(.servers), .processes) struct SubscriptionTests {
    @Test(arguments: Home.allCases) func `subscriptions as in Redis`(home: Home) async throws {
        let (redis, syncd) = try await home.start()
        let client = try await syncd.connect()
        let publisher = try await syncd.connect()
        try await client.send("SUBSCRIBE", "user:created", "a")
        #expect(try await client.push("subscribe")?.dropFirst() == [.text("user:created"), .integer(1)])
        #expect(try await client.push("subscribe")?.dropFirst() == [.text("a"), .integer(2)])
        try await client.send("PSUBSCRIBE", "user:*")
        #expect(try await client.push("psubscribe")?.dropFirst() == [.text("user:*"), .integer(3)])
        #expect(try await client.command("PING").string == "PONG", "other commands stay allowed")

        try await eventuallyHears(client, "user:created", from: publisher)
        #expect(try await publisher.command("PUBLISH", "user:created", "1\r\n2").number == 2)
        #expect(try await client.push("message")?.dropFirst() == [.text("user:created"), .text("1\r\n2")])
        #expect(
            try await client.push("pmessage")?.dropFirst() == [
                .text("user:*"), .text("user:created"), .text("1\r\n2"),
            ])
        #expect(try await publisher.command("PUBLISH", "nobody", "x").number == 0)

        try await client.send("UNSUBSCRIBE", "a")
        #expect(try await client.push("unsubscribe")?.dropFirst() == [.text("a"), .integer(2)])
        try await client.send("UNSUBSCRIBE")
        #expect(try await client.push("unsubscribe")?.dropFirst() == [.text("user:created"), .integer(1)])
        try await client.send("PUNSUBSCRIBE")
        #expect(try await client.push("punsubscribe")?.dropFirst() == [.text("user:*"), .integer(0)])
        try await client.send("UNSUBSCRIBE")
        #expect(try await client.push("unsubscribe")?.dropFirst() == [.null, .integer(0)])
        withExtendedLifetime(redis) {}
    }

    /// An upstream subscription needs a moment until Redis has it. Both kinds are asked for by now, the pattern last.
    private func eventuallyHears(_ client: RESPSocket, _ channel: String, from publisher: RESPSocket) async throws {
        try await eventually("the subscription works") {
            _ = try await publisher.command("PUBLISH", channel, "is anybody there?")
            return try await client.push("pmessage", within: .milliseconds(50)) != nil
        }
        _ = try await publisher.command("PUBLISH", channel, "that was all")
        #expect(try await client.push("pmessage") { $0.last == .text("that was all") } != nil)
    }

    @Test func `in RESP2 messages are arrays, and little else is allowed`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect(version: 2)
        #expect(try await client.command("SUBSCRIBE", "c") == .array([.text("subscribe"), .text("c"), .integer(1)]))
        #expect(try await client.command("FETCH", "k").errorText?.hasPrefix("ERR only (P)SUBSCRIBE") == true)
        #expect(try await client.command("PING") == .array([.text("pong"), .text("")]))
        #expect(try await syncd.command("PUBLISH", "c", "x").number == 1)
        #expect(try await client.reply() == .array([.text("message"), .text("c"), .text("x")]))
        #expect(try await client.command("UNSUBSCRIBE", "c").elements?.last == .integer(0))
        #expect(try await client.fetch("k").isLease)
        #expect(try await client.command("TRACK", "ON").errorText?.contains("RESP3") == true)
    }

    @Test func `upstream a channel is subscribed once, and only while somebody listens`() async throws {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        func count() async throws -> Int? { try await redis.command("PUBSUB", "NUMSUB", "c").elements?.last?.number }
        func patterns() async throws -> Int? { try await redis.command("PUBSUB", "NUMPAT").number }
        var clients: [RESPSocket] = []
        for _ in 0..<3 {
            let client = try await syncd.connect()
            try await client.send("SUBSCRIBE", "c", "c")
            try await client.send("PSUBSCRIBE", "p*")
            #expect(try await client.push("psubscribe") != nil)
            clients.append(client)
        }
        try await eventually("subscribed once") {
            let (channels, patterns) = (try await count(), try await patterns())
            return channels == 1 && patterns == 1
        }
        #expect(try await redis.command("PUBLISH", "c", "from elsewhere").number == 1)
        for client in clients {
            #expect(try await client.push("message")?.last == .text("from elsewhere"))
        }
        try await clients.removeLast().command("QUIT")
        try await clients.removeLast().send("UNSUBSCRIBE")
        #expect(try await redis.clientNames() == ["syncd", "syncd-subscriptions"])
        #expect(try await count() == 1)
        clients.removeAll()
        try await eventually("unsubscribed") {
            let (channels, patterns) = (try await count(), try await patterns())
            return channels == 0 && patterns == 0
        }
    }

    @Test func `an invalidation's event reaches all hosts, directly after its entry`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        var clients: [RESPSocket] = []
        for host in hosts {
            let client = try await host.syncd.connect()
            try await client.send("SUBSCRIBE", "user:created")
            try await client.send("TRACK", "ON")
            clients.append(client)
        }
        try await eventually("both are subscribed") {
            try await redis.command("PUBSUB", "NUMSUB", "user:created").elements?.last?.number == 2
        }
        for number in 1...20 {
            for host in hosts { await host.waitUntilAttached() }
            let before = try await Self.connects(hosts)
            let reply = try await hosts[0].client.command(
                "INVALIDATE", "EVENT", "user:created", "event \(number)", "TAGS", "users \(number)")
            // A busy machine may defer it: then its event is for this host alone.
            guard reply.number != nil else { continue }
            for (index, client) in clients.enumerated() {
                let event: [RESPValue] = [.text("message"), .text("user:created"), .text("event \(number)")]
                guard let seen = try await Self.pushes(to: client, upTo: event) else {
                    // Events are sent once: a host that loses Redis at that moment does not get it.
                    #expect(try await Self.connects(hosts)[index] > before[index], "event \(number) is lost")
                    continue
                }
                let entry = seen.dropLast().last
                #expect(entry?[0] == .text("invalidate") && entry?[2] == .array([.text("users \(number)")]))
            }
        }
    }

    /// How often each host has connected to Redis.
    private static func connects(_ hosts: [Host]) async throws -> [Int] {
        var connects: [Int] = []
        for host in hosts { connects.append(try await host.syncd.status("redis", "reconnects")?.number ?? 0) }
        return connects
    }

    /// The pushes up to this one without heartbeats; `nil`: it does not come.
    private static func pushes(to client: RESPSocket, upTo last: [RESPValue]) async throws -> [[RESPValue]]? {
        let deadline = PatientClock.now + .seconds(30)
        var seen: [[RESPValue]] = []
        while PatientClock.now < deadline {
            seen += try await client.pushes().filter { $0[0] != .text("heartbeat") }
            if seen.last == last { return seen }
            try await Task.sleep(for: .milliseconds(2))
        }
        return nil
    }

    @Test(arguments: Home.allCases) func `who tracks sees every entry in order`(home: Home) async throws {
        let (redis, syncd) = try await home.start()
        let client = try await syncd.connect()
        #expect(try await client.command("TRACK", "ON").string == "OK")
        let epoch = try #require(try await client.push("epoch"))
        #expect(epoch[1].number == (try await syncd.status("log", "epoch")?.number) && epoch[2] == .text("tracking"))
        let heartbeat = try #require(try await client.push("heartbeat"))
        #expect(heartbeat[3] == .text("attached"))
        let writer = try await syncd.connect()
        for number in 1...50 {
            let position = try await writer.invalidate("t\(number)", "all")
            let push = try await client.push("invalidate") { $0[1].number == position }
            #expect(push?[2] == .array([.text("t\(number)"), .text("all")]))
        }
        // A sign of life every 100 ms, with its own time.
        var heartbeats: [Int] = []
        while heartbeats.count < 6 {
            heartbeats.append(try #require(try await client.push("heartbeat"))[4].number ?? 0)
        }
        let steps = zip(heartbeats, heartbeats.dropFirst()).map { $1 - $0 }
        #expect(steps.allSatisfy { $0 > 0 && $0 < 1_000_000_000 }, "\(steps)")
        #expect(try await client.command("TRACK", "OFF").string == "OK")
        try await writer.invalidate("more")
        _ = try await client.command("PING")
        _ = try await client.pushes()
        try await writer.invalidate("more")
        _ = try await client.command("PING")
        #expect(try await client.pushes().isEmpty)
        withExtendedLifetime(redis) {}
    }

    @Test func `the log's own channel is nobody's business`() async throws {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        let client = try await syncd.connect()
        let channel = "{syncd}:log"
        let others = ["{other}:log", "{syncd}:log:3"]
        for words in others.flatMap({ other in
            [["SUBSCRIBE", other], ["PUBLISH", other, "forged"], ["INVALIDATE", "EVENT", other, "x", "TAGS", "a"]]
        }) + [
            ["SUBSCRIBE", channel], ["SUBSCRIBE", "a", channel], ["PUBLISH", channel, "forged"],
            ["INVALIDATE", "EVENT", channel, "forged", "TAGS", "a"],
        ] {
            let reply = try await client.command(words.map { ByteBuffer(string: $0) })
            #expect(reply.errorText?.hasPrefix("DENIED ") == true, "\(words)")
        }
        // A pattern that matches it shows nothing of it.
        try await client.send("PSUBSCRIBE", "*")
        try await eventually("the pattern works") {
            try await redis.command("PUBLISH", "x", "y")
            return try await client.push("pmessage", within: .milliseconds(50)) != nil
        }
        try await client.invalidate("a")
        for channel in [channel] + others { try await redis.command("PUBLISH", channel, "secret") }
        try await redis.command("PUBLISH", "last", "y")
        let push = try await client.push("pmessage") { $0[2] != .text("x") }
        #expect(push?[2] == .text("last"))
        #expect(try await syncd.isAttached)
    }
}

extension RESPValue {
    static func text(_ text: String) -> RESPValue { .bulkString(ByteBuffer(string: text)) }
}
