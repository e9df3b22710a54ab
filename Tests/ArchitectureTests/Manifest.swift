import Foundation

/// The content of Package.swift, as far as the rules need it.
struct Manifest {
    struct Target: Equatable {
        var kind: String
        var name: String
        var path: String
        var dependencies: [String]
    }

    private(set) var targets: [Target] = []

    /// - Parameter text: the manifest, written as this package's is: targets as literals, products by name.
    init(_ text: String) {
        let products = text.matches(of: /let (\w+): Target\.Dependency = \.product\(name: "(\w+)"/)
            .reduce(into: [:]) { $0[String($1.1)] = String($1.2) }
        for match in text.matches(of: /\.(target|executableTarget|testTarget|systemLibrary)\(/) {
            let body = Self.enclosed(text[match.range.upperBound...], by: ("(", ")"))
            guard let name = body.firstMatch(of: /name: "(\w+)"/)?.1 else { continue }
            let folder = match.1 == "testTarget" ? "Tests" : "Sources"
            let path = body.firstMatch(of: /path: "([^"]+)"/).map { String($0.1) } ?? "\(folder)/\(name)"
            var dependencies: [String] = []
            if let list = body.firstRange(of: "dependencies: [") {
                let names = Self.enclosed(body[list.upperBound...], by: ("[", "]"))
                    .replacing(/\.product\(name: ("\w+"), package: "[\w-]+"\)/) { $0.1 }
                for item in names.matches(of: /"(\w+)"|(\w+)/) {
                    let variable = item.2.map(String.init)
                    dependencies.append(item.1.map(String.init) ?? variable.flatMap { products[$0] } ?? variable ?? "")
                }
            }
            targets.append(
                Target(kind: String(match.1), name: String(name), path: path, dependencies: dependencies))
        }
    }

    /// The text before the closing bracket of one that is already open.
    private static func enclosed(_ text: Substring, by brackets: (Character, Character)) -> Substring {
        var depth = 1
        for index in text.indices {
            if text[index] == brackets.0 { depth += 1 }
            if text[index] == brackets.1 { depth -= 1 }
            if depth == 0 { return text[..<index] }
        }
        return text
    }
}
