import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

/// Values past their time to live while the database fails.
@Suite(.timeLimit(.minutes(10))) struct GraceTests {
    /// A value "a" whose time to live of 60 s is over.
    private static func withExpired(
        after: Duration? = nil, grace: Duration = .seconds(30), _ body: (CacheHarness) async throws -> Void
    ) async throws {
        try await CacheHarness.connected {
            $0.grace = grace
            $0.graceAfter = after
        } _: { (harness: CacheHarness) async throws in
            #expect(try await harness.read(loading: "a") == CachedValue("a", .miss))
            await harness.pass(milliseconds: 60_000)
            try await body(harness)
        }
    }

    private static func failing(_ harness: CacheHarness) async throws -> CachedValue {
        try await harness.cache.value(for: harness.key, tags: [harness.tag], ttl: .seconds(60)) { throw LoadFailed() }
    }

    private static func stale(_ text: String, seconds: Double) -> CachedValue {
        CachedValue(value: ByteBuffer(string: text), source: .stale, age: .seconds(seconds))
    }

    @Test func `by default a failed load is an error`() async throws {
        try await Self.withExpired(grace: .zero) { (harness: CacheHarness) async throws in
            await #expect(throws: LoadFailed.self) { try await Self.failing(harness) }
        }
    }

    @Test func `a failed load is no error while there is a value in grace`() async throws {
        try await Self.withExpired { (harness: CacheHarness) async throws in
            #expect(try await Self.failing(harness) == Self.stale("a", seconds: 60))
            await harness.pass(milliseconds: 29_000)
            #expect(try await Self.failing(harness) == Self.stale("a", seconds: 89))
            await harness.pass(milliseconds: 1000)
            await #expect(throws: LoadFailed.self) { try await Self.failing(harness) }
        }
    }

    @Test func `a load that succeeds is what counts`() async throws {
        try await Self.withExpired { (harness: CacheHarness) async throws in
            #expect(try await harness.read(loading: "b") == CachedValue("b", .miss))
            #expect(try await Self.failing(harness) == CachedValue("b", .l1))
        }
    }

    @Test(arguments: ["users", "=users:all", "*"]) func `never what was invalidated`(tag: String) async throws {
        try await Self.withExpired { (harness: CacheHarness) async throws in
            harness.syncd.table.raise(tags: [ByteBuffer(string: tag)], to: 1)
            await #expect(throws: LoadFailed.self) { try await Self.failing(harness) }
        }
    }

    @Test func `never what was invalidated during the load`() async throws {
        try await Self.withExpired { (harness: CacheHarness) async throws in
            let read = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            harness.syncd.table.raise(tags: [harness.tag.bytes], to: 1)
            await harness.loads.answer(1, .failure(LoadFailed()))
            await #expect(throws: LoadFailed.self) { try await read.value }
        }
    }

    @Test func `never of another epoch, and never by a table that is not believed`() async throws {
        try await Self.withExpired { (harness: CacheHarness) async throws in
            harness.syncd.table.setState(.isolated)
            await #expect(throws: LoadFailed.self) { try await Self.failing(harness) }
            harness.syncd.table.setState(.attached)
            #expect(try await Self.failing(harness).source == .stale)
            harness.syncd.clock.advance(by: .milliseconds(1001))
            await #expect(throws: LoadFailed.self) { try await Self.failing(harness) }
            harness.syncd.heartbeat()
            #expect(try await Self.failing(harness).source == .stale)
            harness.syncd.table.setEpoch(harness.syncd.table.epoch + 1)
            await #expect(throws: LoadFailed.self) { try await Self.failing(harness) }
        }
    }

    @Test func `a slow load goes on, and nobody else waits for it`() async throws {
        try await Self.withExpired(after: .milliseconds(500)) { (harness: CacheHarness) async throws in
            let first = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 && harness.syncd.clock.sleeperCount == 1 }
            await harness.pass(milliseconds: 400)
            #expect(!harness.cache.slowLoads.contains(harness.key))
            await harness.pass(milliseconds: 100)
            #expect(try await first.value == Self.stale("a", seconds: 60.5))
            #expect(try await harness.read().value == Self.stale("a", seconds: 60.5))
            #expect(harness.loads.begun == 1)
            await harness.loads.answer(1, "b")
            await eventually("it is kept") {
                harness.syncd.fills.count == 2 && !harness.cache.slowLoads.contains(harness.key)
            }
            #expect(try await harness.read().value == CachedValue("b", .l1))
        }
    }

    @Test func `what is invalidated before the limit is waited for`() async throws {
        try await Self.withExpired(after: .milliseconds(500)) { (harness: CacheHarness) async throws in
            let first = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 && harness.syncd.clock.sleeperCount == 1 }
            harness.syncd.table.raise(tags: [harness.tag.bytes], to: 1)
            await harness.pass(milliseconds: 600)
            await harness.loads.answer(1, "b")
            #expect(try await first.value == CachedValue("b", .miss))
            #expect(!harness.cache.slowLoads.contains(harness.key))
        }
    }

    @Test func `a fast load ends the watch over it`() async throws {
        try await Self.withExpired(after: .milliseconds(500)) { (harness: CacheHarness) async throws in
            let read = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 && harness.syncd.clock.sleeperCount == 1 }
            await harness.loads.answer(1, "b")
            #expect(try await read.value == CachedValue("b", .miss))
            await eventually("nobody waits") { harness.syncd.clock.sleeperCount == 0 }
        }
    }

    @Test func `a caller that gives up ends its load`() async throws {
        try await Self.withExpired(after: .milliseconds(500)) { (harness: CacheHarness) async throws in
            let read = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            read.cancel()
            await #expect(throws: CancellationError.self) { try await read.value }
            await eventually("it is cancelled") { harness.loads.cancelled == 1 }
        }
    }

    @Test func `its age counts from the load, also if syncd had the value`() async throws {
        try await CacheHarness.connected {
            $0.grace = .seconds(30)
        } _: { (harness: CacheHarness) async throws in
            let theirs = FetchOutcome.hit(
                Hit(
                    value: ByteBuffer(string: "a"), asOf: 0, ttlMilliseconds: 20_000, tags: [],
                    epoch: harness.syncd.table.epoch))
            harness.syncd.script { if case .fetch = $0 { [.reply(.fetched(theirs))] } else { nil } }
            #expect(try await Self.failing(harness) == CachedValue("a", .l2), "40 s of its 60 s are over")
            await harness.pass(milliseconds: 25_000)
            harness.syncd.script(nil)
            #expect(try await Self.failing(harness) == Self.stale("a", seconds: 65))
        }
    }

    @Test func `a sweep leaves what is in grace`() {
        let table = TagTable.inMemory()
        let clock = ManualClock()
        let l1 = L1Cache(byteBudget: 1 << 20, graceNanoseconds: 10_000_000, now: clock.workerClock.now)
        l1.use(table)
        l1.insert(
            Hit(value: nil, asOf: 0, ttlMilliseconds: 5, tags: [], epoch: table.epoch), for: "k")
        clock.advance(by: .milliseconds(14))
        #expect(l1.sweep(from: 0) == nil && l1.statistics.entries == 1)
        clock.advance(by: .milliseconds(1))
        #expect(l1.sweep(from: 0) == nil && l1.statistics.entries == 0)
    }
}
