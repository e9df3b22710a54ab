import NIOCore
import Notation

extension ByteBuffer {
    /// A copy of the readable bytes alone. A slice keeps the whole chunk alive that it was read from; data that is
    /// stored for long must not.
    package var compacted: ByteBuffer { ByteBuffer(bytes: readableBytesView) }

    /// The readable bytes for people and logs: printable ASCII unchanged, a backslash doubled, all else `\xNN`.
    package var escaped: String { escaped(besides: "") }

    /// The same, with these printable characters as `\xNN`, too, because they have a meaning for the reader of the
    /// text.
    package func escaped(besides special: StaticString) -> String {
        let special = UnsafeBufferPointer(start: special.utf8Start, count: special.utf8CodeUnitCount)
        var text = ""
        for byte in readableBytesView {
            switch byte {
            case UInt8(ascii: "\\"): text += "\\\\"
            case 0x20...0x7e where !special.contains(byte): text.unicodeScalars.append(UnicodeScalar(byte))
            default: text += "\\x" + byte.padded(2, radix: 16)
            }
        }
        return text
    }

    /// Whether the bytes are this word, ignoring the case of ASCII letters. Allocates nothing.
    func isWord(_ word: StaticString) -> Bool {
        guard readableBytes == word.utf8CodeUnitCount else { return false }
        return withUnsafeReadableBytes { bytes in
            for index in 0..<bytes.count where bytes[index] != word.utf8Start[index] {
                guard Self.uppercased(bytes[index]) == Self.uppercased(word.utf8Start[index]) else { return false }
            }
            return true
        }
    }
    private static func uppercased(_ byte: UInt8) -> UInt8 {
        byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") ? byte - 32 : byte
    }
}
