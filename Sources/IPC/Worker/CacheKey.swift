import IPCWire
import NIOCore

/// The key of a cached value: 1 to 1024 bytes, usually text.
///
/// A string literal, also one with interpolations, can stand where a key is expected: `"price:\(id)"`. Keys are
/// compared byte by byte. Two texts with the same characters but different UTF-8 are therefore two keys.
///
/// A key is hashed once, when it is made: a key that many requests have in common is best made once.
public struct CacheKey: Sendable, Hashable {
    /// The bytes, as syncd knows them.
    public let bytes: ByteBuffer
    /// The hash of the bytes in this process.
    let hash: Int

    /// The key of these bytes.
    public init(_ bytes: ByteBuffer) {
        self.bytes = bytes
        hash = bytes.withUnsafeReadableBytes { KeyHash.ofProcess($0) }
    }

    /// The key of a text in UTF-8.
    public init(_ text: String) { self.init(ByteBuffer(string: text)) }

    /// The same key, whose bytes are ``NIOCore/ByteBuffer/compacted``.
    init(compacting key: CacheKey) {
        bytes = key.bytes.compacted
        hash = key.hash
    }

    /// Whether two keys have the same bytes.
    public static func == (left: CacheKey, right: CacheKey) -> Bool {
        left.hash == right.hash && left.bytes == right.bytes
    }

    /// Adds the hash that the key has already.
    public func hash(into hasher: inout Hasher) { hasher.combine(hash) }
}

extension CacheKey: ExpressibleByStringInterpolation, CustomStringConvertible {
    /// The key of a string literal in UTF-8.
    public init(stringLiteral text: String) { self.init(text) }

    /// The text of the key. In a key that is not UTF-8, all bytes but printable ASCII are escaped: `\xNN`.
    public var description: String { bytes.validText ?? bytes.escaped }
}

extension ByteBuffer {
    /// The same bytes in separate memory, unless they nearly fill their present one: what is kept must not keep the whole
    /// chunk alive that was read from the socket.
    var compacted: ByteBuffer {
        guard storageCapacity > 2 * readableBytes + 64 else { return self }
        return ByteBuffer(bytes: readableBytesView)
    }

    /// The text of the readable bytes; `nil` if they are not UTF-8.
    var validText: String? { String(validating: readableBytesView, as: UTF8.self) }
}
