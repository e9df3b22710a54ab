/// The bytes are not a BSON document.
struct MalformedBSON: Error, Equatable {}

/// The type bytes of the values that are read or written.
private enum BSONType {
    static let double: UInt8 = 0x01
    static let string: UInt8 = 0x02
    static let document: UInt8 = 0x03
    static let array: UInt8 = 0x04
    static let binary: UInt8 = 0x05
    static let undefined: UInt8 = 0x06
    static let objectID: UInt8 = 0x07
    static let bool: UInt8 = 0x08
    static let date: UInt8 = 0x09
    static let null: UInt8 = 0x0a
    static let regularExpression: UInt8 = 0x0b
    static let databasePointer: UInt8 = 0x0c
    static let code: UInt8 = 0x0d
    static let symbol: UInt8 = 0x0e
    static let codeWithScope: UInt8 = 0x0f
    static let int32: UInt8 = 0x10
    static let timestamp: UInt8 = 0x11
    static let int64: UInt8 = 0x12
    static let decimal128: UInt8 = 0x13
    static let minimumKey: UInt8 = 0xff
    static let maximumKey: UInt8 = 0x7f
}

// MARK: Writing

extension BSONDocument {
    func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        encode(to: &bytes)
        return bytes
    }

    private func encode(to bytes: inout [UInt8]) {
        Self.encloseDocument(&bytes) { bytes in
            for field in fields { Self.encode(field.name, field.value, to: &bytes) }
        }
    }

    private static func encloseDocument(_ bytes: inout [UInt8], _ content: (inout [UInt8]) -> Void) {
        let start = bytes.count
        append(Int32(0), to: &bytes)
        content(&bytes)
        bytes.append(0)
        let length = Int32(truncatingIfNeeded: bytes.count - start).littleEndian
        withUnsafeBytes(of: length) { length in
            for (offset, byte) in length.enumerated() { bytes[start + offset] = byte }
        }
    }

    private static func encode(_ name: String, _ value: BSONValue, to bytes: inout [UInt8]) {
        bytes.append(type(of: value))
        appendCString(name, to: &bytes)
        switch value {
        case .double(let number): append(number.bitPattern, to: &bytes)
        case .string(let text):
            append(Int32(truncatingIfNeeded: text.utf8.count + 1), to: &bytes)
            bytes.append(contentsOf: text.utf8)
            bytes.append(0)
        case .document(let document): document.encode(to: &bytes)
        case .array(let items):
            encloseDocument(&bytes) { bytes in
                for (index, item) in items.enumerated() { encode(String(index), item, to: &bytes) }
            }
        case .bool(let flag): bytes.append(flag ? 1 : 0)
        case .date(let milliseconds): append(milliseconds, to: &bytes)
        case .null, .other: break
        case .regularExpression(let pattern):
            appendCString(pattern, to: &bytes)
            appendCString("i", to: &bytes)
        case .int32(let number): append(number, to: &bytes)
        case .int64(let number): append(number, to: &bytes)
        }
    }

    private static func type(of value: BSONValue) -> UInt8 {
        switch value {
        case .double: BSONType.double
        case .string: BSONType.string
        case .document: BSONType.document
        case .array: BSONType.array
        case .bool: BSONType.bool
        case .date: BSONType.date
        case .null, .other: BSONType.null
        case .regularExpression: BSONType.regularExpression
        case .int32: BSONType.int32
        case .int64: BSONType.int64
        }
    }

    /// Appends a text that ends with a NUL and so cannot contain one: the rest after a NUL is dropped.
    private static func appendCString(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(contentsOf: text.utf8.prefix { $0 != 0 })
        bytes.append(0)
    }

    private static func append(_ number: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
    }
}

// MARK: Reading

extension BSONDocument {
    /// Maximum nesting; MongoDB allows slightly more.
    private static let maximumDepth = 100

    static func decode(_ bytes: UnsafeRawBufferPointer) throws(MalformedBSON) -> BSONDocument {
        var reader = BSONReader(bytes)
        return try reader.document(depth: 0)
    }

    fileprivate static func checkDepth(_ depth: Int) throws(MalformedBSON) {
        guard depth < maximumDepth else { throw MalformedBSON() }
    }
}

/// Reads BSON without trusting any length in it.
private struct BSONReader {
    private let bytes: UnsafeRawBufferPointer
    private var index = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func document(depth: Int) throws(MalformedBSON) -> BSONDocument {
        var document = BSONDocument()
        try elements(depth: depth) { document.append($0, $1) }
        return document
    }

    private mutating func array(depth: Int) throws(MalformedBSON) -> [BSONValue] {
        var items: [BSONValue] = []
        try elements(depth: depth) { items.append($1) }
        return items
    }

    private mutating func elements(
        depth: Int, _ take: (String, BSONValue) -> Void
    ) throws(MalformedBSON) {
        try BSONDocument.checkDepth(depth)
        let start = index
        let length = Int(try integer(Int32.self))
        guard length >= 5, length <= bytes.count - start else { throw MalformedBSON() }
        let end = start + length
        while true {
            let type = try byte()
            if type == 0 { break }
            take(try cString(), try value(type, depth: depth))
        }
        guard index == end else { throw MalformedBSON() }
    }

    private mutating func value(_ type: UInt8, depth: Int) throws(MalformedBSON) -> BSONValue {
        switch type {
        case BSONType.double: return .double(Double(bitPattern: try integer(UInt64.self)))
        case BSONType.string: return .string(try string())
        case BSONType.document: return .document(try document(depth: depth + 1))
        case BSONType.array: return .array(try array(depth: depth + 1))
        case BSONType.bool: return .bool(try byte() != 0)
        case BSONType.date: return .date(try integer(Int64.self))
        case BSONType.null: return .null
        case BSONType.int32: return .int32(try integer(Int32.self))
        case BSONType.int64: return .int64(try integer(Int64.self))
        default:
            try skip(type)
            return .other
        }
    }

    /// Skips a value of a type that no user has.
    private mutating func skip(_ type: UInt8) throws(MalformedBSON) {
        switch type {
        case BSONType.undefined, BSONType.minimumKey, BSONType.maximumKey: break
        case BSONType.objectID: try skip(bytes: 12)
        case BSONType.timestamp: try skip(bytes: 8)
        case BSONType.decimal128: try skip(bytes: 16)
        case BSONType.binary: try skip(bytes: try length() + 1)
        case BSONType.code, BSONType.symbol: try skip(bytes: try length())
        case BSONType.databasePointer: try skip(bytes: try length() + 12)
        case BSONType.codeWithScope: try skip(bytes: try length() - 4)
        case BSONType.regularExpression:
            _ = try cString()
            _ = try cString()
        default: throw MalformedBSON()
        }
    }

    private mutating func skip(bytes count: Int) throws(MalformedBSON) {
        guard count >= 0, count <= bytes.count - index else { throw MalformedBSON() }
        index += count
    }

    private mutating func length() throws(MalformedBSON) -> Int { Int(try integer(Int32.self)) }

    private mutating func byte() throws(MalformedBSON) -> UInt8 {
        guard index < bytes.count else { throw MalformedBSON() }
        defer { index += 1 }
        return bytes[index]
    }

    private mutating func integer<Number: FixedWidthInteger & BitwiseCopyable>(
        _ type: Number.Type
    ) throws(MalformedBSON) -> Number {
        let size = MemoryLayout<Number>.size
        guard size <= bytes.count - index else { throw MalformedBSON() }
        defer { index += size }
        return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: type))
    }

    /// Bytes that are not UTF-8 are replaced: another program stored them.
    private mutating func string() throws(MalformedBSON) -> String {
        let length = try length()
        guard length >= 1, length <= bytes.count - index, bytes[index + length - 1] == 0 else {
            throw MalformedBSON()
        }
        defer { index += length }
        return String(decoding: bytes[index..<index + length - 1], as: UTF8.self)
    }

    private mutating func cString() throws(MalformedBSON) -> String {
        guard let end = bytes[index...].firstIndex(of: 0) else { throw MalformedBSON() }
        defer { index = end + 1 }
        return String(decoding: bytes[index..<end], as: UTF8.self)
    }
}
