import IPCTesting
import NIOCore
import Testing

@testable import SyncCore

/// Reading the wanted fields of what some other program has published.
@Suite struct JSONFieldsTests {
    private func fields(_ text: String, _ names: String...) -> [String] {
        JSONFields(.text(text), names: names.map { .text($0) }).found.map {
            "\(String(buffer: $0.name))=\(String(buffer: $0.value))"
        }
    }

    private func isWellFormed(_ text: String) -> Bool { JSONFields(.text(text), names: []).isWellFormed }

    @Test func `strings numbers and arrays of them are found`() {
        #expect(fields(#"{"userId":"u1","timestamp":17,"x":true}"#, "userId") == ["userId=u1"])
        #expect(
            fields(#" { "userId" : 42 , "friendId" : -1.5e3 } "#, "userId", "friendId") == [
                "userId=42", "friendId=-1.5e3",
            ])
        #expect(fields(#"{"tags":["a",7,"c"]}"#, "tags") == ["tags=a", "tags=7", "tags=c"])
    }

    @Test func `other types and deeper values are not`() {
        #expect(fields(#"{"a":null,"b":true,"c":{"a":"x"},"d":[["a"],{"a":"y"}]}"#, "a", "b", "c", "d") == [])
        #expect(isWellFormed(#"{"a":null,"b":true,"c":{"a":"x"},"d":[["a"],{"a":"y"}]}"#))
    }

    @Test func `fields of other types are named`() {
        func unusable(_ text: String) -> [String] {
            JSONFields(.text(text), names: ["a", "b"].map { .text($0) }).unusable.map { String(buffer: $0) }
        }
        #expect(unusable(#"{"a":"x","b":[1,"y"],"c":{}}"#) == [])
        #expect(unusable(#"{"a":null,"b":[]}"#) == [], "absent")
        #expect(unusable(#"{"a":{"b":true},"b":[null]}"#) == ["a", "b"])
        #expect(unusable(#"{"a":true,"b":[[]]}"#) == ["a", "b"])
        #expect(unusable(#"{"a":["x",{}],"a":false}"#) == ["a"])
    }

    @Test func `an object in a string is read`() {
        #expect(fields(#""{\"a\":[\"x\",1]}""#, "a") == ["a=x", "a=1"])
        #expect(isWellFormed(#" "{}" "#))
        #expect(!isWellFormed(#""{}" x"#) && !isWellFormed(#""\"{}\"""#) && !isWellFormed(#""{}"#))
    }

    @Test func `every one of duplicate fields counts`() {
        #expect(fields(#"{"userId":"a","userId":"b"}"#, "userId") == ["userId=a", "userId=b"])
    }

    @Test func `escapes are undone`() {
        #expect(fields(#"{"us\u0065rId":"\"\\\/\b\f\n\r\t"}"#, "userId") == ["userId=\"\\/\u{8}\u{c}\n\r\t"])
        #expect(fields(#"{"a":"\u00e9\u20AC\ud83d\ude00"}"#, "a") == ["a=é€😀"])
        let zero = JSONFields(.text(#"{"a":"x\u0000y"}"#), names: [.text("a")])
        #expect(zero.values(of: .text("a")) == [ByteBuffer(bytes: [0x78, 0, 0x79])])
    }

    @Test func `bytes that are no text stay as they are`() {
        var text = ByteBuffer(string: #"{"a":""#)
        text.writeBytes([0xff, 0xc3])
        text.writeString(#""}"#)
        #expect(JSONFields(text, names: [.text("a")]).values(of: .text("a")) == [ByteBuffer(bytes: [0xff, 0xc3])])
    }

    @Test(arguments: [
        "", " ", "{", "}", "null", "7", "[]", #""x""#, "{}x", "{} {}", "{,}", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#,
        #"{"a":1 "b":2}"#, #"{a:1}"#, #"{'a':1}"#, #"{"a":[1,]}"#, #"{"a":[}"#, #"{"a":01}"#, #"{"a":+1}"#,
        #"{"a":1.}"#,
        #"{"a":.5}"#, #"{"a":1e}"#, #"{"a":-}"#, #"{"a":NaN}"#, #"{"a":tru}"#, #"{"a":"x}"#, #"{"a":"\x"}"#,
        #"{"a":"\u12"}"#, #"{"a":"\ud800"}"#, #"{"a":"\ud800\u0041"}"#, #"{"a":"\udc00"}"#, "{\"a\":\"\n\"}",
        "\u{feff}{}", "{\"a\":1}\0",
    ])
    func `what is no JSON object is said to be`(_ text: String) {
        #expect(!isWellFormed(text))
    }

    @Test(arguments: ["{}", "{ }", #"{"":""}"#, #"{"a":0,"b":-0.0e-1,"c":1E+9}"#, "\t\r\n {\"a\" : [ ] } \n"])
    func `what is one is said to be`(_ text: String) {
        #expect(isWellFormed(text))
    }

    @Test func `depth is bounded`() {
        func nested(_ depth: Int) -> String {
            #"{"a":"# + String(repeating: "[", count: depth - 1) + String(repeating: "]", count: depth - 1) + "}"
        }
        #expect(isWellFormed(nested(JSONFields.maximumDepth)))
        #expect(!isWellFormed(nested(JSONFields.maximumDepth + 1)))
        #expect(!isWellFormed(nested(500_000)))
    }

    @Test func `every prefix is malformed and none traps`() {
        let text = ByteBuffer(
            string: #"{"tags":["a\u00e9\ud83d\ude00",-1.5e+3,{"x":[null,true,false]}],"pattern":"users:*"}"#)
        for length in 0..<text.readableBytes {
            #expect(text.getSlice(at: 0, length: length).map { JSONFields($0, names: []).isWellFormed } == false)
        }
        #expect(JSONFields(text, names: []).isWellFormed)
    }

    @Test func `any bytes end in an answer`() {
        var random = SeededRandom(seed: 3)
        let pieces = Array(#"{}[]",:\u0d8e1-+.tfn "#.utf8) + [0, 0xff]
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...24, using: &random)).map { _ in
                pieces[Int.random(in: 0..<pieces.count, using: &random)]
            }
            let fields = JSONFields(ByteBuffer(bytes: bytes), names: [ByteBuffer()])
            #expect(fields.found.count <= bytes.count)
        }
    }
}
