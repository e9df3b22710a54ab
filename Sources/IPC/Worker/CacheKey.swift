import IPCWire
import NIOCore

/// The key of a cached value: 1 to 1024 bytes, usually text.
///
/// A string literal, also one with interpolations, can stand where a key is expected: `"price:\(id)"`. Keys are
/// compared byte by byte. Two texts with the same characters but different UTF-8 are therefore two keys.
public struct CacheKey: Sendable, Hashable {
    /// The bytes, as syncd knows them.
    public let bytes: ByteBuffer

    /// The key of these bytes.
    public init(_ bytes: ByteBuffer) { self.bytes = bytes }

    /// The key of a text in UTF-8.
    public init(_ text: String) { self.init(ByteBuffer(string: text)) }
}

extension CacheKey: ExpressibleByStringInterpolation, CustomStringConvertible {
    /// The key of a string literal in UTF-8.
    public init(stringLiteral text: String) { self.init(text) }

    /// The text of the key. In a key that is not UTF-8, all bytes but printable ASCII are escaped: `\xNN`.
    public var description: String { bytes.validText ?? bytes.escaped }
}

extension ByteBuffer {
    /// The text of the readable bytes; `nil` if they are not UTF-8.
    var validText: String? { String(validating: readableBytesView, as: UTF8.self) }
}
