import Synchronization

/// One of the two rings of a value arena, as its writer sees it.
struct ArenaRing {
    let ring: ValueArenaLayout.Ring
    /// The offset of the next record.
    private(set) var head: UInt64
    /// The offset of the oldest record.
    private(set) var tail: UInt64
    private let arena: ValueArena

    /// Takes over a ring with the records that an earlier writer left in it.
    ///
    /// - Returns: `nil` if its offsets are not those of any writer.
    init?(_ ring: ValueArenaLayout.Ring, of arena: ValueArena) {
        (self.ring, self.arena) = (ring, arena)
        (head, tail) = (arena.load(ring.headOffset), arena.load(ring.tailOffset))
        let (newest, oldest) = (head ^ ring.bit, tail ^ ring.bit)
        let unit = UInt64(ValueArenaLayout.unit)
        guard newest <= ValueArenaLayout.greatestOffset, oldest <= newest, newest - oldest <= UInt64(ring.bytes),
            oldest >= UInt64(ring.bytes), newest % unit == 0, oldest % unit == 0, isChain()
        else { return nil }
    }

    /// Whether the records follow each other from the tail to the head.
    private func isChain() -> Bool {
        var offset = tail
        while offset < head {
            guard let length = length(at: offset), length % ValueArenaLayout.unit == 0 else { return false }
            offset += UInt64(length)
        }
        return offset == head
    }

    /// Bytes of the records.
    var byteCount: Int { Int(head - tail) }

    func contains(_ offset: UInt64) -> Bool { offset >= tail && offset < head }

    /// The record at an offset.
    func record(at offset: UInt64) -> UnsafeMutableRawPointer { arena.record(at: offset, in: ring) }

    /// Bytes from an offset to the end of the ring's memory.
    func room(at offset: UInt64) -> Int { ring.bytes - ring.place(offset) }

    /// The length of the record at an offset between tail and head; `nil`: the ring is damaged.
    func length(at offset: UInt64) -> Int? {
        guard room(at: offset) >= ValueArenaLayout.unit else { return nil }
        let length = Int(UInt32(littleEndian: record(at: offset).load(as: UInt32.self)))
        return length > 0 && length <= room(at: offset) && offset + UInt64(length) <= head ? length : nil
    }

    /// Bytes that a record of this length takes at this offset, with what it leaves at the ring's end.
    func span(_ length: Int, at offset: UInt64) -> Int {
        let room = room(at: offset)
        return length > room ? room + length : length
    }

    /// Whether a record of this length fits, if head and tail are these.
    func hasRoom(for length: Int, head: UInt64, tail: UInt64) -> Bool {
        head + UInt64(span(length, at: head)) <= tail + UInt64(ring.bytes)
    }

    /// Writes a record of this length at the head, for which there is room.
    mutating func append(_ length: Int, _ write: (UnsafeMutableRawPointer) -> Void) -> UInt64 {
        let room = room(at: head)
        if length > room {
            let end = record(at: head)
            end.storeBytes(of: UInt32(room).littleEndian, as: UInt32.self)
            end.storeBytes(of: 0, toByteOffset: ArenaRecordHeader.keyBytesOffset, as: UInt32.self)
            head += UInt64(room)
        }
        let offset = head
        let record = record(at: offset)
        write(record)
        record.storeBytes(of: offset.littleEndian, toByteOffset: ArenaRecordHeader.selfOffset, as: UInt64.self)
        head += UInt64(length)
        arena.store(head, ring.headOffset)
        return offset
    }

    /// Gives up the records below an offset, before anything is overwritten: a reader that copies one of them sees it.
    mutating func raiseTail(to offset: UInt64) {
        tail = offset
        arena.store(tail, ring.tailOffset)
        atomicMemoryFence(ordering: .releasing)
    }
}
