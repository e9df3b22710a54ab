import Foundation
import TestSupport
import Testing

@testable import ProcessSupport

@Suite struct EnvironmentFileTests {
    private func lenient(_ text: String) throws -> [String: String] {
        try EnvironmentFile.parse(text, path: ".env", .keys { $0.hasPrefix("OURS") })
    }

    @Test(arguments: [
        ("A=1", "1"), ("A = 1 ", "1"), ("export A=1", "1"), ("export\tA = x y  # c", "x y"), ("A=x#y", "x#y"),
        ("A=", ""), ("A= # c", ""), ("A=''", ""), ("A=\"\"", ""), ("A=#c", ""), ("A=a=b", "a=b"),
        ("A='x # y' # c", "x # y"), ("A='it\\'s'", "it's"), ("A='\\n'", "\\n"), ("A='a\\\\b'", "a\\b"),
        ("A=\"a\\tb\\n\\\"c\\\" \\\\ \\x\"", "a\tb\n\"c\" \\ \\x"), ("A=\"it's\"", "it's"), ("A='\"'", "\""),
        ("A=\"-----BEGIN\nKEY=\n# not a comment\n-----END\"", "-----BEGIN\nKEY=\n# not a comment\n-----END"),
        ("A='one\r\ntwo'", "one\ntwo"), ("\u{feff}A=1\r\n", "1"), ("A=1\rB=2", "1"), ("A=it's", "it's"),
        ("A=\"x\"\nA=2", "2"), ("# A=2\n\n  A=1", "1"),
    ])
    func `a value is what python-dotenv reads`(text: String, value: String) throws {
        #expect(try EnvironmentFile.parse(text, path: "f")["A"] == value)
    }

    @Test(arguments: [
        "NODE_ENV", "not an assignment", "=1", "FOO.BAR=1", "my-key=1", "B=\"unterminated", "B='unterminated",
        "B=\"a\" b", "1B=2", "export", "é=1", "B=\"{\n  \\\"json\\\": [1]\n}\"", "B='\n\n'",
    ])
    func `what belongs to other programs is passed over`(other: String) throws {
        let values = try lenient("OURS_1=1\n\(other)\nOURS_2='2'\n")
        #expect(values["OURS_1"] == "1" && values["OURS_2"] == "2")
    }

    @Test(arguments: ["OURS=\"x", "OURS='x' y"]) func `a key of ours has to be readable`(line: String) {
        let error = #expect(throws: ConfigurationError.self) { try lenient("B=1\n\n\(line)\n") }
        #expect(error?.description.hasPrefix(".env, line 3: ") == true)
    }

    @Test(arguments: ["word", "=1", "A=\"x", "A='x' y", "1A=2", "A.B=1"])
    func `every line of a file of ours has to be one`(line: String) {
        let error = #expect(throws: ConfigurationError.self) {
            try EnvironmentFile.parse("B='\n\n'\n\(line)\n", path: "f")
        }
        #expect(error?.description.hasPrefix("f, line 4: ") == true)
    }

    /// Differential: files of random pieces, read by python-dotenv and here.
    @Test func `python-dotenv reads the same`() async throws {
        let directory = try TemporaryDirectory()
        var random = SystemRandomNumberGenerator()
        let pieces = [
            "A", "B", "=", "=", "\n", "\n", "A=", "\nB=", "\"", "\"", "'", "'", "\\", "\\n", "\\'", "\\\"", " ", "#",
            " # ", "\t", "\r\n", "export ", "é", "x y", "$B",
        ]
        let files = (0..<2000).map { _ in
            (0..<Int.random(in: 1...14, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }
                .joined()
        }
        let input = directory.path + "/files.json"
        try JSONEncoder().encode(files).write(to: URL(fileURLWithPath: input))
        let python = "\(Executables.packageFolder)/.build/servers/python/bin/python3"
        let finished = try await ChildProcess.run(python, ["-c", Self.program, input], environment: [:])
        try #require(finished.exit == .status(0), "\(finished): scripts/install-dependencies puts python-dotenv there")
        let theirs = try JSONDecoder().decode([[String: String]?].self, from: Data(finished.output.utf8))
        try #require(theirs.count == files.count)
        var compared = 0
        for (text, theirs) in zip(files, theirs) {
            // After a quote without an end Node goes on with the next line, as we do; python-dotenv with what follows the
            // next quote, wherever that is.
            guard let theirs else { continue }
            // Where a comment stands in the place of a value, Node reads nothing, as we do, and python-dotenv the comment.
            if theirs.values.contains(where: { $0.hasPrefix("#") }) { continue }
            // Only python-dotenv takes keys in quotes, even over several lines.
            if text.replacing("\r\n", with: "\n").contains(/(^|[\n\r]|export)\s*'/) { continue }
            let ours = try EnvironmentFile.parse(text, path: "f", .keys { _ in false })
            for key in ["A", "B"] { #expect(ours[key] == theirs[key], "\(key) of \(text.debugDescription)") }
            compared += 1
        }
        #expect(compared > files.count / 10)
    }

    private static let program = """
        import io, json, logging, sys
        from dotenv.parser import parse_stream
        logging.disable(logging.CRITICAL)
        def read(text):
            bindings = list(parse_stream(io.StringIO(text, newline=None)))
            if any(each.error for each in bindings): return None
            return {each.key: each.value for each in bindings if each.value is not None}
        print(json.dumps([read(text) for text in json.load(open(sys.argv[1]))]))
        """
}
