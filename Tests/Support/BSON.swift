import NIOCore

/// A value of a BSON document (https://bsonspec.org), as far as the tests need them.
package indirect enum BSONValue: Sendable, Hashable {
    case double(Double)
    case string(String)
    case document(BSONDocument)
    case array([BSONValue])
    case bool(Bool)
    /// Milliseconds since 1970.
    case date(Int64)
    case null
    case int32(Int32)
    case int64(Int64)
    /// Two halves, of which the first comes first.
    case uuid(UInt64, UInt64)
    /// A value of a type that the tests don't use.
    case other(type: UInt8)

    /// A number of any kind.
    package var number: Double? {
        switch self {
        case .double(let number): number
        case .int32(let number): Double(number)
        case .int64(let number): Double(number)
        default: nil
        }
    }

    package var string: String? { if case .string(let text) = self { text } else { nil } }
    package var document: BSONDocument? { if case .document(let document) = self { document } else { nil } }
    package var array: [BSONValue]? { if case .array(let items) = self { items } else { nil } }
    package var bool: Bool? { if case .bool(let flag) = self { flag } else { nil } }
}

extension BSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByFloatLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int32) { self = .int32(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(floatLiteral value: Double) { self = .double(value) }
    package init(arrayLiteral elements: BSONValue...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, BSONValue)...) { self = .document(BSONDocument(elements)) }
    package init(nilLiteral: ()) { self = .null }
}

/// Names and values, in order: the first name of a command is the command.
package struct BSONDocument: Sendable, Hashable, ExpressibleByDictionaryLiteral {
    private struct Field: Sendable, Hashable {
        var name: String
        var value: BSONValue
    }

    private var fields: [Field]

    package init(_ fields: [(String, BSONValue)]) { self.fields = fields.map { Field(name: $0.0, value: $0.1) } }
    package init(dictionaryLiteral elements: (String, BSONValue)...) { self.init(elements) }

    package subscript(_ name: String) -> BSONValue? {
        get { fields.first { $0.name == name }?.value }
        set {
            if let index = fields.firstIndex(where: { $0.name == name }) {
                if let newValue { fields[index].value = newValue } else { fields.remove(at: index) }
            } else if let newValue {
                fields.append(Field(name: name, value: newValue))
            }
        }
    }

    package var names: [String] { fields.map(\.name) }
}

// MARK: Bytes

extension BSONDocument {
    package func encode(into buffer: inout ByteBuffer) {
        let start = buffer.writerIndex
        buffer.writeInteger(Int32(0), endianness: .little)
        for field in fields { Self.encode(field.name, field.value, into: &buffer) }
        buffer.writeInteger(UInt8(0))
        buffer.setInteger(Int32(buffer.writerIndex - start), at: start, endianness: .little)
    }

    private static func encode(_ name: String, _ value: BSONValue, into buffer: inout ByteBuffer) {
        func header(_ type: UInt8) {
            buffer.writeInteger(type)
            buffer.writeString(name)
            buffer.writeInteger(UInt8(0))
        }
        switch value {
        case .double(let number):
            header(0x01)
            buffer.writeInteger(number.bitPattern, endianness: .little)
        case .string(let text):
            header(0x02)
            buffer.writeInteger(Int32(text.utf8.count + 1), endianness: .little)
            buffer.writeString(text)
            buffer.writeInteger(UInt8(0))
        case .document(let document):
            header(0x03)
            document.encode(into: &buffer)
        case .array(let items):
            header(0x04)
            BSONDocument(items.enumerated().map { ("\($0.offset)", $0.element) }).encode(into: &buffer)
        case .bool(let flag):
            header(0x08)
            buffer.writeInteger(UInt8(flag ? 1 : 0))
        case .date(let milliseconds):
            header(0x09)
            buffer.writeInteger(milliseconds, endianness: .little)
        case .null, .other: header(0x0a)
        case .int32(let number):
            header(0x10)
            buffer.writeInteger(number, endianness: .little)
        case .int64(let number):
            header(0x12)
            buffer.writeInteger(number, endianness: .little)
        case .uuid(let first, let second):
            header(0x05)
            buffer.writeInteger(Int32(16), endianness: .little)
            buffer.writeInteger(UInt8(4))
            buffer.writeInteger(first)
            buffer.writeInteger(second)
        }
    }

    init(decoding buffer: inout ByteBuffer) throws {
        guard let length: Int32 = buffer.readInteger(endianness: .little), length >= 5,
            var body = buffer.readSlice(length: Int(length) - 4)
        else { throw TestFailure("MongoDB sent no document") }
        fields = []
        while let type: UInt8 = body.readInteger(), type != 0 {
            guard let name = Self.readName(&body), let value = try Self.decode(type, &body) else {
                throw TestFailure("MongoDB sent a document that ends too early")
            }
            fields.append(Field(name: name, value: value))
        }
    }

    private static func readName(_ buffer: inout ByteBuffer) -> String? {
        guard let end = buffer.readableBytesView.firstIndex(of: 0),
            let name = buffer.readString(length: end - buffer.readerIndex)
        else { return nil }
        buffer.moveReaderIndex(forwardBy: 1)
        return name
    }

    private static func decode(_ type: UInt8, _ buffer: inout ByteBuffer) throws -> BSONValue? {
        func other(_ length: Int) -> BSONValue? { buffer.readSlice(length: length).map { _ in .other(type: type) } }
        switch type {
        case 0x01: return buffer.readInteger(endianness: .little).map { .double(Double(bitPattern: $0)) }
        case 0x02:
            guard let length: Int32 = buffer.readInteger(endianness: .little), length > 0,
                let text = buffer.readString(length: Int(length) - 1), buffer.readSlice(length: 1) != nil
            else { return nil }
            return .string(text)
        case 0x03: return .document(try BSONDocument(decoding: &buffer))
        case 0x04: return .array(try BSONDocument(decoding: &buffer).fields.map(\.value))
        case 0x05:
            guard let length: Int32 = buffer.readInteger(endianness: .little) else { return nil }
            return other(Int(length) + 1)
        case 0x07: return other(12)
        case 0x08: return buffer.readInteger(as: UInt8.self).map { .bool($0 != 0) }
        case 0x09: return buffer.readInteger(endianness: .little).map { .date($0) }
        case 0x0a: return .null
        case 0x10: return buffer.readInteger(endianness: .little).map { .int32($0) }
        case 0x11: return other(8)
        case 0x12: return buffer.readInteger(endianness: .little).map { .int64($0) }
        case 0x13: return other(16)
        default: throw TestFailure("MongoDB sent a value of type \(type), which the tests can't read")
        }
    }
}
