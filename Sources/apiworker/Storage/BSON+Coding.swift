import Glibc
import IPC

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
        case .timestamp(let time): append(UInt64(time.seconds) << 32 | UInt64(time.increment), to: &bytes)
        case .verbatim(let document): bytes.append(contentsOf: document)
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
        case .timestamp: BSONType.timestamp
        case .verbatim: BSONType.document
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
    static func decode(_ bytes: UnsafeRawBufferPointer) throws(MalformedBSON) -> BSONDocument {
        BSONDocument(try BSONElements(checking: bytes))
    }

    /// A copy of a document that was checked.
    fileprivate init(_ elements: BSONElements) {
        self.init()
        for element in elements { append(String(decoding: element.name, as: UTF8.self), element.decoded) }
    }
}

/// The elements of a document or of an array, read in place. All bytes are checked before the first is used: no length
/// in them is trusted.
struct BSONElements: Sequence {
    /// Maximum nesting: that of the server.
    static let maximumDepth = 200

    /// Elements, the length before them and the NUL behind them.
    private let bytes: UnsafeRawBufferPointer

    /// - Parameter bytes: a document. They have to stay valid and unchanged while the elements are in use.
    init(checking bytes: UnsafeRawBufferPointer) throws(MalformedBSON) {
        self.bytes = bytes
        try check(depth: 0)
    }

    fileprivate init(checked bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// Checks a document and hands out its elements in one pass. If it is malformed, they are void.
    ///
    /// - Returns: whether the document is well-formed.
    @inline(__always)
    static func checkEach(_ bytes: UnsafeRawBufferPointer, _ each: (BSONElement) -> Void) -> Bool {
        (try? BSONElements(checked: bytes).check(depth: 0, each)) != nil
    }

    @inline(__always)
    private func check(depth: Int, _ each: (BSONElement) -> Void) throws(MalformedBSON) {
        guard depth < Self.maximumDepth, bytes.count >= 5, bytes.length(at: 0) == bytes.count else {
            throw MalformedBSON()
        }
        var elements = makeIterator()
        while let element = try elements.checkedNext() {
            if element.isNested { try BSONElements(checked: element.value).check(depth: depth + 1) }
            each(element)
        }
    }

    private func check(depth: Int) throws(MalformedBSON) { try check(depth: depth) { _ in } }

    /// The first element of that name in a document; `nil` if there is none, or the document is malformed before it.
    static func first(_ name: StaticString, in document: UnsafeRawBufferPointer) -> BSONElement? {
        var elements = BSONElements(checked: document).makeIterator()
        while let element = elements.next() {
            if element.isNamed(name) { return element }
        }
        return nil
    }

    func makeIterator() -> Iterator { Iterator(bytes) }

    struct Iterator: IteratorProtocol {
        private let bytes: UnsafeRawBufferPointer
        private var index = 4

        fileprivate init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

        mutating func next() -> BSONElement? { try? checkedNext() }

        @inline(__always)
        fileprivate mutating func checkedNext() throws(MalformedBSON) -> BSONElement? {
            guard index < bytes.count else { throw MalformedBSON() }
            let type = bytes[index]
            if type == 0 {
                guard index + 1 == bytes.count else { throw MalformedBSON() }
                return nil
            }
            let name = try cString(at: index + 1)
            let start = name.endIndex + 1
            let size = try size(of: type, at: start)
            guard size >= 0, size <= bytes.count - start else { throw MalformedBSON() }
            index = start + size
            let value = UnsafeRawBufferPointer(rebasing: bytes[start..<index])
            // A text ends with a NUL, and its length counts that.
            guard type != BSONType.string || (size > 4 && value[size - 1] == 0) else { throw MalformedBSON() }
            return BSONElement(type: type, name: UnsafeRawBufferPointer(rebasing: name), value: value)
        }

        @inline(__always)
        private func cString(at start: Int) throws(MalformedBSON) -> Slice<UnsafeRawBufferPointer> {
            var end = start
            while end < bytes.count, bytes[end] != 0 { end += 1 }
            guard end < bytes.count else { throw MalformedBSON() }
            return bytes[start..<end]
        }

        /// Number of bytes of a value, which may be more than there are.
        @inline(__always)
        private func size(of type: UInt8, at start: Int) throws(MalformedBSON) -> Int {
            switch type {
            case BSONType.null, BSONType.undefined, BSONType.minimumKey, BSONType.maximumKey: return 0
            case BSONType.bool: return 1
            case BSONType.int32: return 4
            case BSONType.double, BSONType.date, BSONType.timestamp, BSONType.int64: return 8
            case BSONType.objectID: return 12
            case BSONType.decimal128: return 16
            case BSONType.regularExpression:
                let options = try cString(at: try cString(at: start).endIndex + 1)
                return options.endIndex + 1 - start
            default: break
            }
            guard let length = bytes.length(at: start), length >= 0 else { throw MalformedBSON() }
            switch type {
            case BSONType.document, BSONType.array: return length
            case BSONType.codeWithScope: return Swift.max(4, length)
            case BSONType.string, BSONType.code, BSONType.symbol: return 4 + length
            case BSONType.binary: return 4 + 1 + length
            case BSONType.databasePointer: return 4 + length + 12
            default: throw MalformedBSON()
            }
        }
    }
}

/// A name and a value of a document, or of an array.
struct BSONElement {
    fileprivate let type: UInt8
    let name: UnsafeRawBufferPointer
    fileprivate let value: UnsafeRawBufferPointer

    func isNamed(_ text: StaticString) -> Bool {
        name.isEqual(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    fileprivate var isNested: Bool { type == BSONType.document || type == BSONType.array }

    /// The bytes of a text, which may be no UTF-8.
    var text: UnsafeRawBufferPointer? {
        type == BSONType.string ? UnsafeRawBufferPointer(rebasing: value[4..<value.count - 1]) : nil
    }

    var document: BSONElements? { type == BSONType.document ? BSONElements(checked: value) : nil }

    var array: BSONElements? { type == BSONType.array ? BSONElements(checked: value) : nil }

    /// The value of any numeric type.
    var number: Double? {
        switch type {
        case BSONType.double: Double(bitPattern: value.integer(UInt64.self))
        case BSONType.int32: Double(value.integer(Int32.self))
        case BSONType.int64: Double(value.integer(Int64.self))
        default: nil
        }
    }

    /// A whole number of 64 bits, such as a cursor's id.
    var integer64: Int64? { type == BSONType.int64 ? value.integer(Int64.self) : nil }

    /// Calls a function with the bytes of a document.
    func withDocument(_ body: (UnsafeRawBufferPointer) -> Void) { if type == BSONType.document { body(value) } }

    /// Milliseconds since 1970.
    var date: Int64? { type == BSONType.date ? value.integer(Int64.self) : nil }

    /// The bytes of a document, for ``BSONValue/verbatim(_:)``.
    var documentBytes: [UInt8]? { type == BSONType.document ? Array(value) : nil }

    var timestamp: OperationTime? {
        guard type == BSONType.timestamp else { return nil }
        let number = value.integer(UInt64.self)
        return OperationTime(seconds: UInt32(number >> 32), increment: UInt32(truncatingIfNeeded: number))
    }

    /// A copy of the value. Bytes that are not UTF-8 are replaced: another program stored them.
    fileprivate var decoded: BSONValue {
        switch type {
        case BSONType.double: .double(Double(bitPattern: value.integer(UInt64.self)))
        case BSONType.string: .string(String(decoding: value[4..<value.count - 1], as: UTF8.self))
        case BSONType.document: .document(BSONDocument(BSONElements(checked: value)))
        case BSONType.array: .array(BSONElements(checked: value).map(\.decoded))
        case BSONType.bool: .bool(value[0] != 0)
        case BSONType.date: .date(value.integer(Int64.self))
        case BSONType.null: .null
        case BSONType.int32: .int32(value.integer(Int32.self))
        case BSONType.int64: .int64(value.integer(Int64.self))
        case BSONType.timestamp: timestamp.map(BSONValue.timestamp) ?? .other
        default: .other
        }
    }
}

extension UnsafeRawBufferPointer {
    func isEqual(_ other: UnsafeRawBufferPointer) -> Bool {
        guard count == other.count, let start = baseAddress, let otherStart = other.baseAddress else {
            return count == 0 && other.count == 0
        }
        return memcmp(start, otherStart, count) == 0
    }

    fileprivate func integer<Number: FixedWidthInteger & BitwiseCopyable>(_ type: Number.Type) -> Number {
        Number(littleEndian: loadUnaligned(as: type))
    }

    /// The length that stands at an index; `nil`: the bytes end before.
    fileprivate func length(at index: Int) -> Int? {
        guard count - index >= 4 else { return nil }
        return Int(Int32(littleEndian: loadUnaligned(fromByteOffset: index, as: Int32.self)))
    }
}
