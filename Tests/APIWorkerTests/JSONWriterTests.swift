import NIOCore
import Notation
import TestSupport
import Testing

@testable import apiworker

@Suite struct JSONWriterTests {
    @Test(
        arguments: [
            (0, "0"), (-0.0, "0"), (1, "1"), (-33, "-33"), (33.5, "33.5"), (0.1, "0.1"), (1e15, "1000000000000000"),
            (9_007_199_254_740_991, "9007199254740991"), (9_007_199_254_740_992, "9007199254740992"),
            (-9_007_199_254_740_992, "-9007199254740992"), (18_014_398_509_481_982, "18014398509481982"),
            (1e300, "1e+300"), (.leastNonzeroMagnitude, "5e-324"), (.nan, "null"), (.infinity, "null"),
            (-.infinity, "null"),
        ] as [(Double, String)])
    func `a number without a fraction has no decimal point`(number: Double, text: String) {
        #expect(json { $0.value(number) } == text)
    }

    @Test(arguments: [
        ("", #""""#), ("a\"b\\c/", #""a\"b\\c/""#), ("\n\r\t", #""\n\r\t""#),
        ("\u{0}\u{1}\u{8}\u{c}\u{1f}", #""\u0000\u0001\u0008\u000c\u001f""#),
        ("\u{7f}é😀\u{2028}", "\"\u{7f}é😀\u{2028}\""),
        ("</script>", #""</script>""#), ("\"", #""\"""#),
    ])
    func `texts`(text: String, written: String) throws {
        #expect(json { $0.value(text) } == written)
    }

    @Test func `what is written is read as the same`() throws {
        for scalar in (1...0x2100).compactMap(UnicodeScalar.init) {
            let text = "a\(Character(scalar))b"
            let read = try JSONValue.parse(json { $0.value(text) })
            guard case .string(let same) = read else { throw TestFailure("\(scalar)") }
            #expect(Array(same.utf8) == Array(text.utf8))
        }
        for _ in 0..<2000 {
            let number = Double(bitPattern: UInt64.random(in: 0...UInt64.max))
            guard number.isFinite else { continue }
            #expect(try JSONValue.parse(json { $0.value(number) }) == .number(number))
        }
    }

    @Test func `commas stand between values only`() {
        let text = json { writer in
            writer.object { writer in
                writer.field("a", 1)
                writer.name("b")
                writer.array { writer in
                    writer.object { _ in }
                    writer.array { _ in }
                    writer.value("x")
                    writer.value(true)
                }
                writer.name("c")
                writer.value(["x", "y"])
                writer.name("d")
                writer.value([])
                writer.field("e", false)
                writer.name("f")
                writer.object { $0.field("g", 0.5) }
                writer.field("h", "i\"")
            }
        }
        #expect(text == #"{"a":1,"b":[{},[],"x",true],"c":["x","y"],"d":[],"e":false,"f":{"g":0.5},"h":"i\""}"#)
    }

    @Test func `a user has exactly the fields of the schema`() {
        let user = User.named(
            "Ada", id: "i", age: 36, hobbies: ["maths"], friends: ["f"], createdAt: 1_763_884_800_123)
        #expect(
            json(user.write)
                == #"{"_id":"i","username":"Ada","age":36,"hobbies":["maths"],"friends":["f"],"createdAt":"2025-11-23T08:00:00.123Z","position":{"x":1,"y":2.5}}"#
        )
    }

    @Test func `bytes that are not UTF-8 are replaced`() {
        for (bytes, text) in [
            ([0xff], "\u{fffd}"), ([0x61, 0xc3], "a\u{fffd}"), ([0xed, 0xa0, 0x80], "\u{fffd}\u{fffd}\u{fffd}"),
        ]
            as [([UInt8], String)]
        {
            #expect(json { writer in bytes.withUnsafeBytes { writer.value($0) } } == "\"\(text)\"")
        }
    }

    @Test func `every length, and an escape at every place`() throws {
        for length in 0...40 {
            let plain = [UInt8](repeating: UInt8(ascii: "x"), count: length)
            #expect(
                json { writer in plain.withUnsafeBytes { writer.value($0) } }
                    == "\"\(String(repeating: "x", count: length))\"")
            for place in 0..<length {
                for special in [0x00, 0x1f, 0x22, 0x5c, 0x80, 0xff] as [UInt8] {
                    var text = plain
                    text[place] = special
                    let written = json { writer in text.withUnsafeBytes { writer.value($0) } }
                    #expect(written == JSONString.quoted(String(decoding: text, as: UTF8.self)))
                }
            }
        }
        let long = String(repeating: "é\"", count: 10_000)
        #expect(json { $0.value(long) } == JSONString.quoted(long))
    }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"), (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"), (.max, "9999-12-31T23:59:59.999Z"),
            (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"), (.min, "0001-01-01T00:00:00.000Z"),
        ] as [(Int64, String)])
    func `dates`(milliseconds: Int64, text: String) {
        #expect(UTCDate(millisecondsSince1970: milliseconds).iso8601 == text)
    }
}
