import NIOCore

/// The hash that places a tag in the tag table: FNV-1a 64 over its bytes, then the 64-bit finalizer of
/// MurmurHash3. The low bits are the slot. Part of the wire contract (docs/protocol.md): programs in other
/// languages compute the same.
package struct TagHash: Sendable {
    @usableFromInline var state: UInt64 = 0xcbf2_9ce4_8422_2325

    /// The hash of no bytes.
    package init() {}

    /// Adds one byte.
    @inline(__always)
    package mutating func combine(_ byte: UInt8) {
        state = (state ^ UInt64(byte)) &* 0x100_0000_01b3
    }

    /// Adds the readable bytes of `buffer`.
    package mutating func combine(_ buffer: ByteBuffer) {
        buffer.withUnsafeReadableBytes { bytes in
            for byte in bytes { combine(byte) }
        }
    }

    /// The finished hash.
    package func finalize() -> UInt64 {
        var h = state
        h ^= h >> 33
        h = h &* 0xff51_afd7_ed55_8ccd
        h ^= h >> 33
        h = h &* 0xc4ce_b9fe_1a85_ec53
        h ^= h >> 33
        return h
    }

    /// The hash of a declared tag.
    package static func tag(_ tag: ByteBuffer) -> UInt64 {
        var hash = TagHash()
        hash.combine(tag)
        return hash.finalize()
    }

    /// The hash of the tag that every entry has for its own key: `=` and the key.
    package static func key(_ key: ByteBuffer) -> UInt64 {
        var hash = TagHash()
        hash.combine(UInt8(ascii: "="))
        hash.combine(key)
        return hash.finalize()
    }

    /// The hash of `*`, the tag that every entry has: everything.
    package static let everything: UInt64 = {
        var hash = TagHash()
        hash.combine(UInt8(ascii: "*"))
        return hash.finalize()
    }()
}
