import Foundation

/// The rules for imports.
enum Imports {
    /// The standard library's own, and the C library of the system.
    private static let toolchain: Set<String> = ["Swift", "Synchronization"]
    private static let system: Set<String> = ["Glibc", "Musl", "Dispatch"]
    /// Modules without access to the system: no socket, no clock, no file.
    private static let pure: Set<String> = ["IPCWire", "Notation", "Sieve", "SyncCore"]

    /// Words of the table in docs/architecture.md that stand for several modules.
    private static let words: [String: Set<String>] = [
        "NIO": ["NIOCore", "NIOPosix", "NIOTLS", "NIOSSL", "NIOHTTP1", "NIOEmbedded"],
        "Collections": ["DequeModule", "HeapModule"],
        // IPC exports it.
        "IPC": ["IPC", "IPCWire"],
        "nothing": [],
    ]

    /// Modules that only one folder may import, whatever its target may.
    static let confined = [
        "CHiredis": "Sources/syncd/Redis/", "NIOSSL": "Sources/syncd/Redis/",
        "CMongoC": "Sources/apiworker/Storage/", "CZlib": "Sources/apiworker/Compression/",
        "CMalloc": "Sources/ProcessSupport/", "CCrypto": "Sources/apiworker/HTTP/",
    ]

    /// The modules that a source file imports.
    static func modules(in source: String) -> [String] {
        source.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ").map(String.init)
            guard let keyword = words.firstIndex(of: "import"), keyword + 1 < words.count,
                words[..<keyword].allSatisfy({ $0.hasPrefix("@") || accessLevels.contains($0) })
            else { return nil }
            let isSingle = kinds.contains(words[keyword + 1]) && keyword + 2 < words.count
            let name = words[isSingle ? keyword + 2 : keyword + 1]
            return name.split(separator: ".").first.map(String.init)
        }
    }

    private static let accessLevels: Set<String> = ["public", "package", "internal", "fileprivate", "private"]
    private static let kinds: Set<String> = ["struct", "class", "enum", "protocol", "typealias", "func", "var", "let"]

    /// Reads the table of modules: for each, what it may import.
    static func table(_ architecture: String) -> [String: Set<String>] {
        var allowed: [String: Set<String>] = [:]
        for line in architecture.split(separator: "\n") where line.hasPrefix("| `") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard cells.count == 3, let module = cells[0].split(separator: "`").first, !module.contains("/") else {
                continue
            }
            // The text after a full stop is an explanation.
            let names = (cells[2].split(separator: ".").first ?? "").split(separator: ",")
                .map { $0.trimmingCharacters(in: .whitespaces) }
            allowed[String(module)] = names.reduce(into: []) { $0.formUnion(words[$1] ?? [$1]) }
        }
        return allowed
    }

    /// Violations in the imports of one file.
    static func violations(in file: TextFile, of target: String, allowed: Set<String>) -> [String] {
        modules(in: file.text).compactMap { module in
            if let folder = confined[module], !file.path.hasPrefix(folder) {
                return "\(file.path) imports \(module), which only \(folder) may"
            }
            let isAllowed =
                allowed.contains(module) || toolchain.contains(module)
                || (system.contains(module) && !pure.contains(target))
            return isAllowed ? nil : "\(file.path) imports \(module), which \(target) may not"
        }
    }
}
