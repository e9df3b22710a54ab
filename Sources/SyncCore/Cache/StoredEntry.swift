import IPCWire
import NIOCore

/// A value as it is stored in L2, with the data that decide its freshness.
struct StoredEntry: Sendable, Hashable {
    var incarnation: Incarnation
    var asOf: LogPosition
    /// The declared tags.
    var tags: [ByteBuffer]
    /// `nil`: a negative result.
    var value: ByteBuffer?
}

// The encoding in Redis (docs/protocol.md, "In Redis"), all numbers big endian: "S1" · incarnation (16 bytes) · asOf
// (8) · 1 if there is a value, else 0 (1) · number of tags (1) · per tag its length (2) and bytes · the value.
extension StoredEntry {
    private static let magic: UInt16 = 0x5331

    /// The encoded bytes for Redis.
    func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(32 + tags.reduce(value?.readableBytes ?? 0) { $0 + $1.readableBytes + 2 })
        buffer.writeInteger(Self.magic)
        buffer.writeInteger(incarnation.high)
        buffer.writeInteger(incarnation.low)
        buffer.writeInteger(asOf.number)
        buffer.writeInteger(UInt8(value == nil ? 0 : 1))
        buffer.writeInteger(UInt8(tags.count))
        for tag in tags {
            buffer.writeInteger(UInt16(tag.readableBytes))
            buffer.writeImmutableBuffer(tag)
        }
        if let value { buffer.writeImmutableBuffer(value) }
        return buffer
    }

    /// `nil` for anything that is not exactly the output of `encoded()`: a foreign value is no value.
    init?(encoded buffer: ByteBuffer, limits: WireLimits) {
        var input = buffer
        guard input.readInteger() == Self.magic,
            let high: UInt64 = input.readInteger(), let low: UInt64 = input.readInteger(),
            let asOf: UInt64 = input.readInteger(), asOf <= WireLimits.maximumNumber,
            let hasValue: UInt8 = input.readInteger(), hasValue <= 1,
            let tagCount: UInt8 = input.readInteger(), Int(tagCount) <= limits.tagsPerEntry
        else { return nil }
        var tags: [ByteBuffer] = []
        tags.reserveCapacity(Int(tagCount))
        for _ in 0..<tagCount {
            guard let length: UInt16 = input.readInteger(), Int(length) <= limits.tagBytes,
                let tag = input.readSlice(length: Int(length))
            else { return nil }
            tags.append(tag)
        }
        guard hasValue == 1 || input.readableBytes == 0, input.readableBytes <= limits.valueBytes else { return nil }
        self.init(
            incarnation: Incarnation(high: high, low: low), asOf: LogPosition(asOf), tags: tags,
            value: hasValue == 1 ? input.slice() : nil)
    }
}
