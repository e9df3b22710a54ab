import Foundation
import Testing

/// docs/architecture.md names the folders.
@Suite struct FolderTests {
    @Test func `every folder of the worker's side stands in the document, and no other one`() throws {
        let architecture = try TextFile("docs/architecture.md").text
        let section = try #require(architecture.components(separatedBy: "Folders of `Sources/IPC/Worker`:").last)
        let named = Set(
            section.split(separator: "\n").drop { !$0.hasPrefix("|") }.prefix { $0.hasPrefix("|") }
                .compactMap { $0.split(separator: "`").dropFirst().first }.filter { $0.hasSuffix("/") }.map(String.init)
        )
        let root = "Sources/IPC/Worker/"
        let folders = Set(
            try PackageFiles.sources().filter { $0.path.hasPrefix(root) }
                .map { $0.path.dropFirst(root.count) }.filter { $0.contains("/") }
                .compactMap { $0.split(separator: "/").first.map { "\($0)/" } })
        #expect(named == folders)
    }
}
