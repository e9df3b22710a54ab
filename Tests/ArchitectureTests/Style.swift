import Foundation

/// Rules for the text of source files.
enum Style {
    static let maximumLines = 500
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
        return violations
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
