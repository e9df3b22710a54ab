import IPCWire
import NIOCore

/// The name of something that cached values depend on: 1 to 256 bytes, usually text. A write invalidates the values of
/// its tags.
///
/// A string literal, also one with interpolations, can stand where a tag is expected: `"product:\(id)"`. Tags are
/// compared byte by byte. Two texts with the same characters but different UTF-8 are therefore two tags.
public struct CacheTag: Sendable, Hashable {
    /// The bytes, as syncd knows them.
    public let bytes: ByteBuffer

    /// The tag of these bytes.
    public init(_ bytes: ByteBuffer) { self.bytes = bytes }

    /// The tag of a text in UTF-8.
    public init(_ text: String) { self.init(ByteBuffer(string: text)) }
}

extension CacheTag: ExpressibleByStringInterpolation, CustomStringConvertible {
    /// The tag of a string literal in UTF-8.
    public init(stringLiteral text: String) { self.init(text) }

    /// The text of the tag. In a tag that is not UTF-8, all bytes but printable ASCII are escaped: `\xNN`.
    public var description: String { bytes.validText ?? bytes.escaped }
}

extension CacheTag {
    /// The tag that every cached value has.
    static let everything: CacheTag = "*"
}
