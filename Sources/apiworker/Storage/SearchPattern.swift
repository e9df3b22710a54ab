/// A search text as a pattern that matches exactly that text.
enum SearchPattern {
    /// The server refuses patterns of 32 764 bytes and more; no name or hobby is that long.
    static let maximumBytes = 16 << 10

    /// - Returns: `nil` if nothing can match.
    static func matching(_ text: String) -> String? {
        guard !text.utf8.contains(0), text.utf8.count <= maximumBytes / 2 else { return nil }
        var pattern = ""
        for scalar in text.unicodeScalars {
            // In ASCII, only letters and digits are literal in every place; beyond ASCII every character is.
            if scalar.isASCII, !isLetterOrDigit(scalar) { pattern.unicodeScalars.append("\\") }
            pattern.unicodeScalars.append(scalar)
        }
        return pattern
    }

    private static func isLetterOrDigit(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "0"..."9", "A"..."Z", "a"..."z": true
        default: false
        }
    }
}
