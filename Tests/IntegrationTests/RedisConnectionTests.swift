import IPCWire
import NIOCore
import TestSupport
import Testing

/// Connections that end, stand still or are cut: nothing is lost, and the epoch stays.
@Suite(.tags(.servers), .processes) struct RedisConnectionTests {
    @Test func `a URL that was made for other clients`() async throws {
        let redis = try await RedisServer()
        func start(_ url: String) async throws -> SyncdProcess {
            try await SyncdProcess(environment: ["REDIS_ENABLED": "true", "REDIS_URL": url])
        }
        let server = "valkey://127.0.0.1:\(redis.portNumber)"
        let syncd = try await start("\(server)/0?protocol=3&socket_timeout=5&family=4")
        try await syncd.waitUntilAttached()
        #expect(syncd.log.contains("parameters in REDIS_URL have no effect"))
        #expect(syncd.log.contains("protocol socket_timeout"))
        let other = try await start("\(server)?family=6")
        await eventually("it says why", details: { other.transcript }) {
            other.log.contains("127.0.0.1 has no address of IPv6")
        }
    }

    @Test func `entries that are published while the subscription is cut are applied`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        let epochs = hosts.map(\.table.epoch)
        var last = 0
        for round in 1...10 {
            try await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            var position = 0
            for number in 1...3 { position = try await hosts[0].client.invalidate("\(round)-\(number)") }
            await hosts[1].waitUntilApplied(position)
            for number in 1...3 { #expect(hosts[1].slot("\(round)-\(number)") > last) }
            last = position
        }
        #expect(hosts.map(\.table.epoch) == epochs, "it costs nothing")
        try await eventually("both listen again") {
            try await redis.clientNames() == ["syncd", "syncd", "syncd-subscriptions", "syncd-subscriptions"]
        }
    }

    @Test func `the command connection, and both`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        let epochs = hosts.map(\.table.epoch)
        var position = 0
        for round in 1...10 {
            try await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            if round % 2 == 0 { try await redis.command("CLIENT", "KILL", "TYPE", "pubsub") }
            // Commands on their way are sent again after the next continuity check, within their 250 ms.
            let reply = try await hosts[0].client.command("INVALIDATE", "TAGS", "\(round)")
            #expect(reply.number != nil || reply.string == "DEFERRED")
            await hosts[0].waitUntilAttached()
            position = try await hosts[0].client.invalidate("after")
            await hosts[1].waitUntilApplied(position)
            #expect(hosts[1].slot("\(round)") > 0)
        }
        #expect(hosts.map(\.table.epoch) == epochs, "\(hosts[1].syncd.transcript)")
        #expect(hosts[0].slot("after") == position)
    }

    @Test func `a server that stands still isolates within 2 s, and pending invalidations follow`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        let epochs = hosts.map(\.table.epoch)
        try await hosts[0].client.store("key", "value", tags: ["users"])
        let position = try await hosts[0].client.invalidate("others")
        redis.pause()
        let start = PatientClock.now
        try await hosts[0].deferred("users", "x")
        #expect(PatientClock.now - start < .seconds(1), "after 250 ms")
        #expect(!hosts[0].isAttached && hosts[0].journal("pending").count == 1)
        await hosts[1].waitUntilIsolated()
        #expect(PatientClock.now - start < .seconds(4), "2 s after the last probe that was answered")
        for host in hosts {
            #expect(try await host.client.fetch("key").isMiss)
            #expect(try await host.client.fill("key", 1, "x") == "ISOLATED")
            #expect(try await host.syncd.status("log", "why")?.string?.isEmpty == false)
        }
        try await hosts[1].deferred("=key")
        #expect(try await hosts[0].syncd.status("log", "pending")?.number == 1)
        redis.resume()
        for host in hosts {
            await host.waitUntilAttached()
            // The table says so a moment before the file is gone.
            await eventually("nothing is pending") { host.journal("pending").isEmpty }
        }
        // Redis may have taken the first append, too, whose answer came too late: positions don't tell.
        await eventually("both hosts have both") {
            hosts.allSatisfy { $0.slot("users") > position && $0.slot("=key") > position }
        }
        #expect(hosts.map(\.table.epoch) == epochs, "the same server, nothing missed")
        _ = try await hosts[0].client.lease("key")
        #expect(try await hosts[0].syncd.status("log", "pending")?.number == 0)
    }

    @Test func `short pauses are nothing, long ones isolate`() async throws {
        let redis = try await RedisServer()
        let host = try await Host(redis)
        let epoch = host.table.epoch
        let other = try redis.connect()
        try await other.send("DEBUG", "SLEEP", "1")
        #expect(try await other.reply().string == "OK")
        #expect(host.isAttached)
        try await other.send("DEBUG", "SLEEP", "2.5")
        await host.waitUntilIsolated()
        #expect(try await other.reply().string == "OK")
        await host.waitUntilAttached()
        #expect(host.table.epoch == epoch)
    }

    @Test func `writes that wait are pending though probes pass`() async throws {
        let redis = try await RedisServer()
        let host = try await Host(redis)
        let epoch = host.table.epoch
        try await redis.command("CLIENT", "PAUSE", "1500", "WRITE")
        let start = (least: ContinuousClock.now, most: PatientClock.now)
        try await host.deferred("users")
        #expect(PatientClock.now - start.most < .seconds(1))
        #expect(!host.isAttached && host.journal("pending").count == 1)
        await host.waitUntilAttached()
        #expect(ContinuousClock.now - start.least > .milliseconds(1000))
        #expect(host.slot("users") > 0 && host.journal("pending").isEmpty)
        #expect(host.table.epoch == epoch)
    }

    @Test func `a server that forgot the scripts is told them again`() async throws {
        let redis = try await RedisServer()
        let host = try await Host(redis)
        for _ in 0..<3 {
            try await redis.command("SCRIPT", "FLUSH")
            let position = try await host.client.invalidate("a")
            #expect(host.slot("a") == position)
        }
        try await redis.command("SCRIPT", "FLUSH")
        try await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await host.waitUntilAttached()
        #expect(host.isAttached)
    }

    @Test func `a cut network: the host that is cut off stops, the others go on`() async throws {
        let redis = try await RedisServer()
        let proxy = try await RedisProxy(redis)
        let cut = try await Host(redis, ["REDIS_URL": proxy.url])
        let whole = try await Host(redis)
        let epoch = cut.table.epoch
        try await cut.client.store("key", "old", tags: ["users"])
        #expect(try await whole.client.hit("key").text == "old")
        for isSilent in [true, false] {
            if isSilent { proxy.stall() } else { try await proxy.cut() }
            let position = try await whole.client.invalidate("users")
            await cut.waitUntilIsolated()
            #expect(try await cut.client.fetch("key").isMiss)
            try await cut.deferred("own")
            try await whole.client.store("key", "new", tags: ["users"])
            if isSilent { try await proxy.resume() } else { proxy.heal() }
            await cut.waitUntilAttached()
            #expect(cut.slot("users") >= position)
            #expect(try await cut.client.hit("key").text == "new")
            await whole.waitUntilApplied(Int(cut.table.applied.number))
            #expect(whole.slot("own") > position)
            try await whole.client.invalidate("users")
        }
        #expect(cut.table.epoch == epoch)
    }

    @Test func `an answer that is lost means nothing: it is appended once more`() async throws {
        let redis = try await RedisServer()
        let proxy = try await RedisProxy(redis)
        let host = try await Host(redis, ["REDIS_URL": proxy.url])
        try await host.client.invalidate("a")
        proxy.setRule { $0[0] == "EVALSHA" && $0.count > 10 ? .forwardAndFallSilent : .forward }
        try await host.deferred("users")
        #expect(!host.isAttached)
        proxy.setRule(nil)
        await host.waitUntilAttached()
        let entries = try await redis.command("XLEN", "{syncd}:stream").number ?? 0
        #expect(entries >= 3, "at least twice, which is harmless")
        #expect(host.slot("users") > 1 && host.journal("pending").isEmpty)
    }

    @Test func `a subscriber that Redis gave up loses nothing`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        try await redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 0")
        let epoch = hosts[1].table.epoch
        let listener = try await hosts[1].syncd.connect()
        try await listener.send("SUBSCRIBE", "noise")
        try await eventually("it is subscribed") {
            try await redis.command("PUBSUB", "NUMSUB", "noise").elements?.last?.number == 1
        }
        hosts[1].syncd.pause()
        let noise = String(repeating: "x", count: 1 << 20)
        try await eventually("Redis closes the subscription") {
            try await redis.command("PUBLISH", "noise", noise).number == 0
        }
        let position = try await hosts[0].client.invalidate("users")
        hosts[1].syncd.resume()
        await hosts[1].waitUntilApplied(position)
        await hosts[1].waitUntilAttached()
        #expect(hosts[1].slot("users") == position)
        #expect(hosts[1].table.epoch == epoch)
    }
}
