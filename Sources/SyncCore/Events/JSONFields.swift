import NIOCore

/// Selected fields of a JSON object: strings and numbers directly in it, and those directly in its arrays, as bytes. A
/// string is unescaped; a number stays as written. A field that is null counts as absent.
///
/// The parser follows RFC 8259 exactly, byte by byte, with a recursion of at most ``maximumDepth``. An object that was
/// encoded twice, so that the text is a string with the object's text, is read all the same.
struct JSONFields {
    struct Field: Equatable {
        var name: ByteBuffer
        var value: ByteBuffer
        var isNumber = false
    }

    private(set) var found: [Field] = []
    /// Selected fields with a value other than strings and numbers: true, false, an object, an array in an array, null
    /// in an array.
    private(set) var unusable: [ByteBuffer] = []
    /// The text is one JSON object and nothing else.
    private(set) var isWellFormed = false

    static let maximumDepth = 32

    init(_ text: ByteBuffer, names: [ByteBuffer]) {
        var scanner = JSONScanner(bytes: text.readableBytesView, names: names)
        if let inner = scanner.textOfString() { scanner = JSONScanner(bytes: inner.readableBytesView, names: names) }
        isWellFormed = (try? scanner.document()) != nil
        found = scanner.found
        unusable = scanner.unusable
    }

    /// The values of one field, in the order of the text.
    func values(of name: ByteBuffer) -> [ByteBuffer] { found.filter { $0.name == name }.map(\.value) }
}

/// The text is not JSON.
private struct MalformedJSON: Error {}

/// Scans a text once, from left to right.
private struct JSONScanner {
    let bytes: ByteBufferView
    let names: [ByteBuffer]
    var index: Int
    var found: [JSONFields.Field] = []
    var unusable: [ByteBuffer] = []

    init(bytes: ByteBufferView, names: [ByteBuffer]) {
        self.bytes = bytes
        self.names = names
        index = bytes.startIndex
    }

    /// The unescaped string, if the whole text is one string. Otherwise `nil`, and nothing is consumed.
    mutating func textOfString() -> ByteBuffer? {
        skipSpace()
        guard peek == UInt8(ascii: "\""), let text = try? string() else { return nil }
        skipSpace()
        return peek == nil ? text : nil
    }

    mutating func document() throws(MalformedJSON) {
        skipSpace()
        guard peek == UInt8(ascii: "{") else { throw MalformedJSON() }
        try object(depth: 1, isOutermost: true)
        skipSpace()
        guard peek == nil else { throw MalformedJSON() }
    }

    // MARK: Values

    /// - Parameters:
    ///   - field: the name under which a string or number is stored; `nil`: the value is not selected.
    ///   - isInField: the value is the field's own, so that the elements of an array count as well.
    private mutating func value(depth: Int, field: ByteBuffer?, isInField: Bool) throws(MalformedJSON) {
        guard depth <= JSONFields.maximumDepth else { throw MalformedJSON() }
        skipSpace()
        switch peek {
        case UInt8(ascii: "{"):
            refuse(field)
            try object(depth: depth, isOutermost: false)
        case UInt8(ascii: "["):
            if !isInField { refuse(field) }
            try array(depth: depth, field: isInField ? field : nil)
        case UInt8(ascii: "\""): keep(try string(), field)
        case UInt8(ascii: "t"):
            refuse(field)
            try literal("true")
        case UInt8(ascii: "f"):
            refuse(field)
            try literal("false")
        case UInt8(ascii: "n"):
            if !isInField { refuse(field) }
            try literal("null")
        default: keep(try number(), field, isNumber: true)
        }
    }

    private mutating func keep(_ value: ByteBuffer, _ field: ByteBuffer?, isNumber: Bool = false) {
        if let field { found.append(JSONFields.Field(name: field, value: value, isNumber: isNumber)) }
    }

    private mutating func refuse(_ field: ByteBuffer?) {
        if let field, !unusable.contains(field) { unusable.append(field) }
    }

    private mutating func object(depth: Int, isOutermost: Bool) throws(MalformedJSON) {
        try expect(UInt8(ascii: "{"))
        skipSpace()
        if take(UInt8(ascii: "}")) { return }
        repeat {
            skipSpace()
            let name = try string()
            skipSpace()
            try expect(UInt8(ascii: ":"))
            let field = isOutermost && names.contains(name) ? name : nil
            try value(depth: depth + 1, field: field, isInField: true)
            skipSpace()
        } while take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "}"))
    }

    private mutating func array(depth: Int, field: ByteBuffer?) throws(MalformedJSON) {
        try expect(UInt8(ascii: "["))
        skipSpace()
        if take(UInt8(ascii: "]")) { return }
        repeat {
            try value(depth: depth + 1, field: field, isInField: false)
            skipSpace()
        } while take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "]"))
    }

    private mutating func literal(_ word: StaticString) throws(MalformedJSON) {
        for offset in 0..<word.utf8CodeUnitCount { try expect(word.utf8Start[offset]) }
    }

    private mutating func number() throws(MalformedJSON) -> ByteBuffer {
        let start = index
        _ = take(UInt8(ascii: "-"))
        if !take(UInt8(ascii: "0")) { try digits() }
        if take(UInt8(ascii: ".")) { try digits() }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            _ = take(UInt8(ascii: "+")) || take(UInt8(ascii: "-"))
            try digits()
        }
        return ByteBuffer(bytes: bytes[start..<index])
    }

    private mutating func digits() throws(MalformedJSON) {
        guard let first = peek, (0x30...0x39).contains(first) else { throw MalformedJSON() }
        while let byte = peek, (0x30...0x39).contains(byte) { index += 1 }
    }

    // MARK: Strings

    private mutating func string() throws(MalformedJSON) -> ByteBuffer {
        try expect(UInt8(ascii: "\""))
        var text = ByteBuffer()
        while let byte = peek {
            index += 1
            switch byte {
            case UInt8(ascii: "\""): return text
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0..<0x20: throw MalformedJSON()
            default: text.writeInteger(byte)
            }
        }
        throw MalformedJSON()
    }

    private mutating func escape(into text: inout ByteBuffer) throws(MalformedJSON) {
        guard let byte = peek else { throw MalformedJSON() }
        index += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.writeInteger(byte)
        case UInt8(ascii: "b"): text.writeInteger(UInt8(8))
        case UInt8(ascii: "t"): text.writeInteger(UInt8(9))
        case UInt8(ascii: "n"): text.writeInteger(UInt8(10))
        case UInt8(ascii: "f"): text.writeInteger(UInt8(12))
        case UInt8(ascii: "r"): text.writeInteger(UInt8(13))
        case UInt8(ascii: "u"):
            guard let scalar = Unicode.Scalar(try codePoint()) else { throw MalformedJSON() }
            text.writeBytes(UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
        default: throw MalformedJSON()
        }
    }

    /// The code point after `\u`: one unit of UTF-16, or two of which the second is escaped as well.
    private mutating func codePoint() throws(MalformedJSON) -> UInt32 {
        let first = try hexadecimal()
        guard (0xd800...0xdbff).contains(first) else { return first }
        try expect(UInt8(ascii: "\\"))
        try expect(UInt8(ascii: "u"))
        let second = try hexadecimal()
        guard (0xdc00...0xdfff).contains(second) else { throw MalformedJSON() }
        return 0x10000 + ((first & 0x3ff) << 10) + (second & 0x3ff)
    }

    private mutating func hexadecimal() throws(MalformedJSON) -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw MalformedJSON()
            }
            unit = unit << 4 | UInt32(digit)
            index += 1
        }
        return unit
    }

    // MARK: Bytes

    private var peek: UInt8? { index < bytes.endIndex ? bytes[index] : nil }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard peek == byte else { return false }
        index += 1
        return true
    }

    private mutating func expect(_ byte: UInt8) throws(MalformedJSON) {
        guard take(byte) else { throw MalformedJSON() }
    }

    private mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { index += 1 }
    }
}
