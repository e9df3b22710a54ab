import Testing

@testable import apiworker

/// docs/http-api.md, "Rules".
@Suite struct ValidationTests {
    private static func text(_ count: Int) -> String { String(repeating: "x", count: count) }

    // MARK: Each field

    @Test(arguments: [
        ("a", "a"), (" \t\n\u{a0}a b\r\n ", "a b"), (text(100), text(100)), ("  \(text(100))  ", text(100)),
        // A mark after a space belongs to the name.
        (" \u{301}a \u{301} ", "\u{301}a \u{301}"),
        (String(repeating: "é", count: 100), String(repeating: "é", count: 100)), ("Ada", "Ada"),
    ])
    func `a username`(given: String, stored: String) {
        #expect(UserRules.username(.string(given)) == stored)
    }

    @Test(arguments: [
        JSONValue.string(""), .string(" "), .string("\u{2003}\n"), .string(text(101)), .number(1), .null, .bool(true),
        .array([.string("a")]), .object(["$ne": .null]),
        .string("e" + String(repeating: "\u{301}", count: 100)),
    ])
    func `no username`(value: JSONValue) {
        #expect(UserRules.username(value) == nil)
    }

    @Test(arguments: [0.001, 1, 33, 33.5, 150, Double.leastNonzeroMagnitude])
    func `an age`(number: Double) {
        #expect(UserRules.age(.number(number)) == number)
    }

    @Test(arguments: [
        JSONValue.number(0), .number(-0.0), .number(-1), .number(150.000_001), .number(1e300), .number(.nan),
        .number(.infinity), .string("33"), .null, .bool(true), .array([]),
    ])
    func `no age`(value: JSONValue) {
        #expect(UserRules.age(value) == nil)
    }

    @Test(arguments: [
        ([], []), (["Chess", " GO "], ["chess", "go"]), (["a", "A", " a "], ["a"]), (["", " ", "a"], ["a"]),
        ([text(50)], [text(50)]), (["b", "a", "b"], ["b", "a"]), (["Ä", "ä"], ["ä"]),
    ])
    func `hobbies`(given: [String], stored: [String]) {
        #expect(UserRules.hobbies(.strings(given)) == stored)
    }

    @Test func `two spellings that look alike are two hobbies`() {
        let hobbies = UserRules.hobbies(.strings(["caf\u{e9}", "cafe\u{301}"]))
        #expect(hobbies?.map { Array($0.utf8).count } == [5, 6])
    }

    @Test func `as many hobbies as there may be`() {
        let many = (1...51).map { "h\($0)" }
        #expect(UserRules.hobbies(.strings(Array(many.prefix(50))))?.count == 50)
        #expect(UserRules.hobbies(.strings(many)) == nil)
        #expect(
            UserRules.hobbies(.strings(many.prefix(50) + ["", "h1", " H2 "]))?.count == 50, "these are dropped first")
    }

    @Test(arguments: [
        JSONValue.string("chess"), .null, .object([:]), .array([.number(1)]), .array([.string("a"), .null]),
        .array([.array([])]), .array([.string(text(51))]), .array([.string(String(repeating: "\u{301}", count: 51))]),
    ])
    func `no hobbies`(value: JSONValue) {
        #expect(UserRules.hobbies(value) == nil)
    }

    @Test func `a position is two numbers`() throws {
        #expect(UserRules.position(try JSONValue.parse(#"{"x":-1.5,"y":1e300,"z":0}"#)) == Position(x: -1.5, y: 1e300))
        for text in [#"{"x":1}"#, #"{"y":1}"#, #"{"x":1,"y":"1"}"#, #"{"x":null,"y":1}"#, "[1,2]", "1", "null"] {
            #expect(UserRules.position(try JSONValue.parse(text)) == nil, "\(text)")
        }
        for _ in 0..<100 {
            let position = Position.random()
            #expect((0...400).contains(position.x) && (0...400).contains(position.y))
        }
    }

    // MARK: Bodies

    @Test func `a creation takes three fields and ignores the others`() throws {
        let body = try JSONValue.parse(
            #"{"username":" Ada ","age":36,"hobbies":["Maths"],"_id":"x","friends":["y"],"createdAt":1,"position":7}"#)
        let new = try NewUser.validate(body)
        #expect(new == NewUser(username: "Ada", age: 36, hobbies: ["maths"]))
        let (one, other) = (new.user(atMilliseconds: 5), new.user(atMilliseconds: 5))
        #expect(one.friends == [] && one.createdAtMilliseconds == 5 && one.username == "Ada")
        #expect(UserID.isValid(one.id) && UserID.isValid(other.id) && one.id != other.id)
    }

    @Test(arguments: [
        ("{}", ["username", "age", "hobbies"]), (#"{"username":"a","age":1}"#, ["hobbies"]),
        (#"{"username":1,"age":"1","hobbies":1}"#, ["username", "age", "hobbies"]),
        (#"{"username":"a","age":151,"hobbies":[]}"#, ["age"]), ("[]", ["body"]), ("null", ["body"]), ("3", ["body"]),
        (#"{"Username":"a","age":1,"hobbies":[]}"#, ["username"]),
    ])
    func `what is wrong with a creation`(text: String, fields: [String]) throws {
        let body = try JSONValue.parse(text)
        let failure = #expect(throws: ValidationFailure.self) { _ = try NewUser.validate(body) }
        #expect(failure?.problems.map(\.field) == fields)
        #expect(failure?.problems.allSatisfy { !$0.rule.isEmpty } == true)
    }

    @Test func `a change takes what it names`() throws {
        #expect(try UserChange.validate(.object([:])).isEmpty)
        #expect(try UserChange.validate(JSONValue.parse(#"{"_id":1,"friends":[],"createdAt":null}"#)).isEmpty)
        let change = try UserChange.validate(JSONValue.parse(#"{"age":2,"position":{"x":0,"y":-0.5}}"#))
        #expect(change == UserChange(age: 2, position: Position(x: 0, y: -0.5)))
        let user = User.named("a", hobbies: ["b"], friends: ["c"])
        var expected = user
        (expected.age, expected.position) = (2, Position(x: 0, y: -0.5))
        #expect(change.applied(to: user) == expected)
        let all = try UserChange.validate(JSONValue.parse(#"{"username":"z","hobbies":[]}"#))
        #expect(all.applied(to: user).username == "z" && all.applied(to: user).hobbies == [])
    }

    @Test(arguments: [
        (#"{"age":null}"#, ["age"]), (#"{"username":""}"#, ["username"]), ("[]", ["body"]),
        (#"{"position":{"x":1},"hobbies":{},"age":0,"username":"  "}"#, ["username", "age", "hobbies", "position"]),
    ])
    func `what is wrong with a change`(text: String, fields: [String]) throws {
        let body = try JSONValue.parse(text)
        let failure = #expect(throws: ValidationFailure.self) { _ = try UserChange.validate(body) }
        #expect(failure?.problems.map(\.field) == fields)
    }

    // MARK: Ids

    @Test func `ids`() {
        let id = "0123abcd-4567-89ef-0123-456789abcdef"
        #expect(UserID.isValid(id))
        for text in [
            "", id.uppercased(), String(id.dropLast()), id + "0", id.replacing("-", with: ""),
            id.replacing("a", with: "g"),
            "{\(id.dropFirst().dropLast())}", id.replacing("-", with: "_"), "0123abcd-4567-89ef-0123-456789abcde\u{e9}",
        ] {
            #expect(!UserID.isValid(text), "\(text)")
        }
        for _ in 0..<50 {
            let bytes = Array(UserID.random().utf8)
            #expect(bytes[14] == UInt8(ascii: "4") && "89ab".utf8.contains(bytes[19]), "version 4, variant 1")
        }
    }
}
