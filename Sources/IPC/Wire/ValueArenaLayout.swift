/// The layout of the value arena's memory (docs/protocol.md, "The value arena byte by byte"). All numbers are little
/// endian. Those of the header and of the index have 64 bits and are naturally aligned.
package enum ValueArenaLayout {
    /// The bytes `SYNCDVAL`, read as a little-endian number.
    package static let magic: UInt64 = 0x4C41_5644_434E_5953
    /// The version of the layout, raised with every incompatible change.
    package static let version: UInt64 = 2
    /// Offset of the index: one page after the header.
    package static let headerBytes = 4096
    /// Range of the size of an arena: header, index and ring.
    package static let byteCountRange = (1 << 20)...(1 << 40)

    static let magicOffset = 0
    static let versionOffset = 8
    static let ringBytesOffset = 16
    static let indexWordsOffset = 24
    static let bootHighOffset = 32
    static let bootLowOffset = 40
    static let mainTailOffset = 64
    static let mainHeadOffset = 72
    static let probationTailOffset = 80
    static let probationHeadOffset = 88

    /// Words of the index in a bucket: one cache line.
    static let bucketWords = 8
    /// Records begin at multiples of this number of bytes.
    static let unit = 32
    /// Bits of a word of the index that hold the record's offset, in units. The bits above are the fingerprint.
    static let offsetBits = 48
    static let offsetMask: UInt64 = 1 << offsetBits - 1
    /// The bit of an offset that says which ring it is of.
    static let mainBit: UInt64 = 1 << 52
    /// Greatest offset that a ring may have reached when a syncd takes it over, without the ring's bit. The room above
    /// suffices for centuries.
    static let greatestOffset: UInt64 = 1 << 51
    /// Probation has this part of the rings' bytes.
    static let probationDivisor = 4

    /// One of the two rings. Its virtual offsets only grow; a record is at its offset modulo the ring's size.
    struct Ring: Sendable {
        /// The place of the ring in the arena's memory.
        var start: Int
        /// A multiple of the unit.
        var bytes: Int
        /// The bit that all its offsets have; 0: none.
        var bit: UInt64
        /// The places of its tail and its head in the header.
        var tailOffset: Int
        var headOffset: Int

        /// The place of a virtual offset in the ring.
        @inline(__always)
        func place(_ offset: UInt64) -> Int { Int((offset & ~bit) % UInt64(bytes)) }

        /// The first offset. It is above 0, so that no word of the index is 0.
        var first: UInt64 { bit | UInt64(bytes) }
    }

    /// The sizes of an arena.
    package struct Shape: Sendable, Hashable {
        /// A power of two.
        package var indexWords: Int
        /// Bytes of both rings, a multiple of the page size.
        package var ringBytes: Int

        /// The greatest arena of at most `byteCount` bytes. There is one word of the index for each 100 to 200 bytes, half
        /// of the length of a short record.
        package init(byteCount: Int) {
            let byteCount = max(byteCount, ValueArenaLayout.byteCountRange.lowerBound)
            indexWords = 1 << (Int.bitWidth - 1 - (byteCount / 100).leadingZeroBitCount)
            ringBytes = (byteCount - ValueArenaLayout.headerBytes - 8 * indexWords) / 4096 * 4096
        }

        package init(indexWords: Int, ringBytes: Int) {
            self.indexWords = indexWords
            self.ringBytes = ringBytes
        }

        /// Size of the whole memory.
        package var byteCount: Int { ValueArenaLayout.headerBytes + 8 * indexWords + ringBytes }

        /// The ring in which records begin.
        var probation: Ring {
            let unit = ValueArenaLayout.unit
            return Ring(
                start: ValueArenaLayout.headerBytes + 8 * indexWords,
                bytes: ringBytes / ValueArenaLayout.probationDivisor / unit * unit, bit: 0,
                tailOffset: ValueArenaLayout.probationTailOffset, headOffset: ValueArenaLayout.probationHeadOffset)
        }

        /// The ring of records whose key was asked for again.
        var main: Ring {
            let probation = probation
            return Ring(
                start: probation.start + probation.bytes, bytes: ringBytes - probation.bytes,
                bit: ValueArenaLayout.mainBit, tailOffset: ValueArenaLayout.mainTailOffset,
                headOffset: ValueArenaLayout.mainHeadOffset)
        }

        var isValid: Bool {
            indexWords >= 512 && indexWords & (indexWords - 1) == 0 && indexWords <= 1 << 34 && ringBytes >= 4096
                && ringBytes % 4096 == 0 && ringBytes <= 1 << 40
        }
    }

    /// The reason why memory is not a usable arena.
    package enum Fault: Error, Sendable, Equatable, CustomStringConvertible {
        case notAnArena
        case otherLayout(version: UInt64)
        case otherSize(bytes: Int)
        /// The machine was started again since.
        case otherBoot
        case damaged

        /// The fault.
        package var description: String {
            switch self {
            case .notAnArena: "the file is not a value arena of syncd"
            case .otherLayout(let version):
                "the value arena has layout \(version), this program knows \(ValueArenaLayout.version)"
            case .otherSize(let bytes): "the value arena has \(bytes) bytes, which is another size than it should have"
            case .otherBoot: "the value arena is from before the machine was started"
            case .damaged: "the value arena is damaged"
            }
        }
    }
}

/// The fixed part of a record, copied out of the ring. Its numbers may be anything if the ring has overtaken it.
struct ArenaRecordHeader {
    static let bytes = 64

    static let totalOffset = 0
    static let keyBytesOffset = 4
    static let tagCountOffset = 6
    static let flagsOffset = 7
    static let selfOffset = 8
    static let asOfOffset = 16
    static let incarnationHighOffset = 24
    static let incarnationLowOffset = 32
    static let deadlineOffset = 40
    static let valueBytesOffset = 48
    static let tagBytesOffset = 52
    static let keyHashOffset = 56

    /// Bytes of the record with what fills it up to a multiple of the unit.
    var total: Int
    /// 0: the record only fills the end of the ring.
    var keyBytes: Int
    var tagCount: Int
    var hasValue: Bool
    /// The record's own offset.
    var offset: UInt64
    var valueBytes: Int
    /// Bytes of the tags, each with its length before it.
    var tagBytes: Int
    var keyHash: UInt64

    @inline(__always)
    init(_ record: UnsafeRawPointer) {
        func number<Number: FixedWidthInteger>(_ offset: Int, as type: Number.Type) -> Number {
            Number(littleEndian: record.load(fromByteOffset: offset, as: type))
        }
        total = Int(number(Self.totalOffset, as: UInt32.self))
        keyBytes = Int(number(Self.keyBytesOffset, as: UInt16.self))
        tagCount = Int(number(Self.tagCountOffset, as: UInt8.self))
        hasValue = number(Self.flagsOffset, as: UInt8.self) & 1 == 1
        offset = number(Self.selfOffset, as: UInt64.self)
        valueBytes = Int(number(Self.valueBytesOffset, as: UInt32.self))
        tagBytes = Int(number(Self.tagBytesOffset, as: UInt32.self))
        keyHash = number(Self.keyHashOffset, as: UInt64.self)
    }

    /// Number of tag hashes: those of the declared tags, of `=` and the key, and of `*`.
    var hashCount: Int { tagCount + 2 }
    var keyOffset: Int { Self.bytes + 4 * hashCount }
    var tagsOffset: Int { keyOffset + keyBytes }
    var valueOffset: Int { tagsOffset + tagBytes }

    /// Whether all parts lie inside of the record, and the record inside of `room` bytes.
    @inline(__always)
    func isConsistent(within room: Int) -> Bool {
        total <= room && total >= Self.bytes && total % ValueArenaLayout.unit == 0
            && valueOffset + valueBytes <= total
    }
}
