import Foundation
import IPCTesting
import NIOCore
import Synchronization
import Testing

@testable import IPCWire

/// docs/protocol.md, "The value arena byte by byte".
@Suite struct ValueArenaTests {
    private static let log = Incarnation(high: 1, low: 2)
    private let arena: ValueArena
    private let writer: ValueArenaWriter

    init() throws {
        arena = .inMemory(shape: ValueArenaLayout.Shape(indexWords: 512, ringBytes: 16_384))
        writer = try #require(ValueArenaWriter(arena))
    }

    private static func entry(
        _ value: String?, tags: [String] = [], asOf: LogPosition = 5, deadline: BootTime = 1000
    ) -> ArenaEntry {
        ArenaEntry(
            incarnation: log, asOf: asOf, deadline: deadline, tags: tags.map { ByteBuffer(string: $0) },
            value: value.map { ByteBuffer(string: $0) })
    }

    private func text(_ key: String) -> String? {
        writer.entry(for: ByteBuffer(string: key))?.value.map { String(buffer: $0) }
    }

    @discardableResult
    private func put(_ key: String, _ value: String?, tags: [String] = [], now: BootTime = 0) -> Bool {
        writer.insert(Self.entry(value, tags: tags), for: ByteBuffer(string: key), now: now)
    }

    // MARK: The writer

    @Test func `an entry comes back with everything that belongs to it`() throws {
        put("k", "value", tags: ["", "a", String(repeating: "t", count: 256)])
        let entry = try #require(writer.entry(for: ByteBuffer(string: "k")))
        #expect(entry.tags.map { $0.readableBytes } == [0, 1, 256] && entry.value == ByteBuffer(string: "value"))
        #expect(entry.incarnation == Self.log && entry.asOf == 5 && entry.deadline == 1000)
        put("none", nil)
        #expect(writer.entry(for: ByteBuffer(string: "none"))?.value == nil && writer.count == 2)
        put("empty", "")
        #expect(text("empty") == "")
        #expect(text("other") == nil)
    }

    @Test func `a later entry takes the place of the earlier one`() {
        put("k", "one")
        put("k", "two")
        #expect(text("k") == "two" && writer.count == 1)
        writer.remove(ByteBuffer(string: "k"))
        #expect(text("k") == nil && writer.count == 0)
    }

    @Test func `an entry that is too long leaves no earlier one behind`() {
        put("k", "one")
        #expect(!put("k", String(repeating: "x", count: 5000)))
        #expect(text("k") == nil)
    }

    @Test func `entries that nobody uses go soon, and those that are used stay`() {
        for number in 0..<400 {
            put("k\(number)", "v\(number)")
            #expect(text("k0") == "v0", "it is read each time")
        }
        #expect(text("k250") == nil && text("k399") == "v399")
        #expect(writer.count < 175 && writer.evictions == UInt64(400 - writer.count))
        #expect(writer.byteCount <= arena.shape.ringBytes)
    }

    @Test func `as long as there is room, entries stay that nobody uses`() {
        let bytes = 96
        let fitting = arena.shape.ringBytes / bytes - 2
        for number in 100..<100 + fitting { put("k\(number)", "v") }
        #expect(writer.count == fitting && writer.evictions == 0)
        #expect(writer.byteCount >= fitting * bytes)
    }

    @Test func `used entries whose time is over go`() {
        writer.insert(Self.entry("v", deadline: 10), for: ByteBuffer(string: "k"), now: 0)
        for number in 0..<400 {
            _ = text("k")
            put("k\(number)", "v", now: 11)
        }
        #expect(text("k") == nil)
    }

    @Test(arguments: [4096, 12_288, 65_536])
    func `entries are those that were stored last, whatever the order of operations`(ringBytes: Int) throws {
        let arena = ValueArena.inMemory(shape: ValueArenaLayout.Shape(indexWords: 512, ringBytes: ringBytes))
        var random = SeededRandom(seed: 7)
        var present: [String: String] = [:]
        var writer = try #require(ValueArenaWriter(arena))
        for step in 0..<30_000 {
            let key = "key\(UInt64.random(in: 0...300, using: &random))"
            switch UInt64.random(in: 0...9, using: &random) {
            case 0...5:
                let value =
                    String(
                        repeating: "x",
                        count: Int.random(in: 0...200, using: &random) * (random.next() % 20 == 0 ? 19 : 1)) + "\(step)"
                let isShort = writer.insert(Self.entry(value, tags: ["a", key]), for: ByteBuffer(string: key), now: 0)
                present[key] = isShort ? value : nil
            case 6: (present[key], _) = (nil, writer.remove(ByteBuffer(string: key)))
            case 7 where random.next() % 5 == 0:
                // Another syncd takes over.
                writer = try #require(ValueArenaWriter(arena))
            default:
                guard let found = writer.entry(for: ByteBuffer(string: key)) else { continue }
                #expect(found.value.map { String(buffer: $0) } == present[key], "step \(step)")
                #expect(found.tags == [ByteBuffer(string: "a"), ByteBuffer(string: key)])
            }
            #expect(writer.byteCount <= arena.shape.ringBytes && writer.count >= 0)
        }
        let count = (0..<arena.shape.indexWords).count {
            let offset = ValueArena.offset(arena.word($0))
            return offset > 0 && offset >= arena.load(arena.ring(of: offset).tailOffset)
        }
        #expect(writer.count == count, "the count is that of the index")
    }

    @Test func `a writer finds the records of an earlier one, and none in a damaged arena`() throws {
        put("k", "v")
        let next = try #require(ValueArenaWriter(arena))
        #expect(next.entry(for: ByteBuffer(string: "k")) != nil && next.count == 1)
        let wrong: [UInt64] = [.max, .max - 63, 0, 1]
        for (offset, number) in [arena.probation, arena.main].flatMap({ ring in
            wrong.flatMap { [(ring.headOffset, $0), (ring.tailOffset, $0)] }
        }) {
            let before = arena.load(offset)
            arena.store(number, offset)
            #expect(ValueArenaWriter(arena) == nil)
            arena.store(before, offset)
        }
        arena.memory.storeBytes(of: 0, toByteOffset: arena.probation.start, as: UInt32.self)
        #expect(ValueArenaWriter(arena) == nil, "a record without length")
    }

    @Test func `any bytes in the ring and in the index trap nothing`() throws {
        var random = SeededRandom(seed: 3)
        for _ in 0..<200 {
            let arena = ValueArena.inMemory(shape: arena.shape)
            let writer = try #require(ValueArenaWriter(arena))
            for number in 0..<200 {
                let key = ByteBuffer(string: "k\(number % 40)")
                let place = Int(UInt64.random(in: 0...UInt64(arena.shape.byteCount - 4097 - 8), using: &random))
                arena.memory.storeBytes(
                    of: (random.next() % 2 == 0) ? random.next() : .max, toByteOffset: 4096 + place / 8 * 8,
                    as: UInt64.self)
                writer.insert(Self.entry("v\(number)", tags: ["t"]), for: key, now: 0)
                _ = writer.entry(for: ByteBuffer(string: "k\(number % 7)"))
            }
            _ = ValueArenaWriter(arena)
        }
    }

    // MARK: Readers

    private func table() -> TagTable {
        let table = TagTable.inMemory()
        table.setState(.attached)
        table.setHeartbeat(100)
        table.setFreshAsOf(100)
        table.setIncarnation(Self.log)
        table.setFirstKnownPosition(5)
        return table
    }

    private func hit(_ key: String, _ table: TagTable, at now: BootTime = 200) -> ArenaHit? {
        let key = ByteBuffer(string: key)
        return arena.hit(for: key, hash: TagHash.key(key), keepsSlots: true, by: table, clock: { now })
    }

    @Test func `a reader gets what the rule calls fresh`() throws {
        let table = table()
        put("k", "v", tags: ["t"])
        let hit = try #require(self.hit("k", table))
        #expect(
            hit.value == ByteBuffer(string: "v") && hit.asOf == 5 && hit.deadline == 1000 && hit.epoch == table.epoch)
        #expect(hit.slots == table.slots(key: ByteBuffer(string: "k"), tags: [ByteBuffer(string: "t")]))
        #expect(self.hit("other", table) == nil)
    }

    @Test(arguments: ["t", "*", "=k"]) func `a value whose tag was invalidated is none`(tag: String) {
        let table = table()
        put("k", "v", tags: ["t"])
        table.raise(tags: [ByteBuffer(string: tag)], to: 5)
        #expect(hit("k", table) != nil)
        table.raise(tags: [ByteBuffer(string: tag)], to: 6)
        #expect(hit("k", table) == nil)
    }

    @Test func `state, log, first known position and time decide as for every cached value`() {
        put("k", "v")
        for change: (TagTable) -> Void in [
            { $0.setState(.isolated) }, { $0.setIncarnation(Incarnation(high: 1, low: 3)) },
            { $0.setFirstKnownPosition(6) }, { $0.setHeartbeat(201) },
        ] {
            let table = table()
            #expect(hit("k", table) != nil)
            change(table)
            #expect(hit("k", table) == nil)
        }
        #expect(hit("k", table(), at: 1000) == nil, "its time is over")
    }

    /// The results of threads.
    private final class Readings: Sendable {
        let isOver = Atomic(false)
        let running = Atomic(0)
        let wrong = Atomic(0)
        /// Number of values that each thread has read.
        let read = Mutex([Int](repeating: 0, count: 3))
    }

    /// On real threads: a copy that the ring has overtaken must not count.
    @Test func `readers beside a writer see whole values only`() {
        let (table, arena, readings) = (table(), arena, Readings())
        for number in 0..<3 {
            readings.running.add(1, ordering: .relaxed)
            Thread.detachNewThread {
                var random = SeededRandom(seed: UInt64(number))
                while !readings.isOver.load(ordering: .relaxed) {
                    let key = "k\(UInt64.random(in: 0...63, using: &random))"
                    let bytes = ByteBuffer(string: key)
                    let hit = arena.hit(
                        for: bytes, hash: TagHash.key(bytes), keepsSlots: false, by: table, clock: { 200 })
                    guard let value = hit?.value else { continue }
                    let text = String(buffer: value)
                    let parts = text.split(separator: "|")
                    let isWhole = parts.count == 3 && parts.first == parts.last && text.hasPrefix(key + ":")
                    if !isWhole { readings.wrong.add(1, ordering: .relaxed) }
                    readings.read.withLock { $0[number] += 1 }
                }
                readings.running.subtract(1, ordering: .relaxed)
            }
        }
        var random = SeededRandom(seed: 99)
        var written = 0
        while written < 100_000 || readings.read.withLock({ $0.min() ?? 0 }) < 5000 {
            let key = "k\(UInt64.random(in: 0...63, using: &random))"
            let mark = "\(key):\(written)"
            let value = "\(mark)|\(String(repeating: "-", count: Int.random(in: 1...400, using: &random)))|\(mark)"
            writer.insert(Self.entry(value), for: ByteBuffer(string: key), now: 0)
            written += 1
        }
        readings.isOver.store(true, ordering: .relaxed)
        while readings.running.load(ordering: .relaxed) > 0 { Thread.sleep(forTimeInterval: 0.001) }
        #expect(readings.wrong.load(ordering: .relaxed) == 0)
    }
}
