import NIOCore

/// The body is not JSON by RFC 8259, or has a feature that is refused on purpose.
struct MalformedJSON: Error, Equatable {}

/// A parsed request body.
enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    /// Members in their order; no name occurs twice.
    case object([Member])

    struct Member: Sendable, Equatable {
        var name: String
        var value: JSONValue
    }

    /// The member of an object; `nil` if there is none, or if this is no object.
    subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    /// Parses a body. The parser is stricter than Foundation, which accepts trailing commas, a BOM and duplicate names.
    /// It also refuses NUL (C strings and BSON names end there) and more than 32 levels.
    static func parse(_ bytes: ByteBuffer) throws(MalformedJSON) -> JSONValue {
        var parser = JSONParser(Array(bytes.readableBytesView))
        return try parser.parse()
    }
}

private struct JSONParser {
    private let bytes: [UInt8]
    private var index = 0

    private static let maximumDepth = 32
    private static let maximumMembers = 1024

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func parse() throws(MalformedJSON) -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard index == bytes.count else { throw MalformedJSON() }
        return value
    }

    private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { index += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        index += 1
        return true
    }

    private mutating func expect(_ word: StaticString) throws(MalformedJSON) {
        for offset in 0..<word.utf8CodeUnitCount where !take(word.utf8Start[offset]) { throw MalformedJSON() }
    }

    private mutating func value(depth: Int) throws(MalformedJSON) -> JSONValue {
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try array(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"):
            try expect("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try expect("false")
            return .bool(false)
        case UInt8(ascii: "n"):
            try expect("null")
            return .null
        default: return .number(try number())
        }
    }

    private mutating func object(depth: Int) throws(MalformedJSON) -> JSONValue {
        guard depth <= Self.maximumDepth else { throw MalformedJSON() }
        index += 1
        var members: [JSONValue.Member] = []
        var names: Set<ExactText> = []
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object([]) }
        repeat {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw MalformedJSON() }
            let name = try string()
            skipSpace()
            guard take(UInt8(ascii: ":")), names.insert(ExactText(name)).inserted, members.count < Self.maximumMembers
            else {
                throw MalformedJSON()
            }
            members.append(JSONValue.Member(name: name, value: try value(depth: depth)))
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw MalformedJSON() }
        return .object(members)
    }

    private mutating func array(depth: Int) throws(MalformedJSON) -> JSONValue {
        guard depth <= Self.maximumDepth else { throw MalformedJSON() }
        index += 1
        var items: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return .array([]) }
        repeat {
            items.append(try value(depth: depth))
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw MalformedJSON() }
        return .array(items)
    }

    private mutating func number() throws(MalformedJSON) -> Double {
        let start = index
        _ = take(UInt8(ascii: "-"))
        if !take(UInt8(ascii: "0")) { try digits() }
        if take(UInt8(ascii: ".")) { try digits() }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try digits()
        }
        guard let number = Double(String(decoding: bytes[start..<index], as: UTF8.self)), number.isFinite else {
            throw MalformedJSON()
        }
        return number
    }

    private mutating func digits() throws(MalformedJSON) {
        let start = index
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { index += 1 }
        guard index > start else { throw MalformedJSON() }
    }

    private mutating func string() throws(MalformedJSON) -> String {
        index += 1
        var content: [UInt8] = []
        while let byte = next {
            index += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: content, as: UTF8.self) else { throw MalformedJSON() }
                return text
            case UInt8(ascii: "\\"): try escape(&content)
            case 0..<0x20: throw MalformedJSON()
            default: content.append(byte)
            }
        }
        throw MalformedJSON()
    }

    private mutating func escape(_ content: inout [UInt8]) throws(MalformedJSON) {
        guard let byte = next else { throw MalformedJSON() }
        index += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(byte)
        case UInt8(ascii: "b"): content.append(0x08)
        case UInt8(ascii: "f"): content.append(0x0c)
        case UInt8(ascii: "n"): content.append(0x0a)
        case UInt8(ascii: "r"): content.append(0x0d)
        case UInt8(ascii: "t"): content.append(0x09)
        case UInt8(ascii: "u"): content.append(contentsOf: String(try scalar()).utf8)
        default: throw MalformedJSON()
        }
    }

    /// The scalar of `\uXXXX`, or of a pair of surrogates; never NUL.
    private mutating func scalar() throws(MalformedJSON) -> Character {
        let first = try codeUnit()
        var code = UInt32(first)
        if (0xd800...0xdbff).contains(first) {
            try expect("\\u")
            let second = try codeUnit()
            guard (0xdc00...0xdfff).contains(second) else { throw MalformedJSON() }
            code = 0x10000 + ((UInt32(first) - 0xd800) << 10) + (UInt32(second) - 0xdc00)
        }
        guard code != 0, let scalar = UnicodeScalar(code) else { throw MalformedJSON() }
        return Character(scalar)
    }

    private mutating func codeUnit() throws(MalformedJSON) -> UInt16 {
        guard index + 4 <= bytes.count else { throw MalformedJSON() }
        let digits = bytes[index..<index + 4]
        guard digits.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit }),
            let unit = UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
        else { throw MalformedJSON() }
        index += 4
        return unit
    }
}
