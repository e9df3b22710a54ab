/// The format of `.env` and `--config` files: one `KEY=value` per line.
///
/// Blank lines and lines that begin with `#` are skipped, `export ` in front of a key is allowed, and so is space
/// around key and value. A value may be in single quotes (taken as it is) or in double quotes (with `\n`, `\t`, `\"`
/// and `\\`); without quotes it ends before a `#` that follows a space. The last of several lines with one key counts.
enum EnvironmentFile {
    /// More than a file of settings ever has.
    static let maximumBytes = 1 << 20

    static func parse(_ text: String, path: String) throws(ConfigurationError) -> [String: String] {
        var values: [String: String] = [:]
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (index, line) in lines.enumerated() {
            let line = trimmed(line)
            if line.isEmpty || line.hasPrefix("#") { continue }
            guard let (key, value) = assignment(line) else {
                // The line may hold a secret: it is named, not shown.
                throw ConfigurationError(key: nil, "\(path), line \(index + 1): write it as KEY=value")
            }
            values[key] = value
        }
        return values
    }

    private static func assignment(_ line: Substring) -> (key: String, value: String)? {
        guard let equals = line.firstIndex(of: "=") else { return nil }
        var key = trimmed(line[..<equals])
        if key.hasPrefix("export ") { key = trimmed(key.dropFirst("export ".count)) }
        guard let first = key.utf8.first, !isDigit(first), key.utf8.allSatisfy(isKeyByte) else { return nil }
        guard let value = value(trimmed(line[line.index(after: equals)...])) else { return nil }
        return (String(key), value)
    }

    private static func value(_ text: Substring) -> String? {
        switch text.first {
        case "'":
            let inner = text.dropFirst()
            guard let end = inner.firstIndex(of: "'"), isRest(inner[inner.index(after: end)...]) else { return nil }
            return String(inner[..<end])
        case "\"": return doubleQuoted(text.dropFirst())
        default:
            var previous: Character = " "
            for index in text.indices {
                if text[index] == "#", previous == " " || previous == "\t" { return String(trimmed(text[..<index])) }
                previous = text[index]
            }
            return String(text)
        }
    }

    private static func doubleQuoted(_ text: Substring) -> String? {
        var value = ""
        var index = text.startIndex
        while index < text.endIndex {
            let character = text[index]
            index = text.index(after: index)
            switch character {
            case "\"": return isRest(text[index...]) ? value : nil
            case "\\":
                guard index < text.endIndex else { return nil }
                switch text[index] {
                case "n": value.append("\n")
                case "t": value.append("\t")
                case "\"", "\\": value.append(text[index])
                default: return nil
                }
                index = text.index(after: index)
            default: value.append(character)
            }
        }
        return nil
    }

    /// Nothing but a comment may follow a closing quote.
    private static func isRest(_ text: Substring) -> Bool {
        let text = trimmed(text)
        return text.isEmpty || text.hasPrefix("#")
    }

    private static func trimmed(_ text: Substring) -> Substring {
        guard let first = text.firstIndex(where: { !$0.isWhitespace }),
            let last = text.lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return text[first...last]
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func isKeyByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "_"): true
        default: isDigit(byte)
        }
    }
}
