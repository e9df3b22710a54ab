import NIOCore
import Synchronization

/// The cache of a host in shared memory: two rings of records and an index. One process writes it, any number read it.
///
/// Each ring has virtual offsets that only grow; a record is at its offset modulo the ring's size. `tail` is the offset
/// from which on records are intact. The writer raises it **before** it overwrites them. So a reader copies a record and
/// looks at `tail` **afterwards**: if the record's offset is not below it, the copy is intact. Nothing that a reader sees
/// before that is believed, apart from being kept within bounds.
///
/// A record says which value it is, never whether it is fresh: the rule decides on the copy (``FreshnessRule``).
package final class ValueArena: Sendable {
    package let shape: ValueArenaLayout.Shape
    // Unchecked: header and index are accessed by atomics, a copy of a record counts only if `tail` shows that nobody wrote
    // it meanwhile, and the memory lives until `deinit`.
    nonisolated(unsafe) let memory: UnsafeMutableRawPointer
    let probation: ValueArenaLayout.Ring
    let main: ValueArenaLayout.Ring
    // One byte for each word of the index: readers set it, and only eviction looks at it.
    // Unchecked: any value of a byte is a hint.
    private nonisolated(unsafe) let marks: UnsafeMutableRawPointer?
    private let bucketMask: UInt64
    private let release: @Sendable (UnsafeMutableRawPointer) -> Void

    /// Takes over memory of `shape.byteCount` bytes whose header is complete, and `shape.indexWords` bytes of marks, if there
    /// are any. `release` is called with the memory when the arena has no users any more.
    package init(
        memory: UnsafeMutableRawPointer, marks: UnsafeMutableRawPointer?, shape: ValueArenaLayout.Shape,
        release: @escaping @Sendable (UnsafeMutableRawPointer) -> Void
    ) {
        precondition(shape.isValid, "an arena has a power of two of index words, and whole pages")
        (self.memory, self.marks, self.shape, self.release) = (memory, marks, shape, release)
        (probation, main) = (shape.probation, shape.main)
        bucketMask = UInt64(shape.indexWords / ValueArenaLayout.bucketWords - 1)
    }

    deinit { release(memory) }

    /// An arena in this process's own memory: for embedding, tests and simulation.
    package static func inMemory(
        shape: ValueArenaLayout.Shape = ValueArenaLayout.Shape(byteCount: 1 << 20)
    ) -> ValueArena {
        let bytes = shape.byteCount + shape.indexWords
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        initializeHeader(memory, shape: shape, boot: (0, 0))
        return ValueArena(
            memory: memory, marks: memory + shape.byteCount, shape: shape, release: { $0.deallocate() })
    }

    /// Writes the header of an empty arena into zeroed memory.
    ///
    /// - Parameter boot: the two halves of the machine's boot id. Deadlines and positions of another boot mean nothing.
    package static func initializeHeader(
        _ memory: UnsafeMutableRawPointer, shape: ValueArenaLayout.Shape, boot: (UInt64, UInt64)
    ) {
        for (offset, number) in [
            (ValueArenaLayout.magicOffset, ValueArenaLayout.magic),
            (ValueArenaLayout.versionOffset, ValueArenaLayout.version),
            (ValueArenaLayout.ringBytesOffset, UInt64(shape.ringBytes)),
            (ValueArenaLayout.indexWordsOffset, UInt64(shape.indexWords)),
            (ValueArenaLayout.bootHighOffset, boot.0), (ValueArenaLayout.bootLowOffset, boot.1),
            (shape.probation.tailOffset, shape.probation.first), (shape.probation.headOffset, shape.probation.first),
            (shape.main.tailOffset, shape.main.first), (shape.main.headOffset, shape.main.first),
        ] {
            memory.storeBytes(of: number.littleEndian, toByteOffset: offset, as: UInt64.self)
        }
    }

    /// Checks the header of a mapped file of `fileBytes` bytes.
    ///
    /// - Parameter boot: that of the machine; `nil`: any.
    package static func validateHeader(
        _ memory: UnsafeRawPointer, fileBytes: Int, boot: (UInt64, UInt64)?
    ) throws(ValueArenaLayout.Fault) -> ValueArenaLayout.Shape {
        guard fileBytes >= ValueArenaLayout.headerBytes else { throw .otherSize(bytes: fileBytes) }
        func number(_ offset: Int) -> UInt64 {
            memory.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian
        }
        guard number(ValueArenaLayout.magicOffset) == ValueArenaLayout.magic else { throw .notAnArena }
        let version = number(ValueArenaLayout.versionOffset)
        guard version == ValueArenaLayout.version else { throw .otherLayout(version: version) }
        guard let words = Int(exactly: number(ValueArenaLayout.indexWordsOffset)),
            let ringBytes = Int(exactly: number(ValueArenaLayout.ringBytesOffset))
        else { throw .damaged }
        let shape = ValueArenaLayout.Shape(indexWords: words, ringBytes: ringBytes)
        guard shape.isValid else { throw .damaged }
        guard fileBytes == shape.byteCount else { throw .otherSize(bytes: fileBytes) }
        let written = (number(ValueArenaLayout.bootHighOffset), number(ValueArenaLayout.bootLowOffset))
        if let boot, written != boot { throw .otherBoot }
        return shape
    }

    // MARK: Reading

    /// Copies from the record of a key.
    ///
    /// - Parameters:
    ///   - hash: ``TagHash/key(_:)`` of the key.
    ///   - copy: copies from the record and its header, which are within bounds. It may see any bytes: its result counts only
    ///     if the record was intact afterwards.
    /// - Returns: `nil` if there is no such record, or the ring has overtaken it.
    @inline(__always)
    func record<Copy>(
        of key: ByteBuffer, hash: UInt64, copy: (UnsafeRawPointer, ArenaRecordHeader) -> Copy
    ) -> Copy? {
        key.withUnsafeReadableBytes { key in
            let bucket = Int(hash >> 16 & bucketMask) * ValueArenaLayout.bucketWords
            var place = bucket
            while place < bucket + ValueArenaLayout.bucketWords {
                let word = self.word(place)
                if word >> UInt64(ValueArenaLayout.offsetBits) == Self.fingerprint(hash), word != 0,
                    let found = self.copy(at: Self.offset(word), key, copy)
                {
                    mark(place)
                    return found
                }
                place += 1
            }
            return nil
        }
    }

    @inline(__always)
    private func copy<Copy>(
        at offset: UInt64, _ key: UnsafeRawBufferPointer, _ copy: (UnsafeRawPointer, ArenaRecordHeader) -> Copy
    ) -> Copy? {
        let ring = ring(of: offset)
        guard offset >= load(ring.tailOffset) else { return nil }
        let room = ring.bytes - ring.place(offset)
        guard room >= ArenaRecordHeader.bytes else { return nil }
        let record = UnsafeRawPointer(self.record(at: offset, in: ring))
        let header = ArenaRecordHeader(record)
        guard header.offset == offset, header.keyBytes == key.count, header.isConsistent(within: room),
            Self.isEqual(record + header.keyOffset, key)
        else { return nil }
        let result = copy(record, header)
        // The copy was made before this, and the writer raises the tail before it overwrites.
        atomicMemoryFence(ordering: .acquiring)
        return offset >= load(ring.tailOffset) || breaks(.recordNotValidated) ? result : nil
    }

    /// Whether the memory has these bytes. In words, as keys are compared at each hit.
    @inline(__always)
    private static func isEqual(_ memory: UnsafeRawPointer, _ bytes: UnsafeRawBufferPointer) -> Bool {
        var place = 0
        while place + 8 <= bytes.count {
            if memory.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                != bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            {
                return false
            }
            place += 8
        }
        while place < bytes.count {
            if memory.load(fromByteOffset: place, as: UInt8.self) != bytes[place] { return false }
            place += 1
        }
        return true
    }

    @inline(__always)
    func ring(of offset: UInt64) -> ValueArenaLayout.Ring {
        offset & ValueArenaLayout.mainBit == 0 ? probation : main
    }

    @inline(__always)
    func record(at offset: UInt64, in ring: ValueArenaLayout.Ring) -> UnsafeMutableRawPointer {
        memory + (ring.start + ring.place(offset))
    }

    @inline(__always)
    static func fingerprint(_ hash: UInt64) -> UInt64 { hash >> UInt64(ValueArenaLayout.offsetBits) }

    @inline(__always)
    static func offset(_ word: UInt64) -> UInt64 {
        (word & ValueArenaLayout.offsetMask) * UInt64(ValueArenaLayout.unit)
    }

    static func word(_ hash: UInt64, at offset: UInt64) -> UInt64 {
        fingerprint(hash) << UInt64(ValueArenaLayout.offsetBits) | offset / UInt64(ValueArenaLayout.unit)
    }

    /// The places of a hash in the index.
    func bucket(of hash: UInt64) -> Range<Int> {
        let first = Int(hash >> 16 & bucketMask) * ValueArenaLayout.bucketWords
        return first..<first + ValueArenaLayout.bucketWords
    }

    /// Says that the record at this place of the index is used.
    @inline(__always)
    private func mark(_ place: Int) {
        // Other processes write here, too: no more than a hint.
        guard let marks, marks.load(fromByteOffset: place, as: UInt8.self) == 0 else { return }
        marks.storeBytes(of: 1, toByteOffset: place, as: UInt8.self)
    }

    /// Whether the record at this place was used since this was asked last.
    func takeMark(_ place: Int) -> Bool {
        guard let marks, marks.load(fromByteOffset: place, as: UInt8.self) != 0 else { return false }
        marks.storeBytes(of: 0, toByteOffset: place, as: UInt8.self)
        return true
    }

    // MARK: Atomics

    @inline(__always)
    func word(_ place: Int) -> UInt64 { load(ValueArenaLayout.headerBytes + 8 * place) }

    func setWord(_ word: UInt64, _ place: Int) { store(word, ValueArenaLayout.headerBytes + 8 * place) }

    @inline(__always)
    func load(_ offset: Int) -> UInt64 { UInt64(littleEndian: atomic(offset).pointee.load(ordering: .acquiring)) }

    @inline(__always)
    func store(_ value: UInt64, _ offset: Int) {
        atomic(offset).pointee.store(value.littleEndian, ordering: .releasing)
    }

    @inline(__always)
    private func atomic(_ offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        memory.advanced(by: offset).assumingMemoryBound(to: Atomic<UInt64>.self)
    }
}
