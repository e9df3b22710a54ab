import Testing

/// What the compiler and the formatter don't check.
@Suite struct StyleTests {
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

    // MARK: The rules notice

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
        String(repeating: "\n", count: 501),
    ])
    func `what is not wanted`(text: String) {
        #expect(Style.violations(in: TextFile(path: "A.swift", text: text)).count == 1)
    }

    @Test(arguments: [
        "// Only one thread has it.\nfinal class A: @unchecked Sendable {}", "let x = try? y()",
        String(repeating: "\n", count: 500), "/// Instead of `@unchecked Sendable`.",
    ])
    func `what is`(text: String) {
        #expect(Style.violations(in: TextFile(path: "A.swift", text: text)) == [])
    }
}
