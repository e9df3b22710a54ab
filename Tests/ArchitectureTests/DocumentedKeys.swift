import Foundation

/// Configuration keys as documents name them.
enum DocumentedKeys {
    /// A row of a table that begins with a key.
    struct Row: Equatable {
        var name: String
        /// The second cell, without backticks.
        var standard: String
    }

    /// The first column of the table below a heading.
    static func table(_ heading: String, in document: String) -> [Row] {
        let lines = document.split(separator: "\n", omittingEmptySubsequences: false)
        guard let start = lines.firstIndex(where: { $0.hasPrefix("#") && $0.hasSuffix(" \(heading)") }) else {
            return []
        }
        let section = lines[(start + 1)...].prefix { !$0.hasPrefix("#") }
        return section.flatMap { line -> [Row] in
            let cells = line.split(separator: "|", omittingEmptySubsequences: false)
            guard line.hasPrefix("| `"), cells.count > 3 else { return [] }
            let standard = cells[2].replacing("`", with: "").trimmingCharacters(in: .whitespaces)
            return cells[1].matches(of: /`([^`]+)`/).map { Row(name: String($0.1), standard: standard) }
        }
    }

    /// The keys that a manual page explains: `.It Ev A , B`.
    static func manual(_ page: String) -> [String] {
        page.split(separator: "\n").flatMap { line -> [String] in
            guard let rest = line.firstMatch(of: /^\.It Ev (.+)$/)?.1, !rest.contains("Ns") else { return [] }
            return rest.split(separator: " , ").map(String.init)
        }
    }

    /// Names in a text that look like keys of this package.
    static func mentioned(in text: String) -> Set<String> {
        Set(
            text.matches(of: /\b(?:SYNCD|REDIS|WORKER|DB|FRONTEND|LOG)_[A-Z0-9_]*[A-Z0-9]\b/)
                .map { String($0.0) })
    }

    /// The differences between two lists of names.
    static func differences(_ documented: [String], _ read: [String]) -> [String] {
        let doubles = Dictionary(grouping: documented) { $0 }.filter { $1.count > 1 }.keys.map { "\($0) stands twice" }
        let missing = Set(read).subtracting(documented).map { "\($0) is missing" }
        let unknown = Set(documented).subtracting(read).map { "\($0) is read by nobody" }
        return (doubles + missing + unknown).sorted()
    }
}
