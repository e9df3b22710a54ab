/// An invalid setting. The process ends with ``ExitStatus/configuration``.
public struct ConfigurationError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The key, or `nil` if a whole file can't be read.
    public let key: String?
    /// The fault, with the key and the remedy; never a secret's value.
    public let description: String

    /// A file or a key by itself is at fault.
    public init(key: String?, _ description: String) {
        self.key = key
        self.description = description
    }

    /// An invalid value. `problem` continues the sentence after the value: "is no port".
    public init(_ key: ConfigurationKey, value: String, problem: String, remedy: String) {
        let shown = key.isSecret ? "its value (not shown)" : "\"\(LogText.escaped(value))\""
        self.init(key: key.name, "\(key.name): \(shown) \(problem); \(remedy)")
    }

    /// A file that an option within a value names is unreadable. `why` is the system's error.
    public init(_ key: ConfigurationKey, option: String, path: String, why: String, remedy: String) {
        let path = LogText.escaped(path)
        self.init(key: key.name, "\(key.name): \(option) names \"\(path)\", which can't be read: \(why); \(remedy)")
    }

    /// A required value is missing.
    public init(missing key: ConfigurationKey) {
        let file = key.isSecret ? ", or the path of a file with it as \(key.fileName)" : ""
        self.init(
            key: key.name,
            "\(key.name) is missing or empty: set it in the environment, in a .env or --config file, or with \(key.option)\(file)"
        )
    }
}
