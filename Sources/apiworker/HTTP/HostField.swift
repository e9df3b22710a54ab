/// The value of `Host` (RFC 9110, 7.2; RFC 3986, 3.2.2): a name or an address, and an optional port.
enum HostField {
    /// Whether the text can name a host. An empty text is valid: the target has no host, either.
    static func isValid(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { isValid($0[...]) }
    }

    private typealias Bytes = Slice<UnsafeBufferPointer<UInt8>>

    private static func isValid(_ text: Bytes) -> Bool {
        var bytes = text
        if let colon = bytes.lastIndex(of: UInt8(ascii: ":")), bytes.last != UInt8(ascii: "]") {
            guard isPort(bytes[bytes.index(after: colon)...]) else { return false }
            bytes = bytes[..<colon]
        }
        guard bytes.first == UInt8(ascii: "[") else { return bytes.allSatisfy(isOfName) }
        let address = bytes.dropFirst().dropLast()
        return bytes.last == UInt8(ascii: "]") && !address.isEmpty && address.allSatisfy(isOfAddress)
    }

    /// Digits of a number up to 65535. Empty means the default port.
    private static func isPort(_ digits: Bytes) -> Bool {
        var port = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return false }
            port = port * 10 + Int(digit - UInt8(ascii: "0"))
            guard port <= 65_535 else { return false }
        }
        return true
    }

    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "&")...UInt8(ascii: "."), UInt8(ascii: "!"),
            UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: ";"), UInt8(ascii: "="), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            true
        default: false
        }
    }

    /// A byte of an IPv6 address, of its zone, or of a later version's address.
    private static func isOfAddress(_ byte: UInt8) -> Bool { isOfName(byte) || byte == UInt8(ascii: ":") }
}
