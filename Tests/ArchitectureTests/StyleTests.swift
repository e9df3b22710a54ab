import Testing

/// Rules that the compiler and the formatter don't check.
@Suite struct StyleTests {
    /// A function of this many lines.
    private static func function(lines: Int, _ indentation: String = "") -> String {
        let body = String(repeating: "\(indentation)    call()\n", count: lines - 2)
        return "\(indentation)package mutating func a() {\n\(body)\(indentation)}"
    }

    @Test func `sources keep the rules`() throws {
        let files = try PackageFiles.sources()
        #expect(files.count > 100)
        for file in files { #expect(Style.violations(in: file) == []) }
    }

    @Test func `tests are no longer than sources may be`() throws {
        for file in try PackageFiles.all(below: "Tests", ending: ".swift") {
            #expect(file.lines.count <= Style.maximumLines + 1, "\(file.path)")
        }
    }

    @Test func `tests have sentences as names`() throws {
        let files =
            try PackageFiles.all(below: "Tests", ending: ".swift") + PackageFiles.all(below: "Fuzz", ending: ".swift")
        for file in files { #expect(Style.namelessTests(in: file) == []) }
    }

    @Test func `documents and comments are in plain technical English`() throws {
        let manual = try PackageFiles.all(below: "docs/man", ending: "")
        let code = try ["Sources", "Tests", "Benchmarks", "Fuzz"].flatMap {
            try PackageFiles.all(below: $0, ending: ".swift")
        }
        let files = try PackageFiles.documents() + manual + code + PackageFiles.scripts()
        #expect(files.count > 400)
        for file in files { #expect(Language.violations(in: file) == []) }
    }

    // MARK: The rules notice

    @Test(arguments: [
        ("A.swift", "/// What is closed is the connection.", 1), ("A.swift", "// True. Who floods is closed.", 1),
        ("A.swift", "/// One in so\n/// many hits.", 1), ("A.swift", "/// It ends.", 1), ("A.swift", "/// Lease.", 1),
        ("A.swift", "/// The lease.\n///\n/// It ends.", 0), ("A.swift", "/// `besides` is a parameter.", 0),
        ("A.swift", "let it = \"What is that there isn't\"", 0), ("A.swift", "/// Whether the brain beats.", 2),
        ("a.md", "| `a` | What it is. |", 1), ("a.md", "- names that there aren't", 1),
        ("a.md", "```\nbesides\n```", 0),
        ("a.8", ".Nm besides", 0), ("a.8", "For so long", 1), ("scripts/a", "#!/bin/sh\n# A folder of its own.", 1),
        ("scripts/a", "# The hit rate of its own cache.", 0), ("A.swift", "/// Invalidations that are owed.", 1),
        ("A.swift", "/// A doubtful write.", 1),
    ])
    func `a sentence that must not come back`(path: String, text: String, count: Int) {
        #expect(Language.violations(in: TextFile(path: path, text: text)).count == count)
    }

    @Test(arguments: [
        ("@Te" + "st func itIsSo() {", 1), ("@Te" + "st(arguments: [1])\n    func itIsSo(_ number: Int) {", 1),
        ("@Test func `it is so`() {", 0), ("@Test(arguments: [1]) func `it is so`(_ number: Int) {", 0),
        ("@Test func `it is so`() {}\nprivate func helper() {", 0),
    ])
    func `a test without a sentence`(text: String, count: Int) {
        #expect(Style.namelessTests(in: TextFile(path: "A.swift", text: text)).count == count)
    }

    @Test(arguments: [
        "let x = 1 // TO" + "DO: later", "// FIX" + "ME", "let x = try" + "! y()", "fatal" + "Error(\"\")",
        "final class A: @unchecked Sendable {}", "/// What it is.\nfinal class A: @unchecked Sendable {}",
        "// Above, but not directly.\n\nnonisolated(unsafe) var a = 1", "let a = 1\nnonisolated(unsafe) var b = 1",
        String(repeating: "\n", count: 501), function(lines: 61), "struct A {\n\(function(lines: 61, "    "))\n}",
        "private static func a(\n    b: Int\n) {\n\(String(repeating: "    c()\n", count: 57))}",
        "init?() {\n\(String(repeating: "    c()\n", count: 59))}",
    ])
    func `what is not wanted`(text: String) {
        #expect(Style.violations(in: TextFile(path: "A.swift", text: text)).count == 1)
    }

    @Test(arguments: [
        "// Only one thread has it.\nfinal class A: @unchecked Sendable {}", "let x = try? y()",
        String(repeating: "\n", count: 500), "/// Instead of `@unchecked Sendable`.", function(lines: 60),
        function(lines: 40) + "\n\n" + function(lines: 40),
        "protocol A {\n    func a()\n\n\(function(lines: 60, "    "))\n}",
        "func a() { b() }\n\n\(function(lines: 60))",
    ])
    func `what is`(text: String) {
        #expect(Style.violations(in: TextFile(path: "A.swift", text: text)) == [])
    }
}
