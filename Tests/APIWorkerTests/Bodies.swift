import NIOCore

@testable import apiworker

extension JSONValue {
    /// Parses a text, as a request's body is.
    static func parse(_ text: String) throws(MalformedJSON) -> JSONValue { try parse(ByteBuffer(string: text)) }

    static func parse(_ bytes: [UInt8]) throws(MalformedJSON) -> JSONValue { try parse(ByteBuffer(bytes: bytes)) }

    static func strings(_ texts: [String]) -> JSONValue { .array(texts.map(JSONValue.string)) }

    static func object(_ members: KeyValuePairs<String, JSONValue>) -> JSONValue {
        .object(members.map { Member(name: $0.key, value: $0.value) })
    }
}

/// The JSON that `write` writes.
func json(_ write: (inout JSONWriter) -> Void) -> String {
    var writer = JSONWriter()
    write(&writer)
    return String(buffer: writer.buffer)
}

extension User {
    /// A user whose fields don't matter but for those given.
    static func named(
        _ name: String, id: String? = nil, age: Double = 30, hobbies: [String] = [], friends: [String] = [],
        createdAt: Int64 = 0
    ) -> User {
        User(
            id: id ?? name, username: name, age: age, hobbies: hobbies, friends: friends,
            createdAtMilliseconds: createdAt, position: Position(x: 1, y: 2.5))
    }
}

extension User {
    /// Reads the user in place, as it would be stored.
    func asStored<Result>(_ body: (StoredUser) throws -> Result) rethrows -> Result? {
        try document.encoded().withUnsafeBytes { try StoredUser($0).map(body) }
    }
}
