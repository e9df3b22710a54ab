import NIOCore
import Testing

@testable import apiworker

/// Bodies of requests: RFC 8259 and nothing else.
@Suite struct JSONValueTests {
    @Test(
        arguments: [
            ("null", .null), (" \t\r\ntrue\n", .bool(true)), ("false", .bool(false)), ("0", .number(0)),
            ("-0", .number(-0.0)), ("-12.5e-1", .number(-1.25)), ("1E+2", .number(100)), ("0e0", .number(0)),
            ("1e-400", .number(0)), ("9007199254740993", .number(9_007_199_254_740_992)), ("\"\"", .string("")),
            ("[]", .array([])), ("[ ]", .array([])), ("{}", .object([])), ("{ }", .object([])),
            ("[1,[2],{\"a\":[]}]", .array([.number(1), .array([.number(2)]), .object(["a": .array([])])])),
            (#"{"a":1,"b":{"a":2}}"#, .object(["a": .number(1), "b": .object(["a": .number(2)])])),
            (#""\"\\\/\b\f\n\r\t""#, .string("\"\\/\u{8}\u{c}\n\r\t")), (#""\u00e9\u20AC""#, .string("é€")),
            (#""\ud83d\ude00""#, .string("😀")), ("\"😀\u{7f}\u{2028}\"", .string("😀\u{7f}\u{2028}")),
            (#""\u0001""#, .string("\u{1}")),
        ] as [(String, JSONValue)])
    func `what is JSON`(text: String, value: JSONValue) throws {
        #expect(try JSONValue.parse(text) == value)
    }

    @Test(arguments: [
        "", " ", "nul", "nulls", "True", "undefined", "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".5", "1.e1",
        "1e", "1e+", "0x1", "1_000", "1e400", "-1e400", "--1", "1 2", "{} {}", "[1,]", "[,1]", "[1 2]", "[", "]", "[1",
        "{", "}", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, "{a:1}", "{'a':1}", "{1:1}", #"{"a":1 "b":2}"#, #"{"a" 1}"#,
        #"{,"a":1}"#, "\"", "\"a", #""\"#, #""\x""#, #""\u12""#, #""\u12G4""#, #""\u+123""#, "'a'", "\"a\nb\"",
        "\"\t\"",
        "\u{feff}{}", "// a\n{}", "{}/**/", "\u{a0}1", #"{"a":1,"a":2}"#, #"{"a":1,"\u0061":2}"#,
    ])
    func `what is not`(text: String) {
        #expect(throws: MalformedJSON.self) { try JSONValue.parse(text) }
    }

    @Test(arguments: [
        #""\u0000""#, #"{"a\u0000b":1}"#, #""\ud800""#, #""\udc00""#, #""\ud800x""#, #""\ud800\n""#, #""\ud83d\ud83d""#,
        #""\ude00\ud83d""#, #""\ud83d\u0041""#, #""\ud83d\u""#,
    ])
    func `NUL and half a surrogate are refused`(text: String) {
        #expect(throws: MalformedJSON.self) { try JSONValue.parse(text) }
    }

    @Test(
        arguments: [
            [0x80], [0xc3], [0xc3, 0x28], [0xc0, 0xaf], [0xe0, 0x80, 0xaf], [0xed, 0xa0, 0x80],
            [0xf4, 0x90, 0x80, 0x80],
            [0xf8, 0x88, 0x80, 0x80, 0x80], [0xff], [0x00],
        ] as [[UInt8]])
    func `bytes that are not UTF-8`(bytes: [UInt8]) {
        #expect(throws: MalformedJSON.self) { try JSONValue.parse([0x22] + bytes + [0x22]) }
        #expect(throws: MalformedJSON.self) { try JSONValue.parse(bytes) }
    }

    @Test func `32 levels and not one more`() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try JSONValue.parse(nested(32))
        #expect(throws: MalformedJSON.self) { try JSONValue.parse(nested(33)) }
        let objects = String(repeating: #"{"a":"#, count: 33) + "1" + String(repeating: "}", count: 33)
        #expect(throws: MalformedJSON.self) { try JSONValue.parse(objects) }
        #expect(throws: MalformedJSON.self) { try JSONValue.parse(String(repeating: "[", count: 1_000_000)) }
    }

    @Test func `1024 members and not one more`() throws {
        func object(_ count: Int) -> String {
            "{" + (0..<count).map { "\"\($0)\":0" }.joined(separator: ",") + "}"
        }
        _ = try JSONValue.parse(object(1024))
        #expect(throws: MalformedJSON.self) { try JSONValue.parse(object(1025)) }
    }

    @Test func `names are compared byte by byte`() throws {
        #expect(
            try JSONValue.parse("{\"\u{e9}\":1,\"e\u{301}\":2}")
                == .object(["\u{e9}": .number(1), "e\u{301}": .number(2)]))
    }

    @Test func `as much as a body may have is read in time that grows with it`() throws {
        let bytes = 1 << 20
        for text in [
            "\"\(String(repeating: "a", count: bytes))\"", String(repeating: "1", count: 300),
            "[" + String(repeating: "0,", count: bytes / 2) + "0]", "0." + String(repeating: "1", count: bytes),
            "\"" + String(repeating: "\\u00e9", count: bytes / 6) + "\"",
        ] {
            let begin = ContinuousClock.now
            _ = try JSONValue.parse(text)
            // Something quadratic takes minutes.
            #expect(ContinuousClock.now - begin < .seconds(20), "\(text.prefix(10))")
        }
    }

    @Test func `a member by its name`() throws {
        let object = try JSONValue.parse(#"{"a":1,"b":null}"#)
        #expect(object["a"] == .number(1) && object["b"] == .null && object["c"] == nil)
        #expect(JSONValue.string("a")["a"] == nil && JSONValue.array([])["0"] == nil)
    }

    /// Whatever is cut off or changed, it is refused or read, and nothing else happens.
    @Test func `damaged bodies`() throws {
        let body = Array(#"{"username":"A\u00e9\ud83d\ude00","age":1.5e1,"hobbies":["x",[null,true]]}"#.utf8)
        for length in 0..<body.count {
            #expect(throws: MalformedJSON.self) { try JSONValue.parse(Array(body[..<length])) }
        }
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<5000 {
            var damaged = body
            damaged[Int.random(in: 0..<body.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            if let value = try? JSONValue.parse(damaged), case .object(let members) = value {
                #expect(members.count <= 3, "\(damaged)")
            }
        }
    }
}
