import Foundation

/// Links and headings of Markdown documents.
enum Links {
    /// Lines outside of code blocks.
    private static func prose(_ text: String) -> [Substring] {
        var isCode = false
        return text.split(separator: "\n").filter { line in
            if line.hasPrefix("```") { isCode.toggle() }
            return !isCode && !line.hasPrefix("```")
        }
    }

    static func headings(in text: String) -> [String] {
        prose(text).compactMap { line in
            line.wholeMatch(of: /#{1,6} +(.+)/).map { String($0.1).replacing("`", with: "") }
        }
    }

    /// The anchors of a document as GitHub makes them.
    static func anchors(in text: String) -> Set<String> {
        var counts: [String: Int] = [:]
        return headings(in: text).reduce(into: []) { anchors, heading in
            let kept = heading.lowercased().unicodeScalars.filter {
                $0.properties.isAlphabetic || ("0"..."9").contains($0) || $0 == " " || $0 == "-" || $0 == "_"
            }
            let anchor = String(String.UnicodeScalarView(kept)).replacing(" ", with: "-")
            let count = counts[anchor, default: 0]
            counts[anchor] = count + 1
            anchors.insert(count == 0 ? anchor : "\(anchor)-\(count)")
        }
    }

    /// Where a document's links go that stay inside of the package.
    static func targets(in text: String) -> [String] {
        prose(text).flatMap { line in
            line.replacing(/`[^`]*`/, with: "").matches(of: /\]\(([^)\s]+)\)/).map { String($0.1) }
        }.filter { $0.firstMatch(of: /^[a-z]+:/) == nil }
    }

    /// The links of a document that lead nowhere.
    ///
    /// - Parameter read: the text of a file of the package, or `nil` if there is none.
    static func broken(in file: TextFile, read: (String) -> String?) -> [String] {
        targets(in: file.text).compactMap { target in
            let parts = target.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
            let path = parts[0].isEmpty ? file.path : resolved(String(parts[0]), from: file.path)
            guard let text = parts[0].isEmpty ? file.text : read(path) else {
                return "\(file.path): \(target) does not exist"
            }
            guard parts.count == 2, !anchors(in: text).contains(String(parts[1])) else { return nil }
            return "\(file.path): \(target) is no heading there"
        }
    }

    private static func resolved(_ path: String, from document: String) -> String {
        var folders = document.split(separator: "/").dropLast()
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = folders.popLast() } else { folders.append(part) }
        }
        return folders.joined(separator: "/")
    }

    /// Headings, and beginnings of paragraphs in bold: `**Fencing.** A heartbeat …`.
    private static func sections(of text: String) -> [String] {
        headings(in: text) + prose(text).compactMap { $0.prefixMatch(of: /\*\*([^*]+)\.\*\*/).map { String($0.1) } }
    }

    /// References in comments and messages: `docs/x.md`, `x.md`, or `x.md, "A section"`.
    static func brokenReferences(in file: TextFile, documents: [String: String]) -> [String] {
        // A reference may go over the end of a line.
        let text = file.text.replacing(#/\n *///? /#, with: " ")
        return text.matches(of: /(?:docs\/)?([a-z-]+\.md)(?:\)?, "([^"]+)")?/).compactMap { match in
            guard let document = documents[String(match.1)] else {
                return "\(file.path): docs/\(match.1) does not exist"
            }
            guard let section = match.2, !sections(of: document).contains(String(section)) else { return nil }
            return "\(file.path): docs/\(match.1) has no section \"\(section)\""
        }
    }
}
