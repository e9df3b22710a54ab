import Foundation

/// Rules for the language of documents and comments: plain technical English, with the field's terms.
enum Language {
    /// A pattern that must not come back, with its remedy.
    struct Rule: Sendable {
        var pattern: String
        var remedy: String
        /// Whether the pattern is searched for at the beginning of a paragraph only.
        var isForBeginnings = false
    }

    /// Patterns for a sentence. Code in backticks is left out before the search.
    static let rules = [
        Rule(
            pattern: #"(^|[.:;!?] )(What|Who|Whoever|Whom) [a-z`]"#,
            remedy: "begin with the subject, a noun: \"syncd closes the connection\", not \"What is closed is …\""),
        Rule(pattern: #"\bso many\b"#, remedy: "name the number: \"N\", \"this many\", \"how many\""),
        Rule(pattern: #"\b[Ff]or so long\b"#, remedy: "\"how long\", \"this long\" or \"as long as\""),
        Rule(pattern: #"\bthat there (isn't|aren't|is not|are not)\b"#, remedy: "\"unknown\""),
        Rule(pattern: #"\b[Bb]esides\b"#, remedy: "\"additional\" or \"in addition to\""),
        Rule(pattern: #"\bof (its|their|his|one's|our) own(?! [a-z])"#, remedy: "\"separate\""),
        Rule(pattern: #"\b[Bb]eats?\b"#, remedy: "\"heartbeat\" (glossary)"),
        Rule(pattern: #"\b(owed|owes)\b"#, remedy: "\"pending\" (glossary)"),
        Rule(pattern: #"\bdoubtful\b"#, remedy: "\"of unknown outcome\" (glossary)"),
        Rule(pattern: #"\b[Bb]rain\b"#, remedy: "\"engine\" (glossary)"),
        Rule(
            pattern: "^((It|They) [a-z]|(This|That|These|Those) (is|are|was|were|has|have|of|means|does|can|must) )",
            remedy: "name the thing before a pronoun stands for it", isForBeginnings: true),
        Rule(pattern: #"^\w+\.$"#, remedy: "say what it is, its unit and range, or nothing", isForBeginnings: true),
    ]

    /// A paragraph of prose and the line where it begins, from 1.
    struct Paragraph: Equatable {
        var line: Int
        var text: String
        /// Whether nothing of the same comment or list precedes it.
        var isBeginning: Bool
    }

    static func violations(in file: TextFile) -> [String] {
        var violations: [String] = []
        for paragraph in paragraphs(of: file) {
            let text = withoutCode(paragraph.text)
            for rule in rules where paragraph.isBeginning || !rule.isForBeginnings {
                guard let place = text.range(of: rule.pattern, options: .regularExpression) else { continue }
                violations.append("\(file.path):\(paragraph.line) \"\(text[place])\": \(rule.remedy)")
            }
        }
        return violations
    }

    static func paragraphs(of file: TextFile) -> [Paragraph] {
        switch file.path.split(separator: ".").last {
        case "md": markdown(file.lines)
        case "1", "8": manual(file.lines)
        case "swift": comments(file.lines) { $0.hasPrefix("///") ? 3 : $0.hasPrefix("//") ? 2 : nil }
        default: comments(file.lines) { $0.hasPrefix("#") && !$0.hasPrefix("#!") ? 1 : nil }
        }
    }

    /// Each line of Markdown outside of code blocks, without the marks of lists, headings and tables.
    private static func markdown(_ lines: [Substring]) -> [Paragraph] {
        var paragraphs: [Paragraph] = []
        var isCode = false
        for (index, line) in lines.enumerated() {
            if line.hasPrefix("```") {
                isCode.toggle()
            } else if !isCode, !line.isEmpty {
                let marks = #"^\s*(#+ |- |\d+\. |\| )?"#
                let text = line.replacingOccurrences(of: marks, with: "", options: .regularExpression)
                    .replacingOccurrences(of: " | ", with: ". ")
                let isBeginning = line.first?.isLetter == true
                paragraphs.append(Paragraph(line: index + 1, text: text, isBeginning: isBeginning))
            }
        }
        return paragraphs
    }

    /// Text of a manual page, without macros.
    private static func manual(_ lines: [Substring]) -> [Paragraph] {
        lines.enumerated().filter { !$1.hasPrefix(".") }.map {
            Paragraph(line: $0 + 1, text: String($1), isBeginning: false)
        }
    }

    /// Comments on lines without code, lines of one paragraph joined.
    ///
    /// - Parameter length: length of the comment mark that a line begins with; `nil`: it is no comment.
    private static func comments(_ lines: [Substring], length: (String) -> Int?) -> [Paragraph] {
        var paragraphs: [Paragraph] = []
        var state = (isInComment: false, isOpen: false)
        for (index, line) in lines.enumerated() {
            let trimmed = line.trimmingCharacters(in: .whitespaces)
            guard let mark = length(trimmed) else {
                state = (false, false)
                continue
            }
            let text = trimmed.dropFirst(mark).trimmingCharacters(in: .whitespaces)
            if text.isEmpty {
                state.isOpen = false
            } else if state.isOpen, !text.hasPrefix("- ") {
                paragraphs[paragraphs.count - 1].text += " \(text)"
            } else {
                paragraphs.append(Paragraph(line: index + 1, text: text, isBeginning: !state.isInComment))
                state = (true, true)
            }
        }
        return paragraphs
    }

    private static func withoutCode(_ text: String) -> String {
        text.replacingOccurrences(of: "``[^`]*``|`[^`]*`", with: "`", options: .regularExpression)
    }
}
