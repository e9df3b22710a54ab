import Foundation
import TestSupport
import Testing

/// Documents and comments lead somewhere.
@Suite struct LinkTests {
    @Test func `every link has a target`() throws {
        let documents = try PackageFiles.documents()
        #expect(documents.count > 5)
        for document in documents {
            let broken = Links.broken(in: document) { path in
                PackageFiles.exists(path) ? (try? TextFile(path).text) ?? "" : nil
            }
            #expect(broken == [])
        }
    }

    @Test func `every reference in a comment has a target`() throws {
        let documents = try PackageFiles.documents().reduce(into: [:]) { documents, file in
            documents[file.path.split(separator: "/").last.map(String.init) ?? ""] = file.text
        }
        let files =
            try PackageFiles.sources()
            + PackageFiles.all(below: "Tests", ending: ".swift")
            .filter { !$0.path.hasPrefix("Tests/ArchitectureTests/") }
        for file in files { #expect(Links.brokenReferences(in: file, documents: documents) == []) }
    }

    // MARK: The rules notice

    @Test func `links that lead nowhere`() {
        let file = TextFile(
            path: "docs/a.md",
            text: """
                # A heading: `code`, twice
                [here](#a-heading-code-twice) [there](b.md#b) [up](../README.md) [out](https://a.example/x#y)
                [gone](c.md) [no heading](b.md#c) [not here](#nothing)
                `[code](none.md)`
                ```
                [code](none.md)
                ```
                """)
        let files = ["docs/b.md": "## B", "README.md": ""]
        #expect(
            Links.broken(in: file) { files[$0] } == [
                "docs/a.md: c.md does not exist", "docs/a.md: b.md#c is no heading there",
                "docs/a.md: #nothing is no heading there",
            ])
    }

    @Test func `references that lead nowhere`() {
        let text = """
            /// See docs/a.md, "One", and (a.md, "Two
            /// words"). Not docs/b.md, and not a.md, "Three".
            """
        #expect(
            Links.brokenReferences(
                in: TextFile(path: "A.swift", text: text), documents: ["a.md": "# One\n\n**Two words.** A paragraph."])
                == ["A.swift: docs/b.md does not exist", "A.swift: docs/a.md has no section \"Three\""])
    }

    @Test func `two headings of one name`() {
        #expect(Links.anchors(in: "# A b\n## A b\n```\n# c\n```\n") == ["a-b", "a-b-1"])
    }
}
