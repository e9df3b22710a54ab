import Testing

/// Imports are those of the table in docs/architecture.md, and Package.swift asks for nothing else.
@Suite struct ImportTests {
    private static func modules() throws -> [Manifest.Target] {
        try Manifest(TextFile("Package.swift").text).targets.filter {
            ["target", "executableTarget"].contains($0.kind)
        }
        .filter { $0.path.hasPrefix("Sources/") }
    }

    @Test func `every module imports what the table allows`() throws {
        let table = Imports.table(try TextFile("docs/architecture.md").text)
        let sources = try PackageFiles.sources()
        var seen: Set<String> = []
        for module in try Self.modules() {
            let allowed = try #require(table[module.name], "\(module.name) is not in the table")
            let files = sources.filter { $0.path.hasPrefix("\(module.path)/") }
            #expect(!files.isEmpty, "\(module.path) is empty")
            for file in files {
                seen.insert(file.path)
                #expect(Imports.violations(in: file, of: module.name, allowed: allowed) == [])
            }
        }
        #expect(Set(sources.map(\.path)).subtracting(seen) == [], "files of no module")
    }

    @Test func `arrows point one way`() throws {
        let table = Imports.table(try TextFile("docs/architecture.md").text)
        #expect(table["IPCWire"] == ["Notation", "NIOCore"])
        #expect(table["Sieve"] == [])
        #expect(table["Notation"] == [])
        #expect(table["SyncCore"] == ["IPCWire", "Notation", "Sieve", "NIOCore", "DequeModule", "HeapModule"])
        #expect(table["IPC"]?.isDisjoint(with: ["CHiredis", "CMongoC", "SyncCore", "ProcessSupport"]) == true)
        #expect(table["apiworker"]?.isDisjoint(with: ["SyncCore", "CHiredis", "syncd"]) == true)
        #expect(table["syncd"]?.isDisjoint(with: ["CMongoC", "apiworker", "CCrypto"]) == true)
    }

    @Test func `a target depends on what it imports, and on nothing else`() throws {
        let sources = try PackageFiles.sources()
        for module in try Self.modules() {
            let imported = Set(
                sources.filter { $0.path.hasPrefix("\(module.path)/") }.flatMap { Imports.modules(in: $0.text) })
            #expect(Set(module.dependencies).subtracting(imported) == [], "\(module.name) doesn't import these")
        }
    }

    // MARK: The rules notice

    @Test(arguments: [
        ("Sources/SyncCore/A.swift", "SyncCore", "import NIOPosix"),
        ("Sources/SyncCore/A.swift", "SyncCore", "import Logging"),
        ("Sources/SyncCore/A.swift", "SyncCore", "#if canImport(Glibc)\n    import Glibc\n#endif"),
        ("Sources/SyncCore/A.swift", "SyncCore", "@preconcurrency import CHiredis"),
        ("Sources/IPC/Wire/A.swift", "IPCWire", "public import NIOPosix"),
        ("Sources/IPC/Worker/A.swift", "IPC", "import func CMongoC.mongoc_init"),
        ("Sources/syncd/Workers/A.swift", "syncd", "import CHiredis"),
        ("Sources/apiworker/Routes/A.swift", "apiworker", "internal import CMongoC"),
        ("Sources/apiworker/Routes/A.swift", "apiworker", "import SyncCore"),
        ("Sources/apiworker/Routes/A.swift", "apiworker", "import Foundation"),
    ])
    func `an import that is not allowed`(path: String, module: String, text: String) throws {
        let allowed = try #require(Imports.table(try TextFile("docs/architecture.md").text)[module])
        let file = TextFile(path: path, text: "// import Foundation\n\(text)\nlet important = \"import\"\n")
        #expect(Imports.violations(in: file, of: module, allowed: allowed).count == 1)
    }

    @Test func `imports in all their forms`() {
        let text = """
            @_exported import A
            @testable import B
                import C
            public import struct D.E
            import F.G
            // import H
            let text = "import I"
            """
        #expect(Imports.modules(in: text) == ["A", "B", "C", "D", "F"])
    }

    @Test func `targets and what they depend on`() {
        let text = """
            let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
            .systemLibrary(name: "C", providers: [.apt(["libc"])]),
            .target(name: "A", dependencies: [nioCore, "C"], path: "Sources/X/A", swiftSettings: strict),
            .executableTarget(
                name: "b",
                dependencies: [
                    "A", .product(name: "P", package: "p-q"),
                ]),
            """
        #expect(
            Manifest(text).targets == [
                Manifest.Target(kind: "systemLibrary", name: "C", path: "Sources/C", dependencies: []),
                Manifest.Target(kind: "target", name: "A", path: "Sources/X/A", dependencies: ["NIOCore", "C"]),
                Manifest.Target(kind: "executableTarget", name: "b", path: "Sources/b", dependencies: ["A", "P"]),
            ])
    }
}
