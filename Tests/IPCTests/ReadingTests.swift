import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

@Suite(.timeLimit(.minutes(10))) struct ReadingTests {
    @Test func `a miss is loaded and filled, then it is in L1`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            #expect(try await harness.read(loading: "a") == CachedValue("a", .miss))
            #expect(try await harness.read(loading: "b") == CachedValue("a", .l1))
            #expect(harness.syncd.fills.count == 1)
            harness.syncd.table.raise(tags: [harness.tag.bytes], to: 1)
            #expect(try await harness.read(loading: "b") == CachedValue("b", .miss))
        }
    }

    @Test func `what syncd has is kept in L1, a negative result too`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let outcome = FetchOutcome.hit(
                Hit(value: nil, asOf: 0, ttlMilliseconds: 1000, tags: [], epoch: harness.syncd.table.epoch))
            harness.syncd.script { if case .fetch = $0 { [.reply(.fetched(outcome))] } else { nil } }
            #expect(try await harness.read(loading: "x") == CachedValue(value: nil, source: .l2))
            #expect(try await harness.read(loading: "x") == CachedValue(value: nil, source: .l1))
        }
    }

    @Test func `a ticket ends with a push`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let (syncd, outcome) = (harness.syncd, harness.syncd.hit("theirs"))
            syncd.script { if case .fetch = $0 { [.reply(.wait(ticket: 9))] } else { nil } }
            let read = harness.read()
            await eventually("it asks") { syncd.fetchCount == 1 }
            syncd.send(.fetched(ticket: 9, outcome))
            #expect(try await read.value == CachedValue("theirs", .l2))
        }
    }

    @Test func `requests of one worker share a load`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let first = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            let others = (0..<5).map { _ in harness.read() }
            await eventually("all wait") { harness.cache.singleFlight.waitingCount == 6 }
            await harness.loads.answer(1, "v")
            #expect(try await first.value == CachedValue("v", .miss))
            for other in others { #expect(try await other.value == CachedValue("v", .l2)) }
            #expect(harness.loads.begun == 1)
            #expect(harness.syncd.fetchCount == 1)
        }
    }

    @Test func `a refused fill is for its holder only`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            harness.syncd.script {
                if case .fill(let fill) = $0, fill.lease == 101 { return [.reply(.error(ReplyError(.stale, "gone")))] }
                return nil
            }
            let first = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            let second = harness.read()
            await eventually("both wait") { harness.cache.singleFlight.waitingCount == 2 }
            await harness.loads.answer(1, "old")
            #expect(try await first.value == CachedValue("old", .miss))
            await harness.loads.answer(2, "new")
            #expect(try await second.value == CachedValue("new", .miss))
            #expect(try await harness.read(loading: "x") == CachedValue("new", .l1))
            #expect(harness.syncd.abandons.count == 0, "a stale lease is over")
        }
    }

    @Test func `who is refused again and again reads for itself`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            harness.syncd.script {
                if case .fill = $0 { [.reply(.error(ReplyError(.noLease, "expired")))] } else { nil }
            }
            let first = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            let joiner = harness.read()
            await eventually("both wait") { harness.cache.singleFlight.waitingCount == 2 }
            await harness.loads.answer(1, "1")
            _ = try await first.value
            await harness.loads.answer(2, "2")
            #expect(try await joiner.value == CachedValue("2", .miss))
            #expect(harness.cache.l1.statistics.entries == 0)
        }
    }

    @Test func `somebody else's error is no answer`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let first = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            let second = harness.read()
            await eventually("both wait") { harness.cache.singleFlight.waitingCount == 2 }
            await harness.loads.answer(1, .failure(LoadFailed()))
            await #expect(throws: LoadFailed.self) { try await first.value }
            await harness.loads.answer(2, "v")
            #expect(try await second.value == CachedValue("v", .miss))
            #expect(harness.syncd.abandons.count == 1)
        }
    }

    @Test func `a verdict from before a request began is not shared with it`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let (syncd, stale) = (harness.syncd, harness.syncd.hit("old", tags: [harness.tag]))
            syncd.script { if case .fetch = $0 { [] } else { nil } }
            let first = harness.read()
            await eventually("it asks") { syncd.fetchCount == 1 }
            // A write is acknowledged somewhere on this host; whoever begins now must not see what was before.
            syncd.table.raise(tags: [harness.tag.bytes], to: 1)
            syncd.table.setApplied(1)
            let second = harness.read()
            await eventually("both wait") { harness.cache.singleFlight.waitingCount == 2 }
            syncd.script(nil)
            syncd.send(.fetched(stale))
            #expect(try await first.value == CachedValue("old", .l2), "it began before the write was acknowledged")
            await harness.loads.answer(1, "new")
            #expect(try await second.value == CachedValue("new", .miss))
        }
    }

    @Test func `without a table there is no L1, but L2`() async throws {
        try await CacheHarness.connected(hasTable: false) { (harness: CacheHarness) async throws in
            let outcome = harness.syncd.hit("v")
            harness.syncd.script { if case .fetch = $0 { [.reply(.fetched(outcome))] } else { nil } }
            #expect(try await harness.read(loading: "x") == CachedValue("v", .l2))
            #expect(try await harness.read(loading: "x") == CachedValue("v", .l2))
            #expect(harness.cache.status.sync == .attached)
            harness.syncd.script(nil)
            let first = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            let second = harness.read()
            await eventually("both wait") { harness.cache.singleFlight.waitingCount == 2 }
            await harness.loads.answer(1, "w")
            #expect(try await first.value == CachedValue("w", .miss))
            #expect(try await second.value == CachedValue("w", .l2), "the fill was judged after it had joined")
        }
    }

    @Test func `a value that is too large is returned and not filled`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let value = ByteBuffer(repeating: 1, count: WireLimits().valueBytes + 1)
            let read = try await harness.cache.value(for: harness.key, tags: [], ttl: .seconds(1)) { value }
            #expect(read == CachedValue(value: value, source: .miss))
            await eventually("the lease is given back") { harness.syncd.abandons.count == 1 }
            #expect(harness.syncd.fills.count == 0)
        }
    }

    @Test func `keys and tags beyond the limits are not cached`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            for (key, tag) in [
                ("", "t"), (String(repeating: "k", count: 1025), "t"), ("k", String(repeating: "t", count: 257)),
            ] {
                let value = try await harness.cache.value(
                    for: CacheKey(key), tags: [CacheTag(tag)], ttl: .seconds(1)
                ) { ByteBuffer(string: "v") }
                #expect(value == CachedValue("v", .bypass))
            }
            #expect(harness.syncd.fetchCount == 0)
        }
    }
}
