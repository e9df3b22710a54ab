import NIOCore

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

    /// Bytes of the record of an entry without key, tags and value.
    package static let fixedBytes = ArenaRecordHeader.bytes + 8

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
/// A record begins in the ring *probation*. When its place is needed there, it moves to the ring *main* if it was used
/// meanwhile or there is free room, and goes otherwise. A key that was asked for before begins in main. There, too, the oldest records make room,
/// and those that were used since they were written are written again. So many values that are read once drive out few
/// that are read often (S3-FIFO, https://dl.acm.org/doi/10.1145/3600006.3613147).
///
/// A writer that is killed at any instant leaves an arena that is right: a record gets into the index when it is
/// complete, and the tail of its ring is raised before anything is overwritten.
package final class ValueArenaWriter {
    /// The arena, for reading.
    package let arena: ValueArena
    /// Number of records in the index.
    package private(set) var count = 0
    /// Number of records that had to go while they were in the index.
    package private(set) var evictions: UInt64 = 0
    private var probation: ArenaRing
    private var main: ArenaRing
    /// Records of main that are written again.
    private var kept: [UInt8] = []
    /// Hashes of keys whose records went from probation, each in the place of an earlier one.
    private var gone: [UInt32]

    /// Bytes of used records that one insertion moves or writes again, beside twice its own length.
    private static let keptBytes = 16 << 10

    /// Takes over an arena, with the records that an earlier writer left in it.
    ///
    /// - Returns: `nil` if its offsets are not those of any writer.
    package init?(_ arena: ValueArena) {
        guard let probation = ArenaRing(arena.probation, of: arena), let main = ArenaRing(arena.main, of: arena) else {
            return nil
        }
        (self.arena, self.probation, self.main) = (arena, probation, main)
        gone = [UInt32](repeating: 0, count: arena.shape.indexWords / 4)
        // A new arena has nothing to look at.
        if byteCount > 0 { count = (0..<arena.shape.indexWords).count { isPresent(arena.word($0)) } }
    }

    /// Bytes of the records in the rings.
    package var byteCount: Int { probation.byteCount + main.byteCount }
    /// Bytes of the longest record: larger ones would drive out too many others.
    package var maximumRecordBytes: Int { arena.shape.ringBytes / 4 }

    private func isPresent(_ word: UInt64) -> Bool {
        let offset = ValueArena.offset(word)
        return word != 0 && (probation.contains(offset) || main.contains(offset))
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
        let bytes =
            ArenaEntry.fixedBytes + 4 * entry.tags.count + key.readableBytes + tagBytes
            + (entry.value?.readableBytes ?? 0)
        let length = (bytes + ValueArenaLayout.unit - 1) / ValueArenaLayout.unit * ValueArenaLayout.unit
        guard length <= maximumRecordBytes, key.readableBytes <= UInt16.max, entry.tags.count <= UInt8.max,
            entry.tags.allSatisfy({ $0.readableBytes <= UInt16.max })
        else {
            remove(key)
            return false
        }
        let hash = TagHash.key(key)
        var budget = min(Self.keptBytes + 2 * length, main.ring.bytes / 2)
        func write(_ record: UnsafeMutableRawPointer) {
            Self.write(entry, key, hash, tagBytes: tagBytes, length: length, to: record)
        }
        let offset: UInt64
        if wasAskedFor(key, hash) || length > probation.ring.bytes / 2 {
            makeRoomInMain(for: length, &budget, now: now)
            offset = main.append(length, write)
        } else {
            makeRoomInProbation(for: length, &budget, now: now)
            offset = probation.append(length, write)
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

    // MARK: Eviction

    /// Frees the oldest records of probation until there is room for one of this length.
    ///
    /// - Parameter budget: bytes of records that may still be moved or written again.
    private func makeRoomInProbation(for length: Int, _ budget: inout Int, now: BootTime) {
        var tail = probation.tail
        while !probation.hasRoom(for: length, head: probation.head, tail: tail) {
            guard let size = probation.length(at: tail) else { return removeAll() }
            let hasRoom = main.hasRoom(for: size, head: main.head, tail: main.tail)
            if size <= budget, let place = kept(tail, in: probation, unused: hasRoom, now: now) {
                budget -= size
                makeRoomInMain(for: size, &budget, now: now)
                // Unless main was damaged, the record is intact, since the tail is not raised yet.
                guard tail >= probation.tail else { return }
                move(probation.record(at: tail), size, place)
            } else {
                forget(tail, in: probation) { gone[gonePlace($0)] = UInt32(truncatingIfNeeded: $0) }
            }
            tail += UInt64(size)
        }
        if tail > probation.tail { probation.raiseTail(to: tail) }
    }

    /// Frees the oldest records of main that were not used until there is room for one of this length.
    private func makeRoomInMain(for length: Int, _ budget: inout Int, now: BootTime) {
        var (head, tail) = (main.head, main.tail)
        var lengths: [(length: Int, place: Int)] = []
        kept.removeAll(keepingCapacity: true)
        while !main.hasRoom(for: length, head: head, tail: tail) {
            guard let size = main.length(at: tail) else { return removeAll() }
            let newHead = head + UInt64(main.span(size, at: head))
            if size <= budget, newHead <= tail + UInt64(size + main.ring.bytes),
                let place = kept(tail, in: main, unused: false, now: now)
            {
                budget -= size
                kept += UnsafeRawBufferPointer(start: main.record(at: tail), count: size)
                lengths.append((size, place))
                head = newHead
            } else {
                forget(tail, in: main)
            }
            tail += UInt64(size)
        }
        guard tail > main.tail else { return }
        main.raiseTail(to: tail)
        var start = 0
        kept.withUnsafeBytes { kept in
            for (length, place) in lengths {
                if let base = kept.baseAddress { move(base + start, length, place) }
                start += length
            }
        }
    }

    /// Writes a record into main, and names it at its place in the index.
    private func move(_ record: UnsafeRawPointer, _ length: Int, _ place: Int) {
        let hash = ArenaRecordHeader(record).keyHash
        let offset = main.append(length) { $0.copyMemory(from: record, byteCount: length) }
        arena.setWord(ValueArena.word(hash, at: offset), place)
    }

    /// Forgets all records: the index names none that is still there.
    package func removeAll() {
        count = 0
        probation.raiseTail(to: probation.head)
        main.raiseTail(to: main.head)
    }

    /// The place in the index of a record that stays: it was used since it was written, and may be used again.
    ///
    /// - Parameter unused: whether an unused one stays, too.
    private func kept(_ offset: UInt64, in ring: ArenaRing, unused: Bool, now: BootTime) -> Int? {
        guard let (place, record) = indexed(offset, in: ring), RecordIdentity(record).deadline > now,
            arena.takeMark(place) || unused
        else { return nil }
        return place
    }

    /// Removes a record from the index, if it is there, and passes its hash on.
    private func forget(_ offset: UInt64, in ring: ArenaRing, _ remember: (UInt64) -> Void = { _ in }) {
        guard let (place, record) = indexed(offset, in: ring) else { return }
        arena.setWord(0, place)
        count -= 1
        evictions += 1
        remember(ArenaRecordHeader(record).keyHash)
    }

    /// The place in the index of the record at an offset.
    private func indexed(_ offset: UInt64, in ring: ArenaRing) -> (place: Int, record: UnsafeRawPointer)? {
        guard ring.room(at: offset) >= ArenaRecordHeader.bytes else { return nil }
        let record = UnsafeRawPointer(ring.record(at: offset))
        let header = ArenaRecordHeader(record)
        guard header.keyBytes > 0 else { return nil }
        let word = ValueArena.word(header.keyHash, at: offset)
        return arena.bucket(of: header.keyHash).first { arena.word($0) == word }.map { ($0, record) }
    }

    /// Whether a key has a record, or had one not long ago.
    private func wasAskedFor(_ key: ByteBuffer, _ hash: UInt64) -> Bool {
        gone[gonePlace(hash)] == UInt32(truncatingIfNeeded: hash)
            || arena.bucket(of: hash).contains { isRecord(arena.word($0), of: key, hash) }
    }

    /// There are about half as many places as records: what went long ago does not count.
    private func gonePlace(_ hash: UInt64) -> Int {
        let places = 1 << (Int.bitWidth - 2 - max(count, 64).leadingZeroBitCount)
        return Int((hash >> 32) % UInt64(min(places, gone.count)))
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
        let ring = offset & ValueArenaLayout.mainBit == 0 ? probation : main
        guard ring.room(at: offset) >= ArenaRecordHeader.bytes else { return false }
        let record = UnsafeRawPointer(ring.record(at: offset))
        let header = ArenaRecordHeader(record)
        guard header.offset == offset, header.keyBytes == key.readableBytes,
            header.isConsistent(within: ring.room(at: offset))
        else { return false }
        return key.withUnsafeReadableBytes {
            UnsafeRawBufferPointer(start: record + header.keyOffset, count: $0.count).elementsEqual($0)
        }
    }
}
