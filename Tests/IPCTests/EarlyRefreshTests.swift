import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

/// Values that get a successor before their time is over.
@Suite(.timeLimit(.minutes(10))) struct EarlyRefreshTests {
    /// A value "a" with 60 s to live; from 54 s on it is to be loaded anew.
    private static func withValue(
        percent: Int = 10, _ body: (CacheHarness) async throws -> Void
    ) async throws {
        try await CacheHarness.connected {
            $0.earlyRefreshPercent = percent
        } _: { (harness: CacheHarness) async throws in
            #expect(try await harness.read(loading: "a") == CachedValue("a", .miss))
            try await body(harness)
        }
    }

    /// How long the value at hand had to live at each request for a lease, and a second more.
    private static func renewals(_ harness: CacheHarness) -> [UInt64] {
        harness.syncd.requests.compactMap { if case .renew(harness.key.bytes, let ttl) = $0 { ttl } else { nil } }
    }

    /// The successor is there, and the next attempt may come.
    private static func refresh(_ harness: CacheHarness, from old: String, to new: String) async throws {
        #expect(try await harness.read(loading: new) == CachedValue(old, .l1), "who asks does not wait")
        try await eventually("\(new) is there") { try await harness.read(loading: "x") == CachedValue(new, .l1) }
        await eventually("it pauses") { harness.syncd.clock.sleeperCount == 1 }
        await harness.pass(milliseconds: 1000)
        await eventually("the pause ends") { harness.cache.l1.refreshCount == 0 }
    }

    @Test func `by default a value just ends`() async throws {
        try await Self.withValue(percent: 0) { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 59_999)
            #expect(try await harness.read(loading: "b") == CachedValue("a", .l1))
            await harness.pass(milliseconds: 1)
            #expect(try await harness.read(loading: "b") == CachedValue("b", .miss))
            #expect(Self.renewals(harness) == [])
        }
    }

    @Test func `a hit near the end asks for a lease, and the new value takes the place of the old one`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 53_999)
            #expect(try await harness.read(loading: "b") == CachedValue("a", .l1))
            #expect(Self.renewals(harness) == [])
            await harness.pass(milliseconds: 1)
            try await Self.refresh(harness, from: "a", to: "b")
            #expect(Self.renewals(harness) == [7000], "6 s are left, and a value is to live for a second longer")
            let fill = try #require(harness.syncd.fills.last)
            #expect(fill.key == harness.key.bytes && fill.tags == [harness.tag.bytes])
            #expect(fill.value == ByteBuffer(string: "b") && fill.ttlMilliseconds == 60_000)
            await harness.pass(milliseconds: 50_000)
            #expect(try await harness.read(loading: "x") == CachedValue("b", .l1), "past the end of the first")
            await harness.pass(milliseconds: 4000)
            try await Self.refresh(harness, from: "b", to: "c")
            #expect(harness.syncd.fetchCount == 1, "the first load was the only one that anybody waited for")
        }
    }

    @Test(arguments: [
        FetchReply.outcome(.miss), .error(ReplyError(.generic, "syntax error in FETCH at 'RENEW': WAIT is expected")),
    ])
    func `if it is not this worker's turn, or syncd is too old to know the question, the value just ends`(
        answer: FetchReply
    ) async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            let reply: Reply = if case .error(let error) = answer { .error(error) } else { .fetched(.miss) }
            harness.syncd.script { if case .renew = $0 { .reply(reply) } else { nil } }
            await harness.pass(milliseconds: 54_000)
            #expect(try await harness.read(loading: "b") == CachedValue("a", .l1))
            await eventually("it pauses") { harness.syncd.clock.sleeperCount == 1 }
            await harness.pass(milliseconds: 1000)
            await eventually("the pause ends") { harness.cache.l1.refreshCount == 0 }
            #expect(try await harness.read(loading: "b") == CachedValue("a", .l1))
            await eventually("it asks again") { Self.renewals(harness) == [7000, 6000] }
            await harness.pass(milliseconds: 5000)
            #expect(try await harness.read(loading: "b") == CachedValue("b", .miss))
            #expect(harness.syncd.acceptedCount == 1, "the connection goes on")
        }
    }

    @Test(arguments: ["users", "=users:all", "*"]) func `what ends the value ends its successor`(tag: String)
        async throws
    {
        try await Self.withValue { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 54_000)
            try await Self.refresh(harness, from: "a", to: "b")
            harness.syncd.table.raise(tags: [ByteBuffer(string: tag)], to: 1)
            #expect(try await harness.read(loading: "c") == CachedValue("c", .miss))
        }
    }

    @Test func `one attempt at a time, and a second's pause after it`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 54_000)
            #expect(try await harness.read().value == CachedValue("a", .l1))
            await eventually("it loads") { harness.loads.begun == 1 }
            for _ in 0..<10 { #expect(try await harness.read().value == CachedValue("a", .l1)) }
            await harness.loads.answer(1, .failure(LoadFailed()))
            await eventually("the lease is given back") { harness.syncd.abandons.count == 1 }
            await eventually("it pauses") { harness.syncd.clock.sleeperCount == 1 }
            for _ in 0..<10 { #expect(try await harness.read().value == CachedValue("a", .l1)) }
            #expect(harness.loads.begun == 1 && Self.renewals(harness).count == 1)
            await harness.pass(milliseconds: 1000)
            await eventually("the pause ends") { harness.cache.l1.refreshCount == 0 }
            #expect(try await harness.read().value == CachedValue("a", .l1))
            await harness.loads.answer(2, "b")
            try await eventually("b is there") { try await harness.read().value == CachedValue("b", .l1) }
        }
    }

    @Test func `a value that another worker has loaded is taken`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 54_000)
            let theirs = harness.syncd.hit("theirs", tags: [harness.tag], ttlMilliseconds: 30_000)
            harness.syncd.script { if case .renew = $0 { .reply(.fetched(theirs)) } else { nil } }
            #expect(try await harness.read().value == CachedValue("a", .l1))
            try await eventually("it is there") { try await harness.read().value == CachedValue("theirs", .l1) }
            #expect(harness.loads.begun == 0 && harness.syncd.fills.count == 1)
        }
    }

    @Test func `without syncd the value just ends`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 54_000)
            await harness.syncd.stop()
            await eventually("it notices") { harness.cache.status.sync == .detached }
            harness.syncd.heartbeat()
            #expect(try await harness.read().value == CachedValue("a", .l1))
            #expect(Self.renewals(harness) == [] && harness.loads.begun == 0)
        }
    }

    @Test func `a request that asks again and finds a value near its end takes no refresh away`() async throws {
        try await CacheHarness.connected {
            $0.earlyRefreshPercent = 10
        } _: { (harness: CacheHarness) async throws in
            let leader = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            let joiner = harness.read()
            await eventually("another one joins") { harness.cache.singleFlight.waitingCount == 2 }
            let hit = Hit(
                value: ByteBuffer(string: "a"), asOf: 0, ttlMilliseconds: 5000, tags: [harness.tag.bytes],
                epoch: harness.syncd.table.epoch)
            harness.cache.l1.insert(hit, for: harness.key, lifetimeMilliseconds: 60_000)
            await harness.loads.answer(1, .failure(LoadFailed()))
            await #expect(throws: LoadFailed.self) { try await leader.value }
            #expect(try await joiner.value == CachedValue("a", .l1))
            #expect(try await harness.read().value == CachedValue("a", .l1))
            await eventually("the next hit has it loaded") { harness.loads.begun == 2 }
            await harness.loads.answer(2, "b")
            try await eventually("b is there") { try await harness.read().value == CachedValue("b", .l1) }
        }
    }

    @Test func `loads that never end don't turn early refresh off`() {
        let clock = ManualClock()
        let l1 = L1Cache(byteBudget: 1 << 20, refreshPercent: 90) { clock.now }
        let table = TagTable.inMemory()
        l1.use(table)
        let keys = (0...EarlyRefresh.limit).map { CacheKey("key \($0)") }
        func refreshes() -> Int {
            table.setState(.attached)
            table.setHeartbeat(clock.now)
            table.setFreshAsOf(clock.now)
            return keys.count { l1.value(for: $0)?.duty?.isRefreshDue == true }
        }
        for key in keys {
            let hit = Hit(
                value: nil, asOf: 0, ttlMilliseconds: 60_000, tags: [], epoch: table.epoch)
            l1.insert(hit, for: key, lifetimeMilliseconds: 600_000)
        }
        #expect(refreshes() == EarlyRefresh.limit)
        clock.advance(by: .milliseconds(14_999))
        #expect(refreshes() == 0)
        clock.advance(by: .milliseconds(1))
        #expect(refreshes() == EarlyRefresh.limit)
    }
}
