import Foundation

/// Rules for the text of source files.
enum Style {
    static let maximumLines = 500
    /// A function fits a screen.
    static let maximumFunctionLines = 60
    /// Unfinished code, and calls that end the process on something that a peer can cause.
    private static let forbidden = ["TODO", "FIXME", "try!", "fatalError("]
    /// Attributes that override the compiler's checks need an explanation.
    private static let unchecked = ["@unchecked Sendable", "nonisolated(unsafe)"]

    static func violations(in file: TextFile) -> [String] {
        let lines = file.lines
        var violations: [String] = []
        // The last line ends with a newline; what follows is no line.
        let count = lines.last?.isEmpty == true ? lines.count - 1 : lines.count
        if count > maximumLines { violations.append("\(file.path) has \(count) lines") }
        for (index, line) in lines.enumerated() {
            for word in forbidden where line.contains(word) {
                violations.append("\(file.path):\(index + 1) has \(word)")
            }
            for word in unchecked where line.contains(word) && !isExplained(lines, index) {
                violations.append("\(file.path):\(index + 1) has \(word) without a comment above")
            }
        }
        return violations + longFunctions(in: file)
    }

    /// Functions that are too long, from their first line to their last brace. The formatter writes what belongs to a
    /// function with more indentation than its first line, except for the end of its parameters and the last brace.
    private static func longFunctions(in file: TextFile) -> [String] {
        let lines = file.lines
        return lines.indices.compactMap { start in
            guard isFunction(lines[start]) else { return nil }
            let indentation = lines[start].prefix { $0 == " " }
            let end = lines[(start + 1)...].firstIndex { line in
                guard line.hasPrefix(indentation), let first = line.dropFirst(indentation.count).first else {
                    return false
                }
                return ![" ", ")", "{", "#"].contains(first) || (first == ")" && line.hasSuffix("}"))
            }
            guard let end, end - start + 1 > maximumFunctionLines, lines[end].hasSuffix("}") else { return nil }
            return "\(file.path):\(start + 1) has a function of \(end - start + 1) lines"
        }
    }

    /// Whether a line begins a function or an initializer.
    private static func isFunction(_ line: Substring) -> Bool {
        guard line.contains("func ") || line.contains("init") || line.contains("subscript(") else { return false }
        let words = line.split(separator: " ")
        guard let keyword = words.firstIndex(where: isKeyword) else { return false }
        // Modifiers and attributes stand before it.
        return words[..<keyword].allSatisfy { $0.hasPrefix("@") || $0.first?.isLowercase == true }
    }

    private static func isKeyword(_ word: Substring) -> Bool {
        word == "func" || ["init(", "init?(", "init<", "deinit", "subscript("].contains { word.hasPrefix($0) }
    }

    /// Tests whose function has no sentence as its name.
    static func namelessTests(in file: TextFile) -> [String] {
        var violations: [String] = []
        var isTest = false
        for (index, line) in file.lines.enumerated() {
            let text = line.trimmingCharacters(in: .whitespaces)
            isTest = isTest || text.hasPrefix("@Test")
            // Attributes and arguments may come before it, on lines of their own or not.
            guard isTest, let place = text.range(of: "func "),
                text.hasPrefix("func ") || text[..<place.lowerBound].hasSuffix(") ") || text.hasPrefix("@Test func ")
            else { continue }
            if !text[place.upperBound...].hasPrefix("`") { violations.append("\(file.path):\(index + 1) \(text)") }
            isTest = false
        }
        return violations
    }

    private static func isExplained(_ lines: [Substring], _ index: Int) -> Bool {
        let line = lines[index].trimmingCharacters(in: .whitespaces)
        guard index > 0, !line.hasPrefix("//") else { return line.hasPrefix("//") }
        return lines[index - 1].trimmingCharacters(in: .whitespaces).hasPrefix("// ")
    }
}
