/// The position of a user on the page that draws the graph.
struct Position: Sendable, Equatable {
    var x: Double
    var y: Double

    /// A random point in 0…400 by 0…400.
    static func random() -> Position {
        Position(x: Double.random(in: 0...400).rounded(), y: Double.random(in: 0...400).rounded())
    }
}

/// A user as it is stored.
struct User: Sendable, Equatable {
    /// A UUID in lower case.
    var id: String
    var username: String
    var age: Double
    var hobbies: [String]
    /// Ids of the users that this one is linked to; each of them has this one's id, too.
    var friends: [String]
    /// Milliseconds since 1970.
    var createdAtMilliseconds: Int64
    var position: Position
}

extension Position {
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("x", x)
            writer.field("y", y)
        }
    }
}

/// UUIDs in the form of ids: lower case, with dashes.
enum UserID {
    /// A new id: version 4, random.
    static func random() -> String {
        var bytes = (0..<16).map { _ in UInt8.random(in: 0...255) }
        bytes[6] = bytes[6] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            if [4, 6, 8, 10].contains(index) { text.append(UInt8(ascii: "-")) }
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Whether a text has the form of an id; any other text is the id of no user.
    static func isValid(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 36 else { return false }
        return bytes.enumerated().allSatisfy { index, byte in
            switch index {
            case 8, 13, 18, 23: byte == UInt8(ascii: "-")
            default:
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
            }
        }
    }
}
