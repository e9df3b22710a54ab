/// The format of `.env` and `--config` files: assignments `KEY=value`, read as python-dotenv reads them.
///
/// Blank lines and lines that begin with `#` are skipped. `export ` in front of a key is allowed, and so is space
/// around key and value. A value may be in single quotes (with `\'` and `\\`) or in double quotes (with `\n`, `\t`,
/// `\"`, `\\` and the other escapes of C); any other backslash stands for itself. A quoted value may have several
/// lines. Without quotes a value ends before a `#` that follows a space, and at the line's end. The last of several
/// assignments to one key counts.
enum EnvironmentFile {
    /// Maximum size in bytes: more than a file of settings ever has.
    static let maximumBytes = 1 << 20

    /// Whether a line that is not an assignment, or has an unknown key, is an error.
    enum Strictness {
        /// The file is ours: every line has to be an assignment.
        case everything
        /// The file belongs to other programs, too: their lines are ignored, as other readers do. An assignment to a
        /// key of ours has to be readable.
        case keys(@Sendable (String) -> Bool)
    }

    static func parse(
        _ text: String, path: String, _ strictness: Strictness = .everything
    ) throws(ConfigurationError) -> [String: String] {
        var values: [String: String] = [:]
        var reader = EnvironmentFileReader(text)
        while let statement = reader.next() {
            switch statement {
            case .assignment(let key, let value, let line):
                if let value, isKey(key) {
                    values[key] = value
                } else if case .keys(let isOurs) = strictness, !isOurs(key) {
                    continue
                } else {
                    throw refusal(path, line)
                }
            case .other(let line):
                if case .everything = strictness { throw refusal(path, line) }
            }
        }
        return values
    }

    private static func refusal(_ path: String, _ line: Int) -> ConfigurationError {
        // The line may hold a secret: it is named, not shown.
        ConfigurationError(
            key: nil, "\(path), line \(line): write it as KEY=value, with a quote at both ends of the value or at none")
    }

    private static func isKey(_ key: String) -> Bool {
        func isLetter(_ byte: UInt8) -> Bool {
            byte == UInt8(ascii: "_") || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
        }
        guard let first = key.utf8.first, isLetter(first) else { return false }
        return key.utf8.allSatisfy { isLetter($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }
}
