import Testing

/// Tags say what a suite needs (Tests/Support/Tags.swift), and `make test` runs a suite in the stage of its tag.
@Suite struct SuiteTests {
    /// Suites that start a process and have no tag, with the reason.
    private static let withoutTag = [
        "EnvironmentFileTests": "Python runs once, for a moment, and no time is measured",
        "OpenAPITests": "Python runs once, for a moment, and no time is measured",
    ]

    private static func files() throws -> [TextFile] { try PackageFiles.all(below: "Tests", ending: ".swift") }

    /// Violations of the rule that a suite which starts processes has a tag.
    private static func untagged(_ files: [TextFile]) -> [String] {
        let starting = Suites.starting(files)
        // The tests of rules have code as texts.
        return files.filter { !$0.path.hasPrefix("Tests/ArchitectureTests/") }.flatMap { file in
            Suites.declared(in: file).filter {
                $0.tags.isEmpty && ($0.hasProcesses || starting.contains(file.path)) && withoutTag[$0.name] == nil
            }.map { "\(file.path): \($0.name) starts servers or processes and needs a tag of Tests/Support/Tags.swift" }
        }
    }

    @Test func `a suite that starts servers or processes has a tag`() throws {
        let untagged = Self.untagged(try Self.files())
        #expect(untagged == [])
    }

    @Test func `a suite has one tag at most, and it has a stage`() throws {
        let script = try TextFile("scripts/test").text
        let stages = script.matches(of: /(?m)^stage '[^']+' (\w+)/).map { String($0.1) }
        let tags = try TextFile("Tests/Support/Tags.swift").text.matches(of: /@Tag package static var (\w+)/)
            .map { String($0.1) }
        #expect(stages.sorted() == (tags + ["none"]).sorted())
        let suites = try Self.files().flatMap(Suites.declared)
        #expect(suites.count > 100)
        for suite in suites { #expect(suite.tags.count <= 1, "\(suite.name)") }
        #expect(Set(suites.flatMap(\.tags)) == Set(tags))
    }

    @Test func `every test and every tag is where scripts/suites looks for it`() throws {
        for file in try Self.files() {
            #expect(Suites.strayTests(in: file) == [])
            let suites = Suites.declared(in: file)
            #expect(suites.isEmpty || file.path.split(separator: "/").count == 3, "\(file.path) is in a deeper folder")
        }
        // The fuzzer's inputs only compute, and the script does not read their suite.
        for file in try PackageFiles.all(below: "Fuzz", ending: ".swift") {
            let tags = Suites.declared(in: file).flatMap(\.tags)
            #expect(tags == [], "\(file.path)")
        }
    }

    @Test func `a test that waits for its turn has no limit of time that counts the wait`() throws {
        for file in try Self.files() where !file.path.hasPrefix("Tests/ArchitectureTests/") {
            let waits = Suites.declared(in: file).contains(where: \.hasProcesses)
            #expect(!(waits && file.text.contains(".timeLimit(")), "\(file.path): use .processes(limit:)")
        }
    }

    // MARK: The rules notice

    @Test(arguments: [
        ("@Suite struct ATests {\n    let redis = RedisServer()\n}", 1),
        ("@Suite struct ATests {\n    let scene: Scene\n}", 1), ("@Suite(.processes) struct ATests {\n}", 1),
        ("@Suite(\n    .processes,\n    .serialized)\nstruct ATests {\n}", 1),
        ("@Suite struct ATests {\n}\n\n@Suite(.tags(.servers)) struct BTests {\n    let redis = RedisServer()\n}", 1),
        ("@Suite(.tags(.servers), .processes) struct ATests {\n    let redis = RedisServer()\n}", 0),
        ("@Suite struct ATests {\n    // Without a RedisServer.\n    let redisServer = 1\n}", 0),
        ("@Suite struct ATests {\n    let other: OtherScene\n}", 0),
    ])
    func `a suite without its tag`(text: String, count: Int) {
        let files = [
            TextFile(path: "Tests/ATests/ATests.swift", text: text),
            TextFile(path: "Tests/ATests/Scene.swift", text: "struct Scene {\n    let redis: RedisServer\n}"),
            TextFile(path: "Tests/BTests/OtherScene.swift", text: "struct OtherScene {\n    let a: RedisServer\n}"),
            TextFile(
                path: "Tests/Support/RedisServer.swift",
                text: "package final class RedisServer {\n    let spawner = ProcessSpawner()\n}"),
        ]
        #expect(Self.untagged(files).count == count)
    }

    @Test func `tags in all their forms`() {
        let text = """
            @Suite struct ATests {
            @Suite(.tags(.servers), .processes) struct BTests {
            @Suite(
                .serialized,
                .tags(.wholeMachine), .tags(.servers))
            struct CTests {
            """
        #expect(
            Suites.declared(in: TextFile(path: "A.swift", text: text)) == [
                Suites.Suite(name: "ATests", tags: [], hasProcesses: false),
                Suites.Suite(name: "BTests", tags: ["servers"], hasProcesses: true),
                Suites.Suite(name: "CTests", tags: ["wholeMachine", "servers"], hasProcesses: false),
            ])
    }

    @Test(arguments: [
        ("struct ATests {\n    @Test func `a`() {}\n}", 1), ("@Test func `a`() {}", 1),
        ("@Suite struct ATests {\n    @Test func `a`() {}\n}\n\nextension ATests {\n    @Test func `b`() {}\n}", 1),
        ("@Suite(\n    .serialized)\nstruct ATests {\n    @Test func `a`() {}\n}", 0),
    ])
    func `a test whose suite is not found`(text: String, count: Int) {
        #expect(Suites.strayTests(in: TextFile(path: "A.swift", text: text)).count == count)
    }
}
