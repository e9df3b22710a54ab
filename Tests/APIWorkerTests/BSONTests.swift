import Testing

@testable import apiworker

/// https://bsonspec.org/spec.html; the examples are from there.
@Suite struct BSONTests {
    private static func decode(_ bytes: [UInt8]) throws -> BSONDocument {
        try bytes.withUnsafeBytes { try BSONDocument.decode($0) }
    }

    private static func element(_ type: UInt8, _ value: [UInt8]) -> [UInt8] {
        [UInt8(truncatingIfNeeded: value.count + 8), 0, 0, 0, type, 0x61, 0] + value + [0]
    }

    @Test func `the examples of the specification`() throws {
        let hello: [UInt8] =
            [0x16, 0, 0, 0, 2] + Array("hello".utf8) + [0, 6, 0, 0, 0] + Array("world".utf8) + [0, 0]
        #expect(BSONDocument(dictionaryLiteral: ("hello", .string("world"))).encoded() == hello)
        #expect(try Self.decode(hello) == ["hello": .string("world")])
        let array: BSONDocument = ["BSON": .array([.string("awesome"), .double(5.05), .int32(1986)])]
        let bytes =
            [0x31, 0, 0, 0, 4] + Array("BSON".utf8) + [0, 0x26, 0, 0, 0, 2, 0x30, 0, 8, 0, 0, 0] + Array("awesome".utf8)
            + [0, 1, 0x31, 0, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x14, 0x40, 0x10, 0x32, 0, 0xc2, 0x07, 0, 0, 0, 0]
        #expect(array.encoded() == bytes)
        #expect(try Self.decode(bytes) == array)
    }

    @Test func `what is written is read as the same`() throws {
        let document: BSONDocument = [
            "double": .double(-0.5), "string": .string("é\u{0}😀"), "empty": .string(""), "true": .bool(true),
            "false": .bool(false), "date": .date(-1), "null": .null, "int32": .int32(.min), "int64": .int64(.max),
            "timestamp": .timestamp(MongoTime(seconds: .max, increment: 1)),
            "document": .document(["a": .document([:])]), "array": .array([.array([]), .null]), "": .int32(0),
        ]
        #expect(try Self.decode(document.encoded()) == document)
        #expect(try Self.decode(BSONDocument().encoded()) == [:])
    }

    @Test func `what nobody looks at is passed over`() throws {
        let text: [UInt8] = [2, 0, 0, 0, 0x78, 0]
        let values: [(UInt8, [UInt8])] = [
            (0x05, [3, 0, 0, 0, 0x80, 1, 2, 3]), (0x06, []), (0x07, [UInt8](repeating: 1, count: 12)),
            (0x0b, Array("a\0i\0".utf8)), (0x0c, text + [UInt8](repeating: 2, count: 12)), (0x0d, text), (0x0e, text),
            (0x0f, [15, 0, 0, 0] + text + [5, 0, 0, 0, 0]),
            (0x13, [UInt8](repeating: 4, count: 16)), (0x7f, []), (0xff, []),
        ]
        for (type, value) in values {
            #expect(try Self.decode(Self.element(type, value)) == ["a": .other], "\(type)")
            for shorter in 0..<value.count {
                #expect(throws: MalformedBSON.self, "\(type)") {
                    try Self.decode(Self.element(type, Array(value[..<shorter])))
                }
            }
        }
    }

    @Test func `lengths are not trusted`() throws {
        let good = BSONDocument(dictionaryLiteral: ("a", .string("b")), ("c", .document(["d": .int32(1)]))).encoded()
        for length in 0..<good.count {
            #expect(throws: MalformedBSON.self) { try Self.decode(Array(good[..<length])) }
        }
        for length: [UInt8] in [[0xff, 0xff, 0xff, 0x7f], [0xff, 0xff, 0xff, 0xff], [4, 0, 0, 0], [0, 0, 0, 0x80]] {
            #expect(throws: MalformedBSON.self) { try Self.decode(length + good.dropFirst(4)) }
            #expect(throws: MalformedBSON.self) { try Self.decode(Self.element(2, length + [0x78, 0])) }
            #expect(throws: MalformedBSON.self) { try Self.decode(Self.element(3, length + [0])) }
            #expect(throws: MalformedBSON.self) { try Self.decode(Self.element(5, length + [0, 0])) }
        }
        #expect(throws: MalformedBSON.self) { try Self.decode(Self.element(2, [2, 0, 0, 0, 0x78, 0x79])) }
        #expect(throws: MalformedBSON.self) { try Self.decode(Self.element(0x20, [])) }
    }

    @Test func `200 levels at most`() throws {
        func nested(_ depth: Int) -> BSONDocument {
            (1..<depth).reduce([:]) { inner, _ in ["a": .document(inner)] }
        }
        #expect(try Self.decode(nested(200).encoded()) == nested(200))
        #expect(throws: MalformedBSON.self) { try Self.decode(nested(201).encoded()) }
    }

    @Test func `damaged documents`() throws {
        let good = User.named("a", hobbies: ["b"], friends: ["c"]).document.encoded()
        var readable = 0
        for _ in 0..<5000 {
            var damaged = good
            damaged[Int.random(in: 0..<good.count)] = UInt8.random(in: 0...255)
            if (try? Self.decode(damaged)) != nil { readable += 1 }
        }
        #expect(readable > 0 && readable < 5000)
    }

    @Test func `bytes that are not UTF-8 are replaced`() throws {
        #expect(try Self.decode(Self.element(2, [3, 0, 0, 0, 0xff, 0x78, 0])) == ["a": .string("\u{fffd}x")])
    }

    @Test func `a NUL ends no name or pattern early`() throws {
        let document: BSONDocument = ["a\u{0}$where": .regularExpression("x\u{0}y")]
        #expect(try Self.decode(document.encoded()) == ["a": .other])
        #expect(document.encoded().count == 4 + 1 + 2 + 2 + 2 + 1)
    }

    // MARK: Numbers

    @Test(
        arguments: [
            (33, .int32(33)), (-1, .int32(-1)), (0.5, .double(0.5)), (2_147_483_647, .int32(.max)),
            (2_147_483_648, .double(2_147_483_648)), (1e300, .double(1e300)), (-0.0, .int32(0)),
        ] as [(Double, BSONValue)])
    func `numbers as JavaScript stores them`(number: Double, value: BSONValue) {
        #expect(BSONValue.number(number) == value)
        #expect(value.number == number)
    }

    @Test func `whole numbers of any type`() {
        #expect(BSONValue.double(3).integer == 3 && BSONValue.int32(3).integer == 3 && BSONValue.int64(3).integer == 3)
        #expect(BSONValue.double(3.5).integer == nil && BSONValue.double(1e300).integer == nil)
        #expect(BSONValue.double(.nan).integer == nil && BSONValue.string("3").integer == nil)
        #expect(BSONValue.string("3").number == nil && BSONValue.int64(3).number == 3)
    }

    // MARK: Users

    @Test func `a user goes there and back`() throws {
        let user = User.named("Ada", age: 36.5, hobbies: ["maths"], friends: ["f"], createdAt: 1_763_884_800_123)
        #expect(User(try Self.decode(user.document.encoded())) == user)
        #expect(
            user.document.fields.map(\.name) == [
                "_id", "username", "age", "hobbies", "friends", "createdAt", "position",
            ])
    }

    @Test func `what is missing or of another type has a neutral value`() {
        let neutral = User(
            id: "i", username: "", age: 0, hobbies: [], friends: [], createdAtMilliseconds: 0,
            position: Position(x: 0, y: 0))
        #expect(User(["_id": .string("i")]) == neutral)
        let odd: BSONDocument = [
            "_id": .string("i"), "username": .int32(1), "age": .string("1"), "hobbies": .string("x"), "friends": .null,
            "createdAt": .string("2020"), "position": .array([]), "more": .other,
        ]
        #expect(User(odd) == neutral)
        #expect(User(["_id": .string("i"), "hobbies": .array([.int32(1), .string("x"), .null])])?.hobbies == ["x"])
        #expect(User(["_id": .string("i"), "position": .document(["x": .int64(4)])])?.position == Position(x: 4, y: 0))
        #expect(User([:]) == nil && User(["_id": .other]) == nil && User(["_id": .int32(1)]) == nil)
    }

    @Test func `a change sets what it names`() {
        #expect(UserChange().fields == [:])
        let change = UserChange(username: "a", age: 1, hobbies: ["b"], position: Position(x: 1, y: 0.5))
        #expect(
            change.fields == [
                "username": .string("a"), "age": .int32(1), "hobbies": .array([.string("b")]),
                "position": .document(["x": .int32(1), "y": .double(0.5)]),
            ])
        #expect(UserChange(hobbies: []).fields == ["hobbies": .array([])])
    }
}
