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

extension User {
    /// Writes the user with exactly the fields of the schema.
    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("_id", id)
            writer.field("username", username)
            writer.field("age", age)
            writer.field("hobbies", hobbies)
            writer.field("friends", friends)
            writer.field("createdAt", ISODate.text(milliseconds: createdAtMilliseconds))
            writer.name("position")
            position.write(to: &writer)
        }
    }
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

/// Dates as ISO 8601 in UTC with milliseconds.
enum ISODate {
    /// The text of a date, for example `2026-11-23T08:00:00.123Z`. Days are counted as in Howard Hinnant's
    /// civil_from_days.
    static func text(milliseconds: Int64) -> String {
        // BSON dates may be of any year; dates outside the calendar's range are clamped.
        let clamped = min(max(milliseconds, -62_135_596_800_000), 253_402_300_799_999)
        let days = clamped.floorDivided(by: 86_400_000)
        let time = clamped - days * 86_400_000
        let shifted = days + 719_468
        let era = shifted.floorDivided(by: 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func digits(_ number: Int64, _ count: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let clock = "\(digits(time / 3_600_000, 2)):\(digits(time / 60_000 % 60, 2)):\(digits(time / 1000 % 60, 2))"
        return "\(digits(year, 4))-\(digits(month, 2))-\(digits(day, 2))T\(clock).\(digits(time % 1000, 3))Z"
    }
}

extension Int64 {
    fileprivate func floorDivided(by divisor: Int64) -> Int64 {
        let quotient = self / divisor
        return self % divisor < 0 ? quotient - 1 : quotient
    }
}
