/// Percent encoding (RFC 3986, 2.1).
package enum PercentEncoding {
    /// The bytes that a text stands for.
    ///
    /// - Parameters:
    ///   - plusIsSpace: as in the queries that browsers write.
    ///   - keepsMalformed: whether a `%` that two hexadecimal digits don't follow stands for itself; otherwise there is no
    ///     result.
    package static func decoded(
        _ text: Substring.UTF8View, plusIsSpace: Bool = false, keepsMalformed: Bool = false
    ) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count)
        var rest = text[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                if let value = value(of: rest.prefix(2)) {
                    bytes.append(value)
                    rest = rest.dropFirst(2)
                } else if keepsMalformed {
                    bytes.append(byte)
                } else {
                    return nil
                }
            default: bytes.append(byte)
            }
        }
        return bytes
    }

    private static func value(of digits: Substring.UTF8View) -> UInt8? {
        guard digits.count == 2 else { return nil }
        var value: UInt8 = 0
        for digit in digits {
            guard let nibble = nibble(digit) else { return nil }
            value = value << 4 | nibble
        }
        return value
    }

    private static func nibble(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
