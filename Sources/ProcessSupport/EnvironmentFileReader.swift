/// Splits the text of an environment file into statements. All syntax is ASCII, so the reader works on bytes.
struct EnvironmentFileReader {
    enum Statement: Equatable {
        /// `value` is `nil` if it cannot be read. Reading continues at the next line then.
        case assignment(key: String, value: String?, line: Int)
        /// A line that is not an assignment.
        case other(line: Int)
    }

    private let bytes: [UInt8]
    private var place = 0
    private var line = 1

    init(_ text: String) {
        // Lines end as they do for Python and Node: LF, CR LF or CR.
        let text = text.hasPrefix("\u{feff}") ? text.dropFirst() : text[...]
        bytes = Array(text.utf8)
    }

    private static let escapes: [UInt8: UInt8] = [
        UInt8(ascii: "\\"): UInt8(ascii: "\\"), UInt8(ascii: "\""): UInt8(ascii: "\""),
        UInt8(ascii: "'"): UInt8(ascii: "'"), UInt8(ascii: "a"): 7, UInt8(ascii: "b"): 8, UInt8(ascii: "f"): 12,
        UInt8(ascii: "n"): 10, UInt8(ascii: "r"): 13, UInt8(ascii: "t"): 9, UInt8(ascii: "v"): 11,
    ]

    /// The next statement; `nil` at the end.
    mutating func next() -> Statement? {
        skipBlankAndComments()
        guard place < bytes.count else { return nil }
        let start = line
        var key = readKey()
        if key == "export", isBlank(peek) {
            skipBlanks()
            let second = readKey()
            if !second.isEmpty { key = second }
        }
        skipBlanks()
        guard !key.isEmpty, peek == UInt8(ascii: "=") else {
            skipLine()
            return .other(line: start)
        }
        place += 1
        skipBlanks()
        return .assignment(key: key, value: readValue(), line: start)
    }

    private var peek: UInt8? { place < bytes.count ? bytes[place] : nil }

    private func isBlank(_ byte: UInt8?) -> Bool { byte == 32 || byte == 9 || byte == 11 || byte == 12 }
    private func isLineEnd(_ byte: UInt8?) -> Bool { byte == nil || byte == 10 || byte == 13 }

    private mutating func skipBlanks() { while isBlank(peek) { place += 1 } }

    /// Moves behind the present line.
    private mutating func skipLine() {
        while !isLineEnd(peek) { place += 1 }
        skipLineEnd()
    }

    private mutating func skipLineEnd() {
        guard let byte = peek else { return }
        place += byte == 13 && place + 1 < bytes.count && bytes[place + 1] == 10 ? 2 : 1
        line += 1
    }

    private mutating func skipBlankAndComments() {
        while place < bytes.count {
            skipBlanks()
            guard isLineEnd(peek) || peek == UInt8(ascii: "#") else { return }
            skipLine()
        }
    }

    private mutating func readKey() -> String {
        let start = place
        while let byte = peek, !isBlank(byte), !isLineEnd(byte), byte != UInt8(ascii: "="), byte != UInt8(ascii: "#") {
            place += 1
        }
        return String(decoding: bytes[start..<place], as: UTF8.self)
    }

    private mutating func readValue() -> String? {
        switch peek {
        case UInt8(ascii: "'"): return readQuoted(UInt8(ascii: "'"))
        case UInt8(ascii: "\""): return readQuoted(UInt8(ascii: "\""))
        default: return readUnquoted()
        }
    }

    private mutating func readUnquoted() -> String {
        var end = place
        let start = place
        while let byte = peek, !isLineEnd(byte) {
            if byte == UInt8(ascii: "#"), place == start || isBlank(bytes[place - 1]) { break }
            place += 1
            if !isBlank(byte) { end = place }
        }
        skipLine()
        return String(decoding: bytes[start..<end], as: UTF8.self)
    }

    /// Only a comment may follow the closing quote. Otherwise reading continues at the line after the first quote, as
    /// in Node: an extra quote must not swallow other assignments.
    private mutating func readQuoted(_ quote: UInt8) -> String? {
        let (start, startLine) = (place, line)
        place += 1
        var value: [UInt8] = []
        while let byte = peek, byte != quote {
            if byte == UInt8(ascii: "\\"), place + 1 < bytes.count {
                readEscape(quote, into: &value)
            } else if isLineEnd(byte) {
                skipLineEnd()
                value.append(10)
            } else {
                value.append(byte)
                place += 1
            }
        }
        if peek == quote {
            place += 1
            skipBlanks()
            if isLineEnd(peek) || peek == UInt8(ascii: "#") {
                skipLine()
                return String(decoding: value, as: UTF8.self)
            }
        }
        (place, line) = (start, startLine)
        skipLine()
        return nil
    }

    /// A backslash that begins no escape stands for itself.
    private mutating func readEscape(_ quote: UInt8, into value: inout [UInt8]) {
        let next = bytes[place + 1]
        let isKnown = quote == UInt8(ascii: "\"") || next == UInt8(ascii: "'") || next == UInt8(ascii: "\\")
        if isKnown, let meant = Self.escapes[next] {
            value.append(meant)
            place += 2
        } else {
            value.append(UInt8(ascii: "\\"))
            place += 1
        }
    }
}
