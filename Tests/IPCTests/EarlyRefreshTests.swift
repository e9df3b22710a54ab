import NIOCore
import TestSupport
import Testing

@testable import IPC

/// Values that get a successor before their time is over.
@Suite(.timeLimit(.minutes(1))) struct EarlyRefreshTests {
    private static let beside = ByteBuffer(bytes: Array("users:all".utf8) + [0] + Array("early".utf8))
    private static let owner = ByteBuffer(string: "=users:all")

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

    private static func fetched(_ harness: CacheHarness) -> [ByteBuffer] {
        harness.syncd.requests.compactMap { if case .fetch(let key, _) = $0 { key } else { nil } }
    }

    private static func fills(_ harness: CacheHarness) -> [Fill] {
        harness.syncd.requests.compactMap { if case .fill(let fill) = $0 { fill } else { nil } }
    }

    /// The successor is there, and the next attempt may come.
    private static func refresh(_ harness: CacheHarness, from old: String, to new: String) async throws {
        #expect(try await harness.read(loading: new) == CachedValue(old, .l1), "who asks does not wait")
        try await eventually("\(new) is there") { try await harness.read(loading: "x") == CachedValue(new, .l1) }
        await eventually("it pauses") { harness.syncd.clock.sleeperCount == 1 }
        await harness.pass(milliseconds: 1000)
        await eventually("the pause ends") { harness.syncd.clock.sleeperCount == 0 }
    }

    @Test func `by default a value just ends`() async throws {
        try await Self.withValue(percent: 0) { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 59_999)
            #expect(try await harness.read(loading: "b") == CachedValue("a", .l1))
            await harness.pass(milliseconds: 1)
            #expect(try await harness.read(loading: "b") == CachedValue("b", .miss))
            #expect(Self.fetched(harness) == [harness.key, harness.key])
        }
    }

    @Test func `a hit near the end has it loaded, under the key beside it, by who gets the lease`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 53_999)
            #expect(try await harness.read(loading: "b") == CachedValue("a", .l1))
            #expect(Self.fetched(harness) == [harness.key])
            await harness.pass(milliseconds: 1)
            try await Self.refresh(harness, from: "a", to: "b")
            #expect(Self.fetched(harness) == [harness.key, Self.beside])
            let fill = try #require(Self.fills(harness).last)
            #expect(fill.key == Self.beside && fill.tags == [harness.tag, Self.owner])
            #expect(fill.value == ByteBuffer(string: "b") && fill.ttlMilliseconds == 60_000)
            await harness.pass(milliseconds: 50_000)
            #expect(try await harness.read(loading: "x") == CachedValue("b", .l1), "past the end of the first")
        }
    }

    @Test func `the next successor has the first key again`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 54_000)
            try await Self.refresh(harness, from: "a", to: "b")
            await harness.pass(milliseconds: 54_000)
            try await Self.refresh(harness, from: "b", to: "c")
            #expect(Self.fetched(harness) == [harness.key, Self.beside, harness.key])
            #expect(Self.fills(harness).last?.tags == [harness.tag])
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
            await eventually("the lease is given back") { harness.syncd.abandons == 1 }
            await eventually("it pauses") { harness.syncd.clock.sleeperCount == 1 }
            for _ in 0..<10 { #expect(try await harness.read().value == CachedValue("a", .l1)) }
            #expect(harness.loads.begun == 1 && harness.syncd.fetches == 2)
            await harness.pass(milliseconds: 1000)
            await eventually("the pause ends") { harness.syncd.clock.sleeperCount == 0 }
            #expect(try await harness.read().value == CachedValue("a", .l1))
            await harness.loads.answer(2, "b")
            try await eventually("b is there") { try await harness.read().value == CachedValue("b", .l1) }
        }
    }

    @Test func `what another worker has loaded is taken, unless it ends sooner`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            await harness.pass(milliseconds: 54_000)
            let epoch = harness.syncd.table.epoch
            func answers(_ text: String, ttl: UInt64) -> FetchOutcome {
                .hit(
                    Hit(
                        value: ByteBuffer(string: text), asOf: 0, ttlMilliseconds: ttl, tags: [harness.tag],
                        epoch: epoch))
            }
            let sooner = answers("sooner", ttl: 5999)
            harness.syncd.script { if case .fetch = $0 { [.reply(.fetched(sooner))] } else { nil } }
            #expect(try await harness.read().value == CachedValue("a", .l1))
            await eventually("it pauses") { harness.syncd.clock.sleeperCount == 1 }
            #expect(try await harness.read().value == CachedValue("a", .l1))
            await harness.pass(milliseconds: 1000)
            await eventually("the pause ends") { harness.syncd.clock.sleeperCount == 0 }
            let theirs = answers("theirs", ttl: 30_000)
            harness.syncd.script { if case .fetch = $0 { [.reply(.fetched(theirs))] } else { nil } }
            #expect(try await harness.read().value == CachedValue("a", .l1))
            try await eventually("it is there") { try await harness.read().value == CachedValue("theirs", .l1) }
            #expect(harness.loads.begun == 0 && harness.syncd.fills == 1)
        }
    }

    @Test func `without syncd, or with a key too long for a tag, the value just ends`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            let long = ByteBuffer(string: String(repeating: "k", count: 256))
            let first = harness.read(long)
            await harness.loads.answer(1, "long")
            _ = try await first.value
            await harness.pass(milliseconds: 54_000)
            #expect(try await harness.read(long).value == CachedValue("long", .l1))
            #expect(harness.syncd.fetches == 2)
            try await harness.syncd.stop()
            await eventually("it notices") { harness.cache.status.sync == .detached }
            harness.syncd.beat()
            #expect(try await harness.read().value == CachedValue("a", .l1))
            #expect(harness.syncd.fetches == 2 && harness.loads.begun == 1)
            for key in [harness.key, long] {
                #expect(harness.cache.l1.value(for: key)?.refresh != nil, "it keeps no place among those under way")
            }
        }
    }

    @Test func `a request that asks again and finds a value near its end takes no refresh away`() async throws {
        try await CacheHarness.connected {
            $0.earlyRefreshPercent = 10
        } _: { (harness: CacheHarness) async throws in
            let leader = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            let joiner = harness.read()
            await eventually("another one joins") { harness.cache.flights.waitingCount == 2 }
            let hit = Hit(
                value: ByteBuffer(string: "a"), asOf: 0, ttlMilliseconds: 5000, tags: [harness.tag],
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
        let keys = (0...EarlyRefresh.limit).map { ByteBuffer(string: "key \($0)") }
        func refreshes() -> Int {
            table.setState(.attached)
            table.setBeat(clock.now)
            table.setFreshAsOf(clock.now)
            return keys.count { l1.value(for: $0)?.refresh != nil }
        }
        for key in keys {
            let hit = Hit(
                value: nil, asOf: 0, ttlMilliseconds: 60_000, tags: [], epoch: table.epoch)
            l1.insert(hit, for: key, lifetimeMilliseconds: 600_000)
        }
        #expect(refreshes() == EarlyRefresh.limit)
        clock.advance(milliseconds: 14_999)
        #expect(refreshes() == 0)
        clock.advance(milliseconds: 1)
        #expect(refreshes() == EarlyRefresh.limit)
    }
}
