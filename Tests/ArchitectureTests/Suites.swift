import Foundation

/// The suites of the package, as the text of their files declares them.
enum Suites {
    struct Suite: Equatable {
        var name: String
        /// Names of tags (Tests/Support/Tags.swift), as scripts/suites reads them.
        var tags: [String]
        /// Whether the suite has the trait `.processes`.
        var hasProcesses: Bool
    }

    /// The suites that begin in a file with `@Suite`.
    static func declared(in file: TextFile) -> [Suite] {
        var suites: [Suite] = []
        var attribute: String?
        for line in file.lines {
            if line.hasPrefix("@Suite") { attribute = "" }
            guard let text = attribute.map({ $0 + line }) else { continue }
            attribute = text
            guard let name = line.firstMatch(of: /struct (\w+)/)?.1 else { continue }
            suites.append(
                Suite(
                    name: String(name), tags: text.matches(of: /\.tags\(\.(\w+)\)/).map { String($0.1) },
                    hasProcesses: text.contains(".processes")))
            attribute = nil
        }
        return suites
    }

    /// Tests outside of a declaration with `@Suite`: no script finds their tag.
    static func strayTests(in file: TextFile) -> [String] {
        var isInSuite = false
        var strays: [String] = []
        for (index, line) in file.lines.enumerated() {
            if line.hasPrefix("@Suite") {
                isInSuite = true
            } else if line.hasPrefix("}") {
                isInSuite = false
            } else if !isInSuite, line.drop(while: { $0 == " " }).hasPrefix("@Test") {
                strays.append("\(file.path):\(index + 1) a test outside of a @Suite")
            }
        }
        return strays
    }

    /// The paths of the files that start servers or other processes: they name what spawns, or a type of the same target
    /// or of Tests/Support whose file does.
    static func starting(_ files: [TextFile]) -> Set<String> {
        let words = files.map { (file: $0, target: target(of: $0), words: Self.words(in: $0)) }
        var names: [Substring: Set<Substring>] = [support: ["ProcessSpawner"]]
        var starting: Set<String> = []
        var isGrowing = true
        while isGrowing {
            isGrowing = false
            for (file, target, words) in words where !starting.contains(file.path) {
                let known = names[support, default: []].union(names[target, default: []])
                guard !words.isDisjoint(with: known) else { continue }
                starting.insert(file.path)
                names[target, default: []].formUnion(types(in: file))
                isGrowing = true
            }
        }
        return starting
    }

    private static let support: Substring = "Support"
    private static func target(of file: TextFile) -> Substring {
        file.path.split(separator: "/").dropFirst().first ?? ""
    }

    /// The words of a file's code, without comments.
    private static func words(in file: TextFile) -> Set<Substring> {
        let code = file.lines.filter { !$0.drop { $0 == " " }.hasPrefix("//") }
        return Set(code.flatMap { $0.split { !$0.isLetter && !$0.isNumber && $0 != "_" } })
    }

    /// The types that other files can name.
    private static func types(in file: TextFile) -> [Substring] {
        file.lines.compactMap { line in
            line.prefixMatch(of: /(?:package |final )*(?:struct|class|enum|actor) (\w+)/)?.1
        }
    }
}
