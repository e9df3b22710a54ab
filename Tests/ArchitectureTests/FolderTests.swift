import Foundation
import Testing

/// docs/architecture.md names the folders.
@Suite struct FolderTests {
    @Test(arguments: ["Sources/IPC/Worker", "Sources/SyncCore"])
    func `every folder of a module stands in the document, and no other one`(module: String) throws {
        let architecture = try TextFile("docs/architecture.md").text
        let section = try #require(architecture.components(separatedBy: "Folders of `\(module)`:").last)
        let named = Set(
            section.split(separator: "\n").drop { !$0.hasPrefix("|") }.prefix { $0.hasPrefix("|") }
                .compactMap { $0.split(separator: "`").dropFirst().first }.filter { $0.hasSuffix("/") }.map(String.init)
        )
        let root = module + "/"
        let folders = Set(
            try PackageFiles.sources().filter { $0.path.hasPrefix(root) }
                .map { $0.path.dropFirst(root.count) }.filter { $0.contains("/") }
                .compactMap { $0.split(separator: "/").first.map { "\($0)/" } })
        #expect(named == folders)
    }

    @Test func `files that the document names are there`() throws {
        let architecture = try TextFile("docs/architecture.md").text
        let sources = try PackageFiles.sources().map(\.path)
        let named = Set(architecture.matches(of: /`([A-Za-z0-9+\/]+\.swift)`/).map { String($0.1) })
        #expect(named.count > 10)
        let inSources = named.filter { !$0.hasPrefix("Tests/") && !$0.hasPrefix("Benchmarks/") }
        #expect(inSources.filter { name in !sources.contains { $0 == name || $0.hasSuffix("/" + name) } } == [])
    }
}
