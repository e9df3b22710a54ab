import NIOCore
import Synchronization

/// A value of the arena with everything that belongs to it.
package struct ArenaEntry: Sendable {
    package var incarnation: Incarnation
    /// Log position that was applied before the value was read from the database.
    package var asOf: LogPosition
    /// CLOCK_BOOTTIME in ns at which the value expires.
    package var deadline: BootTime
    /// The declared tags.
    package var tags: [ByteBuffer]
    /// `nil`: a negative result.
    package var value: ByteBuffer?

    package init(
        incarnation: Incarnation, asOf: LogPosition, deadline: BootTime, tags: [ByteBuffer], value: ByteBuffer?
    ) {
        self.incarnation = incarnation
        self.asOf = asOf
        self.deadline = deadline
        self.tags = tags
        self.value = value
    }
}

/// The writing side of a value arena: one per arena, for one thread.
///
/// A record is written behind the newest one. To make room, the oldest records go; those that were used since they were
/// written are written again, up to a limit for each insertion. A writer that is killed at any instant leaves an arena
/// that is right: a record gets into the index when it is complete, and the tail is raised before anything is overwritten.
package final class ValueArenaWriter {
    /// The arena, for reading.
    package let arena: ValueArena
    /// Number of records in the index.
    package private(set) var count = 0
    /// Number of records that had to go while they were in the index.
    package private(set) var evictions: UInt64 = 0
    private var head: UInt64
    private var tail: UInt64
    /// Records that are written again.
    private var kept: [UInt8] = []

    /// Bytes of used records that one insertion writes again, beside twice its own length.
    private static let keptBytes = 16 << 10

    /// Takes over an arena, with the records that an earlier writer left in it.
    ///
    /// - Returns: `nil` if its offsets are not those of any writer.
    package init?(_ arena: ValueArena) {
        self.arena = arena
        (head, tail) = (arena.head, arena.tail)
        let unit = UInt64(ValueArenaLayout.unit)
        guard head <= ValueArenaLayout.greatestOffset, tail <= head, head - tail <= UInt64(arena.shape.ringBytes),
            tail >= UInt64(arena.shape.ringBytes), head % unit == 0, tail % unit == 0
        else { return nil }
        // A new arena has nothing to look at.
        guard head > tail else { return }
        guard isChain() else { return nil }
        count = (0..<arena.shape.indexWords).count { isPresent(arena.word($0)) }
    }

    /// Bytes of the records in the ring.
    package var byteCount: Int { Int(head - tail) }
    /// Bytes of the longest record: larger ones would drive out too many others.
    package var maximumRecordBytes: Int { arena.shape.ringBytes / 4 }

    /// Whether the records follow each other from the tail to the head.
    private func isChain() -> Bool {
        var offset = tail
        while offset < head {
            let room = arena.shape.ringBytes - place(offset)
            guard room >= ValueArenaLayout.unit else { return false }
            let length = self.length(at: offset)
            guard length > 0, length <= room, length % ValueArenaLayout.unit == 0 else { return false }
            offset += UInt64(length)
        }
        return offset == head
    }

    private func isPresent(_ word: UInt64) -> Bool {
        let offset = ValueArena.offset(word)
        return word != 0 && offset >= tail && offset < head
    }

    private func place(_ offset: UInt64) -> Int { Int(offset % UInt64(arena.shape.ringBytes)) }

    private func length(at offset: UInt64) -> Int {
        Int(UInt32(littleEndian: arena.ring.load(fromByteOffset: place(offset), as: UInt32.self)))
    }

    // MARK: Reading

    /// The entry of a key, whether it is fresh or not.
    package func entry(for key: ByteBuffer) -> ArenaEntry? {
        let copy = arena.record(of: key, hash: TagHash.key(key)) { record, header in
            let bytes = UnsafeRawBufferPointer(
                start: record + header.tagsOffset, count: header.tagBytes + header.valueBytes)
            return (header: header, identity: RecordIdentity(record), bytes: ByteBuffer(bytes: bytes))
        }
        guard let copy else { return nil }
        let (header, identity) = (copy.header, copy.identity)
        var bytes = copy.bytes
        var tags: [ByteBuffer] = []
        for _ in 0..<header.tagCount {
            guard let length: UInt16 = bytes.readInteger(endianness: .little),
                let tag = bytes.readSlice(length: Int(length))
            else { return nil }
            tags.append(tag)
        }
        return ArenaEntry(
            incarnation: identity.incarnation, asOf: identity.asOf, deadline: identity.deadline, tags: tags,
            value: header.hasValue ? bytes.slice() : nil)
    }

    /// The offset of a key's record, which is never used again.
    package func offset(of key: ByteBuffer) -> UInt64? {
        arena.record(of: key, hash: TagHash.key(key)) { _, header in header.offset }
    }

    // MARK: Writing

    /// Stores an entry in the place of an earlier one.
    ///
    /// - Returns: false if it is too long. Then there is no entry of this key any more.
    @discardableResult
    package func insert(_ entry: ArenaEntry, for key: ByteBuffer, now: BootTime) -> Bool {
        let tagBytes = entry.tags.reduce(0) { $0 + 2 + $1.readableBytes }
        let keyOffset = ArenaRecordHeader.bytes + 4 * (entry.tags.count + 2)
        let bytes = keyOffset + key.readableBytes + tagBytes + (entry.value?.readableBytes ?? 0)
        let length = (bytes + ValueArenaLayout.unit - 1) / ValueArenaLayout.unit * ValueArenaLayout.unit
        guard length <= maximumRecordBytes, key.readableBytes <= UInt16.max, entry.tags.count <= UInt8.max,
            entry.tags.allSatisfy({ $0.readableBytes <= UInt16.max })
        else {
            remove(key)
            return false
        }
        let hash = TagHash.key(key)
        makeRoom(for: length, now: now)
        let offset = append(length) { record in
            Self.write(entry, key, hash, tagBytes: tagBytes, length: length, to: record)
        }
        setIndex(hash, to: offset, key)
        return true
    }

    /// Removes the entry of a key.
    package func remove(_ key: ByteBuffer) {
        let hash = TagHash.key(key)
        for place in arena.bucket(of: hash) where isRecord(arena.word(place), of: key, hash) {
            arena.setWord(0, place)
            count -= 1
        }
    }

    private static func write(
        _ entry: ArenaEntry, _ key: ByteBuffer, _ hash: UInt64, tagBytes: Int, length: Int,
        to record: UnsafeMutableRawPointer
    ) {
        func put(_ number: some FixedWidthInteger, _ offset: Int) {
            record.storeBytes(of: number.littleEndian, toByteOffset: offset, as: type(of: number))
        }
        put(UInt32(length), ArenaRecordHeader.totalOffset)
        put(UInt16(key.readableBytes), ArenaRecordHeader.keyBytesOffset)
        put(UInt8(entry.tags.count), ArenaRecordHeader.tagCountOffset)
        put(UInt8(entry.value == nil ? 0 : 1), ArenaRecordHeader.flagsOffset)
        put(entry.asOf.number, ArenaRecordHeader.asOfOffset)
        put(entry.incarnation.high, ArenaRecordHeader.incarnationHighOffset)
        put(entry.incarnation.low, ArenaRecordHeader.incarnationLowOffset)
        put(entry.deadline.number, ArenaRecordHeader.deadlineOffset)
        put(UInt32(entry.value?.readableBytes ?? 0), ArenaRecordHeader.valueBytesOffset)
        put(UInt32(tagBytes), ArenaRecordHeader.tagBytesOffset)
        put(hash, ArenaRecordHeader.keyHashOffset)
        var end = ArenaRecordHeader.bytes
        for hash in entry.tags.lazy.map(TagHash.tag) + [hash, TagHash.everything] {
            put(UInt32(truncatingIfNeeded: hash), end)
            end += 4
        }
        func put(_ bytes: ByteBuffer) {
            bytes.withUnsafeReadableBytes { bytes in
                guard let start = bytes.baseAddress else { return }
                (record + end).copyMemory(from: start, byteCount: bytes.count)
                end += bytes.count
            }
        }
        put(key)
        for tag in entry.tags {
            put(UInt8(truncatingIfNeeded: tag.readableBytes), end)
            put(UInt8(truncatingIfNeeded: tag.readableBytes >> 8), end + 1)
            end += 2
            put(tag)
        }
        if let value = entry.value { put(value) }
    }

    /// Writes a record of this length at the head, for which there is room.
    private func append(_ length: Int, _ write: (UnsafeMutableRawPointer) -> Void) -> UInt64 {
        let room = arena.shape.ringBytes - place(head)
        if length > room {
            let end = arena.ring + place(head)
            end.storeBytes(of: UInt32(room).littleEndian, as: UInt32.self)
            end.storeBytes(of: 0, toByteOffset: ArenaRecordHeader.keyBytesOffset, as: UInt32.self)
            head += UInt64(room)
        }
        let offset = head
        let record = arena.ring + place(offset)
        write(record)
        record.storeBytes(of: offset.littleEndian, toByteOffset: ArenaRecordHeader.selfOffset, as: UInt64.self)
        head += UInt64(length)
        arena.store(head, ValueArenaLayout.headOffset)
        return offset
    }

    /// Bytes that a record of this length takes at this offset, with what it leaves at the ring's end.
    private func span(_ length: Int, at offset: UInt64) -> Int {
        let room = arena.shape.ringBytes - place(offset)
        return length > room ? room + length : length
    }

    // MARK: Eviction

    /// Frees the oldest records until there is room for one of this length.
    private func makeRoom(for length: Int, now: BootTime) {
        let ringBytes = UInt64(arena.shape.ringBytes)
        var lengths: [Int] = []
        var newHead = head
        var newTail = tail
        let limit = min(Self.keptBytes + 2 * length, arena.shape.ringBytes / 2)
        kept.removeAll(keepingCapacity: true)
        while newHead + UInt64(span(length, at: newHead)) > newTail + ringBytes {
            let size = self.length(at: newTail)
            guard size > 0, size <= arena.shape.ringBytes - place(newTail), newTail + UInt64(size) <= head else {
                // The ring is damaged.
                return removeAll()
            }
            let added = span(size, at: newHead)
            if isWorthKeeping(newTail, now: now), kept.count + size <= limit,
                newHead + UInt64(added) <= newTail + UInt64(size) + ringBytes
            {
                kept += UnsafeRawBufferPointer(start: arena.ring + place(newTail), count: size)
                lengths.append(size)
                newHead += UInt64(added)
            } else {
                forget(newTail)
            }
            newTail += UInt64(size)
        }
        guard newTail > tail else { return }
        tail = newTail
        // Raised before anything is overwritten: whoever copies meanwhile sees it.
        arena.store(tail, ValueArenaLayout.tailOffset)
        atomicMemoryFence(ordering: .releasing)
        writeAgain(lengths)
    }

    /// Forgets all records: the index names none that is still there.
    package func removeAll() {
        count = 0
        tail = head
        arena.store(tail, ValueArenaLayout.tailOffset)
        atomicMemoryFence(ordering: .releasing)
    }

    private func writeAgain(_ lengths: [Int]) {
        var start = 0
        for length in lengths {
            kept.withUnsafeBytes { kept in
                let bytes = UnsafeRawBufferPointer(rebasing: kept[start..<start + length])
                guard let base = bytes.baseAddress else { return }
                let header = ArenaRecordHeader(base)
                let old = UInt64(header.offset)
                let offset = append(length) { $0.copyMemory(from: base, byteCount: length) }
                for place in arena.bucket(of: header.keyHash)
                where arena.word(place) == ValueArena.word(header.keyHash, at: old) {
                    arena.setWord(ValueArena.word(header.keyHash, at: offset), place)
                }
            }
            start += length
        }
    }

    /// Whether a record was used since it was written, and may be used again.
    private func isWorthKeeping(_ offset: UInt64, now: BootTime) -> Bool {
        guard let (place, record) = indexed(offset), RecordIdentity(record).deadline > now else { return false }
        return arena.takeMark(place)
    }

    /// Removes a record from the index.
    private func forget(_ offset: UInt64) {
        guard let (place, _) = indexed(offset) else { return }
        arena.setWord(0, place)
        count -= 1
        evictions += 1
    }

    /// The place in the index of the record at an offset.
    private func indexed(_ offset: UInt64) -> (place: Int, record: UnsafeRawPointer)? {
        let record = UnsafeRawPointer(arena.ring + place(offset))
        guard arena.shape.ringBytes - place(offset) >= ArenaRecordHeader.bytes else { return nil }
        let header = ArenaRecordHeader(record)
        guard header.keyBytes > 0 else { return nil }
        let word = ValueArena.word(header.keyHash, at: offset)
        return arena.bucket(of: header.keyHash).first { arena.word($0) == word }.map { ($0, record) }
    }

    // MARK: Index

    /// Names the record at an offset: in the place of the key's earlier one, or a free one, or that of the oldest.
    private func setIndex(_ hash: UInt64, to offset: UInt64, _ key: ByteBuffer) {
        let bucket = arena.bucket(of: hash)
        let word = ValueArena.word(hash, at: offset)
        if let same = bucket.first(where: { isRecord(arena.word($0), of: key, hash) }) {
            return arena.setWord(word, same)
        }
        if let free = bucket.first(where: { !isPresent(arena.word($0)) }) {
            count += 1
            return arena.setWord(word, free)
        }
        evictions += 1
        let oldest = bucket.min { ValueArena.offset(arena.word($0)) < ValueArena.offset(arena.word($1)) }
        arena.setWord(word, oldest ?? bucket.lowerBound)
    }

    private func isRecord(_ word: UInt64, of key: ByteBuffer, _ hash: UInt64) -> Bool {
        guard isPresent(word), ValueArena.fingerprint(word) == ValueArena.fingerprint(hash) else { return false }
        let offset = ValueArena.offset(word)
        let room = arena.shape.ringBytes - place(offset)
        guard room >= ArenaRecordHeader.bytes else { return false }
        let record = UnsafeRawPointer(arena.ring + place(offset))
        let header = ArenaRecordHeader(record)
        guard header.offset == offset, header.keyBytes == key.readableBytes, header.isConsistent(within: room) else {
            return false
        }
        return key.withUnsafeReadableBytes {
            UnsafeRawBufferPointer(start: record + header.keyOffset, count: $0.count).elementsEqual($0)
        }
    }
}
