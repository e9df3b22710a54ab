import IPCTesting
import NIOCore
import Synchronization
import Testing

@testable import IPC
@testable import IPCWire

@Suite struct L1CacheTests {
    private let clock = ManualClock()
    private let table: TagTable
    private let cache: L1Cache
    private let key: CacheKey = "users:all"
    private let tag = ByteBuffer(string: "users")

    init() {
        table = TagTable.inMemory(epoch: 7)
        table.setState(.attached)
        table.setHeartbeat(clock.now)
        table.setFreshAsOf(clock.now)
        cache = L1Cache(byteBudget: 4 << 20, now: clock.workerClock.now)
        cache.use(table)
    }

    private func hit(_ text: String? = "v", asOf: LogPosition = 10, ttl: UInt64 = 1000, epoch: Epoch = 7) -> Hit {
        Hit(value: text.map { ByteBuffer(string: $0) }, asOf: asOf, ttlMilliseconds: ttl, tags: [tag], epoch: epoch)
    }

    @Test func `what was kept is found, a negative result too`() throws {
        #expect(cache.value(for: key) == nil)
        cache.insert(hit(), for: key)
        #expect(try #require(cache.value(for: key)).value == ByteBuffer(string: "v"))
        cache.insert(hit(nil), for: key)
        #expect(try #require(cache.value(for: key)).value == nil)
        #expect(cache.statistics.hits == 2)
        #expect(cache.statistics.misses == 1)
        #expect(cache.statistics.entries == 1)
    }

    @Test(arguments: ["users", "=users:all", "*"]) func `an invalidation past asOf ends it`(invalidated: String) {
        cache.insert(hit(), for: key)
        table.raise(tags: [ByteBuffer(string: invalidated)], to: 10)
        #expect(cache.value(for: key) != nil, "the value was read after position 10 was applied")
        table.raise(tags: [ByteBuffer(string: invalidated)], to: 11)
        #expect(cache.value(for: key) == nil)
    }

    @Test func `another epoch ends it`() {
        cache.insert(hit(), for: key)
        table.setEpoch(8)
        #expect(cache.value(for: key) == nil)
        table.setEpoch(7)
        #expect(cache.value(for: key) != nil)
    }

    @Test func `a copy out of the arena is kept only with the table that judged it`() {
        let copy = ArenaHit(
            value: ByteBuffer(string: "v"), asOf: 10, deadline: clock.now + 1_000_000_000, epoch: 7,
            slots: table.slots(key: key.bytes, tags: [tag]))
        cache.insert(copy, for: key, judgedBy: table, lifetimeMilliseconds: 1000)
        #expect(cache.value(for: key) != nil)
        let larger = TagTable.inMemory(slotBits: 17, epoch: 7)
        larger.setState(.attached)
        larger.setHeartbeat(clock.now)
        larger.setFreshAsOf(clock.now)
        cache.use(larger)
        cache.insert(copy, for: key, judgedBy: table, lifetimeMilliseconds: 1000)
        #expect(cache.value(for: key) == nil, "its slots are those of another table")
    }

    @Test func `the table is believed for one second after a heartbeat and two after a probe`() {
        cache.insert(hit(ttl: 10_000), for: key)
        clock.advance(by: .milliseconds(1000))
        #expect(cache.value(for: key) != nil)
        clock.advance(by: .milliseconds(1))
        #expect(cache.value(for: key) == nil)
        table.setHeartbeat(clock.now)
        #expect(cache.value(for: key) != nil)
        clock.advance(by: .milliseconds(999))
        table.setHeartbeat(clock.now)
        #expect(cache.value(for: key) != nil, "2000 ms after the probe")
        clock.advance(by: .milliseconds(1))
        #expect(cache.value(for: key) == nil)
        table.setFreshAsOf(clock.now)
        #expect(cache.value(for: key) != nil)
        table.setState(.isolated)
        #expect(cache.value(for: key) == nil)
    }

    @Test func `the time to live ends it`() {
        cache.insert(hit(ttl: 5), for: key)
        clock.advance(by: .milliseconds(4))
        #expect(cache.value(for: key) != nil)
        clock.advance(by: .milliseconds(1))
        #expect(cache.value(for: key) == nil)
        cache.insert(hit(ttl: .max), for: key)
        #expect(cache.value(for: key) != nil)
    }

    @Test func `the clock is taken after the slots`() {
        // A heartbeat between the reading of the slots and of the clock must not make the entry fresh.
        cache.insert(hit(), for: key)
        clock.advance(by: .milliseconds(1500))
        let time = Mutex(clock.now)
        let late = L1Cache(byteBudget: 1 << 20) { [table] in
            table.setHeartbeat(time.withLock { $0 })
            return time.withLock { $0 }
        }
        late.use(table)
        late.insert(hit(ttl: 10_000), for: key)
        table.setHeartbeat(clock.now - 1_500_000_000)
        #expect(late.value(for: key) == nil)
    }

    @Test func `without a table it is off, and another table starts it anew`() {
        cache.insert(hit(), for: key)
        cache.use(nil)
        cache.insert(hit(), for: key)
        #expect(!cache.isUsable)
        #expect(cache.value(for: key) == nil)
        cache.use(table)
        #expect(cache.value(for: key) == nil)
        #expect(cache.statistics.entries == 0)
    }

    @Test func `a sweep frees what is no longer fresh`() {
        for index in 0..<3000 {
            let tag = ByteBuffer(string: index % 3 == 0 ? "a" : "b")
            cache.insert(
                Hit(value: nil, asOf: 1, ttlMilliseconds: index % 3 == 1 ? 5 : 1000, tags: [tag], epoch: 7),
                for: "key \(index)")
        }
        let kept = cache.statistics.entries
        table.raise(tags: [ByteBuffer(string: "a")], to: 2)
        clock.advance(by: .milliseconds(5))
        var place: Int? = 0
        while let start = place { place = cache.sweep(from: start) }
        let entries = cache.statistics.entries
        #expect(kept == 3000)
        // A few keys may share the slot of the tag.
        #expect((990...1000).contains(entries))
    }

    @Test func `a small value does not keep its chunk alive`() {
        var chunk = ByteBuffer(repeating: 7, count: 1 << 19)
        chunk.moveWriterIndex(to: 1 << 19)
        for index in 0..<100 {
            guard let slice = chunk.getSlice(at: index, length: 10) else { return }
            cache.insert(
                Hit(value: slice, asOf: 1, ttlMilliseconds: 1000, tags: [], epoch: 7),
                for: "\(index)")
        }
        #expect(cache.statistics.entries == 100)
        #expect(cache.statistics.bytes < 100 * (L1Cache.overheadBytes + 128))
        #expect(cache.statistics.bytes > 100 * L1Cache.overheadBytes)
    }
}
