import IPCWire
import NIOCore
import TestSupport
import Testing

/// FETCH, FILL, ABANDON and INVALIDATE as docs/protocol.md says, with both homes of log and cache.
@Suite(.tags(.servers), .processes) struct CacheProtocolTests {
    @Test(arguments: Home.allCases) func `a value and its end`(home: Home) async throws {
        let (redis, syncd) = try await home.start()
        let client = try await syncd.connect()
        let lease = try await client.lease("users:all")
        #expect(try await client.fill("users:all", lease.id, "[]", tags: ["users", "b"]) == nil)
        // A value written to Redis is there when a later command is answered.
        let hit = try await client.hit("users:all")
        #expect(hit.text == "[]")
        #expect(hit.asOf == lease.asOf && hit.epoch == lease.epoch)
        #expect(hit.tags == [ByteBuffer(string: "users"), ByteBuffer(string: "b")])
        #expect((1...60_000).contains(hit.ttlMilliseconds))
        let position = try await client.invalidate("users")
        #expect(position > Int(lease.asOf.number))
        let next = try await client.lease("users:all")
        #expect(next.id > lease.id && next.asOf.number >= position)
        #expect(try await client.fill("users:all", next.id, nil, tags: ["users"]) == nil)
        #expect(try await client.hit("users:all").value == nil, "nothing found is a value, too")
        for tag in ["=users:all", "*"] {
            try await client.invalidate(tag)
            try await client.store("users:all", "again", tags: ["users"])
        }
        try await client.invalidate("others")
        #expect(try await client.hit("users:all").text == "again")
        withExtendedLifetime(redis) {}
    }

    @Test(arguments: Home.allCases) func `a fill from before an invalidation is refused`(home: Home) async throws {
        let (redis, syncd) = try await home.start()
        let reader = try await syncd.connect()
        let writer = try await syncd.connect()
        for tag in ["users", "=key", "*"] {
            let lease = try await reader.lease("key")
            let ticket = try await writer.ticket("key")
            try await writer.invalidate(tag)
            #expect(try await reader.fill("key", lease.id, "old", tags: ["users"]) == "STALE")
            let outcome = try #require(try await writer.fetched(ticket))
            let next = try #require(outcome.lease, "the next who waits may try")
            #expect(next.asOf > lease.asOf)
            #expect(try await writer.fill("key", next.id, "new", tags: ["users"]) == nil)
            #expect(try await reader.hit("key").text == "new")
            try await writer.invalidate("users")
        }
        #expect(try await syncd.status("cache", "stale-fills-refused")?.number == 3)
        withExtendedLifetime(redis) {}
    }

    @Test(arguments: Home.allCases) func `one load for all, and nobody waits behind it`(home: Home) async throws {
        let (redis, syncd) = try await home.start()
        let loader = try await syncd.connect()
        let client = try await syncd.connect()
        let lease = try await loader.lease("slow")
        var tickets: [UInt64] = []
        for _ in 0..<100 { tickets.append(try await client.ticket("slow")) }
        #expect(try await client.command("PING").string == "PONG", "a waiting fetch delays no other reply")
        _ = try await client.lease("other")
        #expect(try await client.fetch("slow").isMiss, "who doesn't wait reads the database")
        #expect(try await loader.fill("slow", lease.id, "value") == nil)
        for ticket in tickets { #expect(try await client.fetched(ticket)?.value == "value") }
        #expect(try await syncd.status("cache", "coalesced")?.number == 100)
        #expect(try await syncd.status("cache", "waiters")?.number == 0)
        withExtendedLifetime(redis) {}
    }

    @Test func `a lease goes on to the next: abandoned, disconnected`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let first = try await syncd.connect()
        let second = try await syncd.connect()
        let lease = try await first.lease("key")
        let secondTicket = try await second.ticket("key")
        #expect(try await first.command("ABANDON", "key", "\(lease.id)").string == "OK")
        let outcome = try await second.fetched(secondTicket)
        let secondLease = try #require(outcome?.lease)
        #expect(try await first.fill("key", lease.id, "late") == "NOLEASE")

        var third: RESPSocket? = try await syncd.connect()
        let fourth = try await syncd.connect()
        let thirdTicket = try await third?.ticket("key") ?? 0
        let fourthTicket = try await fourth.ticket("key")
        #expect(try await second.command("ABANDON", "key", "\(secondLease.id)").string == "OK")
        #expect(try await third?.fetched(thirdTicket)?.lease != nil)
        third = nil
        let last = try await fourth.fetched(fourthTicket)
        #expect(last?.lease != nil, "a holder that is gone is replaced at once")
    }

    @Test func `a wait ends`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let first = try await syncd.connect()
        _ = try await first.lease("key")
        let client = try await syncd.connect()
        let start = (least: ContinuousClock.now, most: PatientClock.now)
        let ticket = try await client.ticket("key", wait: 200)
        #expect(try await client.fetched(ticket) == .miss)
        #expect(ContinuousClock.now - start.least >= .milliseconds(200))
        #expect(PatientClock.now - start.most < .milliseconds(1500))
        #expect(try await client.fetch("key", wait: 0).isMiss)
    }

    @Test func `forged, foreign and used leases`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        let other = try await syncd.connect()
        let lease = try await client.lease("key")
        _ = try await client.lease("second")
        for id in [lease.id - 1, lease.id + 1, 0, LeaseID(1 << 53)] {
            #expect(try await client.fill("key", id, "x") == "NOLEASE")
        }
        #expect(try await other.fill("key", lease.id, "x") == "NOLEASE", "it belongs to the connection that got it")
        #expect(try await client.fill("second", lease.id, "x") == "NOLEASE", "and to its key")
        #expect(try await client.fill("key", lease.id, "value") == nil)
        #expect(try await client.fill("key", lease.id, "again") == "NOLEASE")
        #expect(try await other.command("ABANDON", "key", "\(lease.id)").string == "OK", "of nothing, no error")
        #expect(try await client.hit("key").text == "value")
    }

    @Test func `RESP2 knows no tickets`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let first = try await syncd.connect(version: 2)
        let second = try await syncd.connect(version: 2)
        _ = try await first.lease("key")
        #expect(try await second.fetch("key", wait: 5000).isMiss)
    }

    @Test func `a time to live ends`() async throws {
        for home in Home.allCases {
            let (redis, syncd) = try await home.start()
            let client = try await syncd.connect()
            let lease = try await client.lease("key")
            #expect(try await client.fill("key", lease.id, "value", ttl: 150) == nil)
            try await eventually("it expires", within: .seconds(3)) { try await client.fetch("key").isLease }
            withExtendedLifetime(redis) {}
        }
    }

    @Test(arguments: Home.allCases) func `keys and tags are bytes`(home: Home) async throws {
        let (redis, syncd) = try await home.start()
        let client = try await syncd.connect()
        let keys: [[UInt8]] = [
            Array("é".utf8), Array("e\u{301}".utf8), [0xff], [0xfe], [0], [13, 10], Array("{syncd}:stream".utf8),
            Array("a b".utf8), [UInt8](repeating: 0x80, count: 1024),
        ]
        for (index, key) in keys.enumerated() {
            let key = ByteBuffer(bytes: key)
            let reply = try await client.command([ByteBuffer(string: "FETCH"), key])
            guard case .outcome(.lease(let lease)) = try FetchReply(reply) else {
                Issue.record("key \(index) is not new: \(reply)")
                continue
            }
            let tag = key.readableBytes <= 256 ? key : ByteBuffer(string: "long")
            let fill =
                ["FILL"].map { ByteBuffer(string: $0) } + [key]
                + ["\(lease.id)", "60000", "1"].map { ByteBuffer(string: $0) } + [tag, ByteBuffer(string: "\(index)")]
            #expect(try await client.command(fill).string == "OK")
        }
        for (index, key) in keys.enumerated() {
            let reply = try await client.command([ByteBuffer(string: "FETCH"), ByteBuffer(bytes: key)])
            #expect(try FetchReply(reply).value == "\(index)")
        }
        // One of two that a text would take for equal.
        try await client.command(["INVALIDATE", "TAGS"].map { ByteBuffer(string: $0) } + [ByteBuffer(bytes: keys[0])])
        #expect(try FetchReply(try await client.command("FETCH", "é")).isLease)
        #expect(try FetchReply(try await client.command("FETCH", "e\u{301}")).value == "1")
        withExtendedLifetime(redis) {}
    }
}
