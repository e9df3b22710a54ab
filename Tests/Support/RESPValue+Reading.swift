import IPCWire
import NIOCore

extension RESPValue {
    /// The text of a string of any kind, or of an error.
    package var string: String? {
        switch self {
        case .simpleString(let bytes), .bulkString(let bytes), .error(let bytes), .verbatim(let bytes):
            String(buffer: bytes)
        default: nil
        }
    }

    package var number: Int? { if case .integer(let number) = self { Int(number) } else { nil } }

    /// The text of an error, and of nothing else.
    package var errorText: String? { if case .error(let text) = self { String(buffer: text) } else { nil } }

    /// The elements of an array, set or push, or names and values of a map.
    package var elements: [RESPValue]? {
        switch self {
        case .array(let items), .set(let items), .push(let items), .map(let items): items
        default: nil
        }
    }

    /// A value of a map, in RESP3 or as the flat array of RESP2.
    package subscript(_ name: String) -> RESPValue? {
        guard let items = elements else { return nil }
        for index in stride(from: 0, to: items.count - 1, by: 2) where items[index].string == name {
            return items[index + 1]
        }
        return nil
    }
}
