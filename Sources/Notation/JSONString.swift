/// Strings as JSON writes them (RFC 8259, 7).
package enum JSONString {
    /// Whether a byte of UTF-8 has to be written as an escape.
    @inlinable @inline(__always)
    package static func needsEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    /// Whether a text is ASCII without escapes. Eight bytes are compared at a time; the last eight may overlap.
    @inlinable
    package static func isPlain(_ text: UnsafeRawBufferPointer) -> Bool {
        guard text.count >= 8 else { return text.allSatisfy { $0 < 0x80 && !needsEscape($0) } }
        var (index, found) = (0, UInt64(0))
        while index < text.count - 8 {
            found |= marks(text.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            index += 8
        }
        found |= marks(text.loadUnaligned(fromByteOffset: text.count - 8, as: UInt64.self))
        return found & 0x8080_8080_8080_8080 == 0
    }

    /// The highest bit of a byte is set if one of these eight bytes, up to this one, is not ASCII or needs an escape.
    @inlinable @inline(__always)
    static func marks(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let (quote, backslash) = (word ^ (ones &* 0x22), word ^ (ones &* 0x5c))
        return word | (word &- ones &* 0x20) | (quote &- ones) | (backslash &- ones)
    }

    /// The escape of a character of the basic plane.
    package static func escape(_ code: UInt16) -> String {
        guard let byte = UInt8(exactly: code) else { return "\\u" + code.padded(4, radix: 16) }
        var text: [UInt8] = []
        putEscape(of: byte) { text.append($0) }
        return String(decoding: text, as: UTF8.self)
    }

    /// The escape of a character below 256, byte by byte.
    @inlinable
    package static func putEscape(of character: UInt8, _ put: (UInt8) -> Void) {
        func digit(_ value: UInt8) -> UInt8 { value + (value < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10) }
        put(UInt8(ascii: "\\"))
        switch character {
        case 0x22, 0x5c: put(character)
        case 0x0a: put(UInt8(ascii: "n"))
        case 0x0d: put(UInt8(ascii: "r"))
        case 0x09: put(UInt8(ascii: "t"))
        default:
            put(UInt8(ascii: "u"))
            put(UInt8(ascii: "0"))
            put(UInt8(ascii: "0"))
            put(digit(character >> 4))
            put(digit(character & 15))
        }
    }

    /// A text in quotes.
    ///
    /// - Parameter escaping: further characters of the basic plane that are to be escapes.
    package static func quoted(_ text: String, escaping: (Unicode.Scalar) -> Bool = { _ in false }) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            let isSpecial = UInt8(exactly: scalar.value).map(needsEscape) ?? false
            if isSpecial || escaping(scalar), let code = UInt16(exactly: scalar.value) {
                result += escape(code)
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
