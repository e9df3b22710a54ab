/// Strings as JSON writes them (RFC 8259, 7).
package enum JSONString {
    /// Whether a byte of UTF-8 has to be written as an escape.
    @inlinable @inline(__always)
    package static func needsEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    /// Whether a text is ASCII without escapes. Eight bytes are compared at a time: the highest bit of each shows.
    @inlinable
    package static func isPlain(_ text: UnsafeRawBufferPointer) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        var (index, found) = (0, UInt64(0))
        while index + 8 <= text.count {
            let word = text.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            let (quote, backslash) = (word ^ (ones &* 0x22), word ^ (ones &* 0x5c))
            found |= word | (word &- ones &* 0x20) | (quote &- ones) | (backslash &- ones)
            index += 8
        }
        while index < text.count {
            if needsEscape(text[index]) || text[index] >= 0x80 { return false }
            index += 1
        }
        return found & (ones &* 0x80) == 0
    }

    /// The escape of a character of the basic plane.
    package static func escape(_ code: UInt16) -> String {
        switch code {
        case 0x22: "\\\""
        case 0x5c: "\\\\"
        case 0x0a: "\\n"
        case 0x0d: "\\r"
        case 0x09: "\\t"
        default: "\\u" + code.padded(4, radix: 16)
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
