import IPC

/// The values that this program writes to MongoDB or reads from it (https://bsonspec.org/spec.html).
enum BSONValue: Sendable, Equatable {
    case double(Double)
    case string(String)
    case document(BSONDocument)
    case array([BSONValue])
    case bool(Bool)
    /// Milliseconds since 1970.
    case date(Int64)
    case null
    /// A pattern made by ``SearchPattern``, matched in any case.
    case regularExpression(String)
    case int32(Int32)
    case int64(Int64)
    case timestamp(OperationTime)
    /// A document that a server has sent, as it came.
    case verbatim([UInt8])
    /// A value of another type, which is not decoded.
    case other
}

/// An ordered list of names and values. Commands and documents are built from Swift's own types only: no input of a
/// client is ever taken for an operator.
struct BSONDocument: Sendable, Equatable {
    struct Field: Sendable, Equatable {
        var name: String
        var value: BSONValue
    }

    private(set) var fields: [Field] = []

    /// The value of the first field of that name.
    subscript(name: String) -> BSONValue? { fields.first { $0.name == name }?.value }

    mutating func append(_ name: String, _ value: BSONValue) {
        fields.append(Field(name: name, value: value))
    }

    func appending(_ name: String, _ value: BSONValue) -> BSONDocument {
        var document = self
        document.append(name, value)
        return document
    }
}

extension BSONDocument: ExpressibleByDictionaryLiteral {
    init(dictionaryLiteral elements: (String, BSONValue)...) {
        fields = elements.map { Field(name: $0.0, value: $0.1) }
    }
}

extension BSONValue {
    var string: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    var document: BSONDocument? {
        guard case .document(let document) = self else { return nil }
        return document
    }

    var array: [BSONValue]? {
        guard case .array(let items) = self else { return nil }
        return items
    }

    /// The value of any numeric type.
    var number: Double? {
        switch self {
        case .double(let number): number
        case .int32(let number): Double(number)
        case .int64(let number): Double(number)
        default: nil
        }
    }

    /// The value of any numeric type, if it is a whole number.
    var integer: Int64? {
        switch self {
        case .double(let number): Int64(exactly: number)
        case .int32(let number): Int64(number)
        case .int64(let number): number
        default: nil
        }
    }

    /// A number as JavaScript's driver stores it: whole numbers of 32 bits as such.
    static func number(_ number: Double) -> BSONValue {
        Int32(exactly: number).map(BSONValue.int32) ?? .double(number)
    }

    var timestamp: OperationTime? {
        guard case .timestamp(let time) = self else { return nil }
        return time
    }

    static func strings(_ texts: [String]) -> BSONValue { .array(texts.map(BSONValue.string)) }
}
