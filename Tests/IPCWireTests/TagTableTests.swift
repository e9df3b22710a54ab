import NIOCore
import Testing

@testable import IPCWire

/// The tag table against docs/protocol.md, "The tag table byte by byte": numbers are written here once more, on
/// purpose, and memory is looked at without the type.
@Suite struct TagTableTests {
    /// A table and the bytes that it lies in.
    private final class Raw {
        let memory: UnsafeMutableRawPointer
        let bytes: Int

        init(slotBits: Int = 16, epoch: Epoch = 77) {
            bytes = 4096 + 8 * (1 << slotBits)
            memory = .allocate(byteCount: bytes, alignment: 64)
            memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
            TagTable.initializeHeader(memory, slotBits: slotBits, epoch: epoch, madeAt: 0)
        }

        deinit { memory.deallocate() }

        /// The table does not outlive `body`.
        func withTable(slotBits: Int = 16, _ body: (TagTable) throws -> Void) rethrows {
            try body(TagTable(memory: memory, slotBits: slotBits, release: { _ in }))
        }

        /// Eight bytes, least significant first.
        func number(at offset: Int) -> UInt64 {
            (0..<8).reversed().reduce(0) { $0 << 8 | UInt64(memory.load(fromByteOffset: offset + $1, as: UInt8.self)) }
        }

        func set(_ number: UInt64, at offset: Int) {
            for index in 0..<8 {
                memory.storeBytes(
                    of: UInt8(truncatingIfNeeded: number >> UInt64(8 * index)), toByteOffset: offset + index,
                    as: UInt8.self)
            }
        }

        /// Offsets of everything that is not zero.
        var occupied: [Int] { stride(from: 0, to: bytes, by: 8).filter { number(at: $0) != 0 } }
    }

    @Test(arguments: [16, 20, 24]) func `a fresh table`(slotBits: Int) {
        let raw = Raw(slotBits: slotBits)
        #expect((0..<8).map { raw.memory.load(fromByteOffset: $0, as: UInt8.self) } == Array("SYNCDTAG".utf8))
        #expect(raw.number(at: 8) == 1, "layout version")
        #expect(raw.number(at: 16) == 1 << UInt64(slotBits), "slots")
        #expect(raw.number(at: 64) == 1, "isolated")
        #expect(raw.number(at: 72) == 77, "epoch")
        #expect(raw.occupied == [0, 8, 16, 64, 72], "everything else is zero")
        #expect(TagTableLayout.byteCount(slotBits: slotBits) == raw.bytes)
    }

    @Test func `each field is where it is said to be`() {
        let raw = Raw()
        raw.withTable { table in
            table.setState(.attached)
            table.setEpoch(0x0102_0304_0506_0708)
            table.setHeartbeat(3)
            table.setFreshAsOf(4)
            table.setApplied(5)
            table.setFirstKnownPosition(6)
            table.setIncarnation(Incarnation(high: 7, low: 8))
        }
        #expect(
            [64, 72, 80, 88, 96, 104, 112, 120].map(raw.number(at:)) == [2, 0x0102_0304_0506_0708, 3, 4, 5, 6, 7, 8])
        #expect(raw.memory.load(fromByteOffset: 72, as: UInt8.self) == 8, "little endian")
        #expect(raw.occupied == [0, 8, 16, 64, 72, 80, 88, 96, 104, 112, 120])
        for (offset, value) in zip([72, 80, 88, 96, 104, 112, 120], UInt64(21)...) { raw.set(value, at: offset) }
        raw.withTable { table in
            #expect(
                [
                    table.epoch.number, table.heartbeat.number, table.freshAsOf.number, table.applied.number,
                    table.firstKnownPosition.number,
                ] == [
                    21, 22, 23, 24, 25,
                ])
            #expect(table.incarnation == Incarnation(high: 26, low: 27))
        }
    }

    @Test(
        arguments: [
            (0, .isolated), (1, .isolated), (2, .attached), (3, .isolated), (.max, .isolated),
        ] as [(UInt64, SyncState)])
    func `a state that is not known is isolated`(number: UInt64, state: SyncState) {
        let raw = Raw()
        raw.set(number, at: 64)
        raw.withTable { #expect($0.state == state) }
    }

    @Test func `slot i is at 4096 + 8 i, and slots are only raised`() {
        let raw = Raw()
        let users = ByteBuffer(string: "users")
        raw.withTable { table in
            table.raise(tags: [users], to: 9)
            table.raise(TagHash.key(ByteBuffer(string: "users:all")), to: 5)
            table.raise(TagHash.everything, to: 6)
            table.raise(tags: [users], to: 8)
        }
        // The low 16 bits of the hashes, from TagHashTests.
        #expect(raw.number(at: 4096 + 8 * 0x984d) == 9, "a smaller position changes nothing")
        #expect(raw.number(at: 4096 + 8 * 0x2298) == 5)
        #expect(raw.number(at: 4096 + 8 * 0x1a1d) == 6)
        #expect(raw.occupied.count == 5 + 3)
        raw.set(1 << 53, at: 4096)
        raw.set(3, at: 4096 + 8 * 65_535)
        raw.withTable { table in
            #expect(table.slot(0) == .greatest)
            #expect(table.slot(65_535) == 3)
            #expect(table.greatestSlot == .greatest)
        }
    }

    @Test func `an invalidated = and key, and *, are tags like any other`() {
        let table = TagTable.inMemory()
        table.raise(tags: [ByteBuffer(string: "=users:all"), ByteBuffer(string: "*")], to: 4)
        #expect(table.slot(table.slotIndex(TagHash.key(ByteBuffer(string: "users:all")))) == 4)
        #expect(table.slot(table.slotIndex(TagHash.everything)) == 4)
    }

    // MARK: Damaged files

    @Test func `a good header gives its size`() throws {
        for bits in 16...24 {
            let raw = Raw(slotBits: bits)
            #expect(try TagTable.validateHeader(raw.memory, fileBytes: raw.bytes) == bits)
        }
    }

    @Test(arguments: [0, 1, 4095, 4096, 4097, 4096 + 8 * 65_536 - 1, 4096 + 8 * 65_536 + 1, 4096 + 8 * (1 << 17)])
    func `another size than the header says`(bytes: Int) {
        let raw = Raw()
        #expect(throws: TagTableError.tooShort(bytes: bytes)) {
            try TagTable.validateHeader(raw.memory, fileBytes: bytes)
        }
    }

    @Test func `every byte of the magic counts`() {
        for offset in 0..<8 {
            let raw = Raw()
            raw.memory.storeBytes(of: 0x20, toByteOffset: offset, as: UInt8.self)
            #expect(throws: TagTableError.notATable) { try TagTable.validateHeader(raw.memory, fileBytes: raw.bytes) }
        }
    }

    @Test(arguments: [0, 2, 256, .max] as [UInt64]) func `another layout`(version: UInt64) {
        let raw = Raw()
        raw.set(version, at: 8)
        #expect(throws: TagTableError.otherLayout(version: version)) {
            try TagTable.validateHeader(raw.memory, fileBytes: raw.bytes)
        }
    }

    @Test(arguments: [0, 1, 65_535, 65_537, 1 << 15, 1 << 25, 1 << 63, .max] as [UInt64])
    func `a number of slots that no table has`(slots: UInt64) {
        let raw = Raw()
        raw.set(slots, at: 16)
        #expect(throws: TagTableError.otherLayout(version: 1)) {
            try TagTable.validateHeader(raw.memory, fileBytes: raw.bytes)
        }
    }

    // MARK: Incarnations

    @Test func `an incarnation is 32 hexadecimal digits`() {
        let incarnation = Incarnation(high: 0x0123_4567_89ab_cdef, low: 0xf)
        #expect(incarnation.description == "0123456789abcdef000000000000000f")
        #expect(Incarnation(incarnation.description) == incarnation)
        #expect(Incarnation("0123456789ABCDEF000000000000000F") == incarnation)
        for text in [
            "", "0", String(repeating: "0", count: 31), String(repeating: "0", count: 33),
            String(repeating: "g", count: 32),
            "+123456789abcdef0000000000000000", "-123456789abcdef0000000000000000", String(repeating: "０", count: 32),
            "0123456789abcdef 00000000000000f",
        ] {
            #expect(Incarnation(text) == nil, "\(text)")
        }
    }

    @Test func `the last applied entry is the one with the greatest position`() {
        let table = TagTable.inMemory()
        #expect(table.lastEntry == nil)
        for number: UInt64 in 1...5 {
            table.setLastEntry(AppliedEntry(position: LogPosition(number), nonce: 10 * number))
            #expect(table.lastEntry == AppliedEntry(position: LogPosition(number), nonce: 10 * number))
        }
        table.setLastEntry(AppliedEntry(position: 4, nonce: 7))
        table.setLastEntry(AppliedEntry(position: 5, nonce: 7))
        #expect(table.lastEntry == AppliedEntry(position: 5, nonce: 50))
        table.forgetLastEntry()
        #expect(table.lastEntry == nil)
    }
}
