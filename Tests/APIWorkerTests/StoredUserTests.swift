import Testing

@testable import apiworker

/// docs/http-api.md, "Data": what is read from documents that other programs stored.
@Suite struct StoredUserTests {
    /// The JSON of a document; `nil`: it is passed over.
    private static func text(_ document: [UInt8]) -> String? {
        document.withUnsafeBytes { bytes in StoredUser(bytes).map { user in json { user.write(to: &$0) } } }
    }

    private static func text(_ document: BSONDocument) -> String? { text(document.encoded()) }

    /// A document of elements that are given as bytes: type, name and value of each.
    private static func document(_ elements: [(UInt8, String, [UInt8])]) -> [UInt8] {
        var content: [UInt8] = []
        for (type, name, value) in elements {
            content.append(type)
            content += name.utf8
            content.append(0)
            content += value
        }
        return length(content.count + 5) + content + [0]
    }

    private static func string(_ bytes: [UInt8]) -> [UInt8] { length(bytes.count + 1) + bytes + [0] }

    private static func length(_ count: Int) -> [UInt8] {
        withUnsafeBytes(of: Int32(truncatingIfNeeded: count).littleEndian) { [UInt8]($0) }
    }

    private static let id: (UInt8, String, [UInt8]) = (2, "_id", string([0x69]))

    /// A user with all fields neutral but for those given.
    private static func user(
        username: String = "", age: String = "0", hobbies: String = "", friends: String = "",
        createdAt: String = "1970-01-01T00:00:00.000Z", x: String = "0", y: String = "0"
    ) -> String {
        #"{"_id":"i","username":"\#(username)","age":\#(age),"hobbies":[\#(hobbies)],"friends":[\#(friends)],"#
            + #""createdAt":"\#(createdAt)","position":{"x":\#(x),"y":\#(y)}}"#
    }

    @Test func `a user as this program stores it`() {
        let user = User.named(
            "Ada", id: "i", age: 36, hobbies: ["a", "b"], friends: ["f"], createdAt: 1_763_884_800_123)
        #expect(
            Self.text(user.document)
                == Self.user(
                    username: "Ada", age: "36", hobbies: #""a","b""#, friends: #""f""#,
                    createdAt: "2025-11-23T08:00:00.123Z", x: "1", y: "2.5"))
    }

    @Test func `every type in place of every field`() {
        let values: [(UInt8, [UInt8])] = [
            (0x01, [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]), (0x02, Self.string([0x74])), (0x03, Self.document([])),
            (0x04, Self.document([])), (0x05, [1, 0, 0, 0, 0, 9]), (0x06, []), (0x07, [UInt8](repeating: 1, count: 12)),
            (0x08, [1]), (0x09, [1, 0, 0, 0, 0, 0, 0, 0]), (0x0a, []), (0x0b, [0x61, 0, 0x69, 0]),
            (0x0c, Self.string([0x61]) + [UInt8](repeating: 2, count: 12)), (0x0d, Self.string([0x61])),
            (0x0e, Self.string([0x61])), (0x0f, [15, 0, 0, 0] + Self.string([0x61]) + Self.document([])),
            (0x10, [2, 0, 0, 0]), (0x11, [UInt8](repeating: 3, count: 8)), (0x12, [3, 0, 0, 0, 0, 0, 0, 0]),
            (0x13, [UInt8](repeating: 4, count: 16)), (0x7f, []), (0xff, []),
        ]
        for (type, value) in values {
            func text(_ name: String) -> String? { Self.text(Self.document([(type, name, value), Self.id])) }
            let number = [0x01: "1", 0x10: "2", 0x12: "3"][type] ?? "0"
            #expect(text("username") == Self.user(username: type == 2 ? "t" : ""), "\(type)")
            #expect(text("age") == Self.user(age: number), "\(type)")
            for name in ["hobbies", "friends", "position", "more"] { #expect(text(name) == Self.user(), "\(type)") }
            let time = "1970-01-01T00:00:00.00\(type == 9 ? 1 : 0)Z"
            #expect(text("createdAt") == Self.user(createdAt: time), "\(type)")
            let inArray = Self.document([
                (4, "hobbies", Self.document([(type, "0", value), (type, "1", value)])), Self.id,
            ])
            #expect(Self.text(inArray) == Self.user(hobbies: type == 2 ? #""t","t""# : ""), "\(type)")
            let inPosition = Self.document([(3, "position", Self.document([(type, "y", value)])), Self.id])
            #expect(Self.text(inPosition) == Self.user(y: number), "\(type)")
            // Instead of the id: no user.
            let withoutID = Self.document([(type, "_id", value)])
            #expect((Self.text(withoutID) != nil) == (type == 2), "\(type)")
            for length in 0..<value.count {
                let cut = Self.document([Self.id, (type, "username", Array(value[..<length]))])
                #expect(Self.text(cut) == nil || length >= 4, "\(type), \(length) bytes")
            }
        }
    }

    @Test func `numbers and dates at their ends`() {
        for (number, text) in [
            (.double(1e300), "1e+300"), (.double(.nan), "null"), (.double(-.infinity), "null"), (.double(-0.0), "0"),
            (.double(0.1), "0.1"), (.int64(9_007_199_254_740_993), "9007199254740992"),
            (.int64(.max), "9.223372036854776e+18"), (.int64(.min), "-9223372036854775808"),
            (.int32(.min), "-2147483648"),
        ] as [(BSONValue, String)] {
            #expect(Self.text(["_id": .string("i"), "age": number]) == Self.user(age: text))
            let position = BSONValue.document(["y": number, "x": number])
            #expect(Self.text(["_id": .string("i"), "position": position]) == Self.user(x: text, y: text))
        }
        for (milliseconds, text) in [
            (-1, "1969-12-31T23:59:59.999Z"), (.min, "0001-01-01T00:00:00.000Z"), (.max, "9999-12-31T23:59:59.999Z"),
        ] as [(Int64, String)] {
            #expect(Self.text(["_id": .string("i"), "createdAt": .date(milliseconds)]) == Self.user(createdAt: text))
        }
    }

    @Test func `bytes that are not UTF-8 are replaced, and special characters escaped`() {
        let name: [UInt8] = [0xff, 0x22, 0x5c, 0x0a, 0x00, 0xc3, 0xa9, 0xed, 0xa0, 0x80]
        let texts = Self.document([(2, "0", Self.string(name)), (2, "1", Self.string([]))])
        let document = Self.document([
            (2, "username", Self.string(name)), (4, "hobbies", texts), (4, "friends", texts), Self.id,
        ])
        let text = #"\#u{fffd}\"\\\n\u0000é\#u{fffd}\#u{fffd}\#u{fffd}"#
        let list = #""\#(text)","""#
        #expect(Self.text(document) == Self.user(username: text, hobbies: list, friends: list))
        #expect(Self.text(Self.document([(2, "_id", Self.string([]))]))?.hasPrefix(#"{"_id":"","#) == true)
    }

    @Test func `the first field of a name counts, also if it is of another type`() {
        let one = BSONDocument(
            dictionaryLiteral: ("age", .int32(1)), ("age", .int32(2)), ("username", .int32(1)),
            ("username", .string("b")), ("hobbies", .null), ("hobbies", .array([.string("x")])), ("_id", .string("i")),
            ("_id", .int32(7)), ("position", .document(["x": .string("1"), "x": .int32(2), "y": .int32(3)])),
            ("position", .document(["x": .int32(4)])))
        #expect(Self.text(one) == Self.user(age: "1", y: "3"))
        #expect(Self.text(["_id": .int32(7), "_id": .string("i")]) == nil)
    }

    @Test func `deep and malformed documents`() {
        func nested(_ depth: Int) -> BSONDocument {
            (1..<depth).reduce([:]) { inner, _ in ["a": .document(inner)] }
        }
        #expect(Self.text(["_id": .string("i"), "more": .document(nested(199))]) == Self.user())
        #expect(Self.text(["_id": .string("i"), "more": .document(nested(200))]) == nil)
        let good = User.named("a", id: "i", hobbies: ["b"], friends: ["c"]).document.encoded()
        for length in 0..<good.count { #expect(Self.text(Array(good[..<length])) == nil) }
        for _ in 0..<5000 {
            var damaged = good
            damaged[Int.random(in: 0..<good.count)] = UInt8.random(in: 0...255)
            // Either result is right. The address sanitizer sees what is read.
            if let text = Self.text(damaged) {
                #expect((try? JSONValue.parse(text)) != nil || text.contains("\\u0000"))
            }
        }
    }

    @Test func `a copy has the same fields`() {
        let user = User.named("Ada", age: 36.5, hobbies: ["maths"], friends: ["f"], createdAt: -5)
        #expect(user.asStored(User.init) == user)
    }
}
