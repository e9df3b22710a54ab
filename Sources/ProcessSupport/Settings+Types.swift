import Logging

extension Settings {
    /// A required text, which must not be empty.
    public func required(_ key: ConfigurationKey) throws(ConfigurationError) -> String {
        guard let text = try string(key), !text.isEmpty else { throw ConfigurationError(missing: key) }
        return text
    }

    /// A whole number. An empty text means the default.
    ///
    /// - Throws: the text is no number, is outside of `range`, or missing without a default.
    public func integer(_ key: ConfigurationKey, in range: ClosedRange<Int>) throws(ConfigurationError) -> Int {
        let text = try given(key)
        // `Int` would also accept a leading sign.
        guard let first = text.utf8.first, first != UInt8(ascii: "+"), let number = Int(text), range.contains(number)
        else {
            throw ConfigurationError(
                key, value: text, problem: "is not usable",
                remedy: "give a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// A flag: true, 1, yes or false, 0, no, in any case. An empty text means the default, and without a default false.
    public func flag(_ key: ConfigurationKey) throws(ConfigurationError) -> Bool {
        let text = try string(key).flatMap { $0.isEmpty ? nil : $0 } ?? key.defaultText ?? "false"
        switch text.lowercased() {
        case "true", "1", "yes": return true
        case "false", "0", "no": return false
        default:
            throw ConfigurationError(key, value: text, problem: "is not usable", remedy: "give true or false")
        }
    }

    /// The level of `LOG_LEVEL`, in any case.
    public func logLevel(_ key: ConfigurationKey = .logLevel) throws(ConfigurationError) -> Logger.Level {
        let text = try given(key)
        guard let level = Logger.Level(rawValue: text.lowercased()) else {
            let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            throw ConfigurationError(key, value: text, problem: "is no level", remedy: "give one of \(levels)")
        }
        return level
    }

    /// The format of `LOG_FORMAT`, in any case.
    public func logFormat(_ key: ConfigurationKey = .logFormat) throws(ConfigurationError) -> LogFormat {
        let text = try given(key)
        guard let format = LogFormat(rawValue: text.lowercased()) else {
            throw ConfigurationError(key, value: text, problem: "is no format", remedy: "give text or json")
        }
        return format
    }

    private func given(_ key: ConfigurationKey) throws(ConfigurationError) -> String {
        if let text = try string(key), !text.isEmpty { return text }
        guard let text = key.defaultText else { throw ConfigurationError(missing: key) }
        return text
    }
}
