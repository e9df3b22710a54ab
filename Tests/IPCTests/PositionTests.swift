import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

/// Reads that bring the position of a write: docs/consistency.md, "Reading your own writes".
@Suite(.timeLimit(.minutes(10))) struct PositionTests {
    private static let log = Incarnation(high: 1, low: 1)

    private static func position(_ number: LogPosition, in log: Incarnation = log) -> SyncPosition {
        SyncPosition(SyncPosition.Place(incarnation: log, position: number))
    }

    /// A host that has applied position 1 and has a value "old" in L1.
    private static func withValue(
        hasTable: Bool = true, _ body: (CacheHarness) async throws -> Void
    ) async throws {
        try await CacheHarness.connected(hasTable: hasTable) { (harness: CacheHarness) async throws in
            harness.syncd.table.setIncarnation(log)
            harness.syncd.table.setApplied(1)
            #expect(try await harness.read(loading: "old").source == .miss)
            try await body(harness)
        }
    }

    private static func read(_ harness: CacheHarness, after position: SyncPosition?) -> Task<CachedValue, any Error> {
        Task { [cache = harness.cache, key = harness.key, tag = harness.tag] in
            try await cache.value(for: key, tags: [tag], ttl: .seconds(60), after: position) {
                ByteBuffer(string: "new")
            }
        }
    }

    /// Begins a read that waits for the position.
    private static func waiting(
        _ harness: CacheHarness, for position: SyncPosition
    ) async -> Task<CachedValue, any Error> {
        let read = read(harness, after: position)
        await eventually("it waits") {
            harness.cache.positions.waitingCount == 1 && harness.syncd.clock.sleeperCount == 1
        }
        return read
    }

    @Test func `a position that is applied makes no difference`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            for position in [nil, Self.position(0), Self.position(1)] {
                #expect(try await Self.read(harness, after: position).value == CachedValue("old", .l1))
                #expect(harness.cache.valueInMemory(for: harness.key, after: position) == ByteBuffer(string: "old"))
            }
            let tagged = try await harness.cache.taggedValue(
                for: harness.key, ttl: .seconds(60), after: Self.position(1)
            ) { Loaded(value: nil) }
            #expect(tagged == CachedValue("old", .l1))
        }
    }

    @Test func `a position that is not applied is waited for`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            #expect(harness.cache.valueInMemory(for: harness.key, after: Self.position(2)) == nil)
            let read = await Self.waiting(harness, for: Self.position(2))
            harness.syncd.advance(by: .milliseconds(1))
            #expect(harness.cache.waitingCount == 1)
            harness.syncd.table.raise(tags: [harness.tag.bytes], to: 2)
            harness.syncd.table.setApplied(2)
            await harness.pass(milliseconds: 1)
            #expect(try await read.value == CachedValue("new", .miss), "it is kept")
            #expect(try await harness.read(loading: "other") == CachedValue("new", .l1))
        }
    }

    @Test func `a position that does not come within 50 ms is read from the database, past all caches`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            let reads = [
                await Self.waiting(harness, for: Self.position(2)), Self.read(harness, after: Self.position(3)),
            ]
            await eventually("both wait") { harness.cache.waitingCount == 2 }
            for _ in 0..<60 { await harness.pass(milliseconds: 1) }
            for read in reads { #expect(try await read.value == CachedValue("new", .bypass)) }
            #expect(harness.cache.waitingCount == 0 && harness.syncd.fills.count == 1)
            #expect(try await harness.read(loading: "other") == CachedValue("old", .l1), "nothing was stored")
            let tagged = Task { [cache = harness.cache, key = harness.key] in
                try await cache.taggedValue(for: key, ttl: .seconds(60), after: .unknown) { Loaded(value: nil) }
            }
            #expect(try await tagged.value == CachedValue(value: nil, source: .bypass))
        }
    }

    @Test func `a position that this host cannot judge is read from the database at once`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            let table = harness.syncd.table
            func isBypassed(_ position: SyncPosition) async throws -> Bool {
                #expect(harness.cache.valueInMemory(for: harness.key, after: position) == nil)
                return try await Self.read(harness, after: position).value == CachedValue("new", .bypass)
            }
            #expect(try await isBypassed(.unknown))
            #expect(try await isBypassed(SyncPosition("garbage")))
            #expect(try await isBypassed(Self.position(1, in: Incarnation(high: 2, low: 2))), "of another log")
            table.setState(.isolated)
            #expect(try await isBypassed(Self.position(1)), "isolated")
            table.setState(.attached)
            harness.syncd.clock.advance(by: .milliseconds(1001))
            #expect(try await isBypassed(Self.position(2)), "syncd is silent")
        }
    }

    @Test func `a read without a table is one of the database`() async throws {
        try await Self.withValue(hasTable: false) { (harness: CacheHarness) async throws in
            #expect(try await Self.read(harness, after: Self.position(1)).value == CachedValue("new", .bypass))
        }
    }

    @Test func `a log that is replaced during the wait ends it`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            let read = await Self.waiting(harness, for: Self.position(2))
            // As in the other log: with the state isolated, this looked as if the position were applied.
            harness.syncd.table.setState(.isolated)
            harness.syncd.table.setApplied(9)
            await harness.pass(milliseconds: 1)
            #expect(try await read.value == CachedValue("new", .bypass))
        }
    }

    @Test func `a load that has begun before is not shared with a read that comes with a position`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            let first = Task { [cache = harness.cache, key = harness.key, tag = harness.tag, loads = harness.loads] in
                try await cache.value(for: key, tags: [tag], ttl: .seconds(60), after: .unknown) {
                    try await loads.load()
                }
            }
            await eventually("it loads") { harness.loads.begun == 1 }
            let second = Self.read(harness, after: .unknown)
            await eventually("it waits") { harness.cache.bypassLoads.waitingCount == 2 }
            await harness.loads.answer(1, "older")
            #expect(try await first.value == CachedValue("older", .bypass))
            #expect(try await second.value == CachedValue("new", .bypass))
        }
    }

    // MARK: Writes

    private static func written(_ harness: CacheHarness, _ result: WriteResult<Int>) async throws -> Written<Int> {
        try await harness.cache.writing([harness.tag]) { result }
    }

    @Test func `a write has the position of its invalidation`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            let changed = try await Self.written(harness, .changed(7, event: nil))
            #expect(changed.value == 7 && changed.position == Self.position(2))
            let unchanged = try await Self.written(harness, .unchanged(8))
            #expect(unchanged.value == 8 && unchanged.position == Self.position(3))
            #expect(try await harness.cache.writing([]) { .unchanged(1) }.position == .unknown)
        }
    }

    @Test func `a write that is pending, or of which nothing is known, has no position`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            harness.syncd.script { if case .invalidate = $0 { [.reply(.simple(.deferred))] } else { nil } }
            #expect(try await Self.written(harness, .changed(7, event: nil)).position == .unknown)
            harness.syncd.script { if case .invalidate = $0 { [.close] } else { nil } }
            let write = Task { try await Self.written(harness, .changed(7, event: nil)) }
            await eventually("it is pending") { harness.journal == ["pending"] }
            harness.syncd.script(nil)
            await harness.connectAgain()
            #expect(try await write.value.position == .unknown)
        }
    }

    @Test func `a position is of no log if the table has changed it in the meantime`() async throws {
        try await Self.withValue { (harness: CacheHarness) async throws in
            let table = harness.syncd.table
            let other = Incarnation(high: 2, low: 2)
            harness.syncd.script { request in
                guard case .invalidate = request else { return nil }
                table.setIncarnation(other)
                return [.reply(.integer(5))]
            }
            #expect(try await Self.written(harness, .unchanged(1)).position == .unknown)
            #expect(try await Self.written(harness, .unchanged(1)).position == Self.position(5, in: other))
            harness.syncd.script { request in
                guard case .invalidate = request else { return nil }
                table.setState(.isolated)
                return [.reply(.integer(6))]
            }
            #expect(try await Self.written(harness, .unchanged(1)).position == .unknown, "it is isolated")
        }
    }
}
