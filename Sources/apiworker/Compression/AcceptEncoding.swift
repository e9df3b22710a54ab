/// The field `Accept-Encoding` (RFC 9110, section 12.5.3).
enum AcceptEncoding {
    /// Whether a client accepts gzip and does not prefer the plain body.
    static func prefersGzip(_ field: String?) -> Bool {
        guard let field else { return false }
        var (gzip, identity, any): (Int?, Int?, Int?) = (nil, nil, nil)
        for element in field.utf8.split(separator: UInt8(ascii: ",")) {
            let parts = element.split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false)
            guard let coding = parts.first.map(text) else { continue }
            let weight = weight(parts.dropFirst())
            switch coding {
            case "gzip", "x-gzip": gzip = max(gzip ?? 0, weight)
            case "identity": identity = weight
            case "*": any = weight
            default: break
            }
        }
        let wanted = gzip ?? any ?? 0
        return wanted > 0 && wanted >= identity ?? 0
    }

    /// The weight in thousandths. A malformed weight is 0, since such a coding is better not used.
    private static func weight(_ parameters: ArraySlice<Substring.UTF8View>) -> Int {
        guard let parameter = parameters.first.map(text) else { return 1000 }
        let digits = Array(parameter.utf8.dropFirst(2))
        guard parameters.count == 1, parameter.hasPrefix("q="), (1...5).contains(digits.count),
            let whole = digits.first, whole == UInt8(ascii: "0") || whole == UInt8(ascii: "1")
        else { return 0 }
        guard digits.count == 1 || digits[1] == UInt8(ascii: ".") else { return 0 }
        var weight = whole == UInt8(ascii: "1") ? 1000 : 0
        var unit = 100
        for digit in digits.dropFirst(2) {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return 0 }
            weight += unit * Int(digit - UInt8(ascii: "0"))
            unit /= 10
        }
        return weight <= 1000 ? weight : 0
    }

    /// The text in lower case, without surrounding spaces and tabs.
    private static func text(_ bytes: Substring.UTF8View) -> String {
        let isSpace = { (byte: UInt8) in byte == 0x20 || byte == 0x09 }
        var bytes = bytes.drop(while: isSpace)
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self).lowercased()
    }
}
