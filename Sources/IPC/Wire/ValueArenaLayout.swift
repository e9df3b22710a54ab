/// The layout of the value arena's memory (docs/protocol.md, "The value arena byte by byte"). All numbers are little
/// endian. Those of the header and of the index have 64 bits and are naturally aligned.
package enum ValueArenaLayout {
    /// The bytes `SYNCDVAL`, read as a little-endian number.
    package static let magic: UInt64 = 0x4C41_5644_434E_5953
    /// The version of the layout, raised with every incompatible change.
    package static let version: UInt64 = 1
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
    static let tailOffset = 64
    static let headOffset = 72

    /// Words of the index in a bucket: one cache line.
    static let bucketWords = 8
    /// Records begin at multiples of this number of bytes.
    static let unit = 32
    /// Bits of a word of the index that hold the record's offset, in units. The bits above are the fingerprint.
    static let offsetBits = 48
    static let offsetMask: UInt64 = 1 << offsetBits - 1
    /// Greatest offset that an arena may have reached when a syncd takes it over. The room above suffices for centuries.
    static let greatestOffset: UInt64 = 1 << 52

    /// The sizes of an arena.
    package struct Shape: Sendable, Hashable {
        /// A power of two.
        package var indexWords: Int
        /// A multiple of the page size.
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

        var ringOffset: Int { ValueArenaLayout.headerBytes + 8 * indexWords }

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
