import NIOCore

/// The protocol version that a connection speaks.
package enum RESPVersion: Int, Sendable, Hashable {
    case v2 = 2
    case v3 = 3
}

/// One decoded frame, or a part of one (https://redis.io/docs/latest/develop/reference/protocol-spec/).
package enum RESPValue: Sendable, Hashable {
    case simpleString(ByteBuffer)
    /// A simple or bulk error: code and message.
    case error(ByteBuffer)
    case integer(Int64)
    case bulkString(ByteBuffer)
    case array([RESPValue])
    /// `_`, `$-1` or `*-1`.
    case null
    /// Keys and values, alternating.
    case map([RESPValue])
    case set([RESPValue])
    case push([RESPValue])
    case double(Double)
    case boolean(Bool)
    case bigNumber(ByteBuffer)
    /// Format (three bytes), colon, text.
    case verbatim(ByteBuffer)
}

/// The reason why bytes are not a frame. The text is fixed, so that no input of the peer is repeated to it.
package enum RESPError: Error, Sendable, Hashable, CustomStringConvertible {
    case expectedArray
    case expectedBulkString
    case unknownType
    case emptyCommand
    case invalidLength
    case invalidNumber
    case invalidLineEnd
    case lineTooLong
    case frameTooLarge(limit: Int)
    case tooManyElements(limit: Int)
    case nestedTooDeep(limit: Int)
    case streamedType

    /// The fault, as it follows `-ERR Protocol error: `.
    package var description: String {
        switch self {
        case .expectedArray: "expected '*': requests are arrays of bulk strings, inline commands are refused"
        case .expectedBulkString: "expected '$': requests are arrays of bulk strings"
        case .unknownType: "unknown type byte"
        case .emptyCommand: "an empty array is no command"
        case .invalidLength: "invalid length: plain decimal digits are expected"
        case .invalidNumber: "invalid number"
        case .invalidLineEnd: "a line must end with CR LF"
        case .lineTooLong: "line too long"
        case .frameTooLarge(let limit): "frame larger than \(limit) bytes"
        case .tooManyElements(let limit): "more than \(limit) elements in one frame"
        case .nestedTooDeep(let limit): "nested deeper than \(limit)"
        case .streamedType: "streamed types are not supported"
        }
    }
}

/// Strict reading of the numbers in headers: plain digits, no sign, no leading zero, bounded before arithmetic.
package enum PlainNumber {
    /// 2^53 has 16 digits.
    static let maximumDigits = 16

    /// A number of 0 … 2^53, or `nil`.
    package static func parse<Bytes: Collection>(_ digits: Bytes) -> UInt64? where Bytes.Element == UInt8 {
        guard let first = digits.first, digits.count <= maximumDigits,
            first != UInt8(ascii: "0") || digits.count == 1
        else { return nil }
        var number: UInt64 = 0
        for digit in digits {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            number = number * 10 + UInt64(digit - UInt8(ascii: "0"))
        }
        return number <= WireLimits.maximumNumber ? number : nil
    }

    /// A number of -2^63 … 2^63 - 1, or `nil`. For replies of servers.
    static func parseSigned<Bytes: Collection>(_ digits: Bytes) -> Int64? where Bytes.Element == UInt8 {
        guard let first = digits.first else { return nil }
        let isNegative = first == UInt8(ascii: "-")
        let rest = isNegative ? digits.dropFirst() : digits.dropFirst(0)
        guard let head = rest.first, rest.count <= 19, head != UInt8(ascii: "0") || (rest.count == 1 && !isNegative)
        else { return nil }
        var number: Int64 = 0
        for digit in rest {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            let (product, overflow) = number.multipliedReportingOverflow(by: 10)
            let value = Int64(digit - UInt8(ascii: "0"))
            // Negative numbers reach one further.
            let (sum, carry) = product.addingReportingOverflow(isNegative ? -value : value)
            guard !overflow, !carry else { return nil }
            number = sum
        }
        return number
    }
}
