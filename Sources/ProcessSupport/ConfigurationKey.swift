/// One setting: its name in the environment and in files, its option on the command line, its default.
public struct ConfigurationKey: Sendable, Hashable {
    /// The name in the environment and in files: `REDIS_URL`.
    public let name: String
    /// The option on the command line: `--redis-url`.
    public let option: String
    /// The default value as text; `nil` if there is none.
    public let defaultText: String?
    /// A description of one line for people.
    public let help: String
    /// The value is never shown, and may also be given as a file: `REDIS_URL_FILE`, or a systemd credential of that
    /// name.
    public let isSecret: Bool

    /// A setting. Its option is its name in lower case with dashes, unless another one is given.
    public init(
        _ name: String, option: String? = nil, default defaultText: String? = nil, help: String,
        isSecret: Bool = false
    ) {
        self.name = name
        self.option = option ?? "--" + name.lowercased().split(separator: "_").joined(separator: "-")
        self.defaultText = defaultText
        self.help = help
        self.isSecret = isSecret
    }

    /// `LOG_LEVEL`, the same for every process.
    public static let logLevel = ConfigurationKey(
        "LOG_LEVEL", default: "info", help: "trace, debug, info, notice, warning, error or critical.")

    /// `LOG_FORMAT`, the same for every process.
    public static let logFormat = ConfigurationKey(
        "LOG_FORMAT", default: "text", help: "text, or json for one JSON object per line.")

    /// `SYNCD_SOCKET`, the same for every process.
    public static let syncdSocket = ConfigurationKey(
        "SYNCD_SOCKET", option: "--socket", default: "/run/syncd/syncd.sock", help: "Path of syncd's socket.")

    /// The key of a file that has the secret.
    var fileName: String { "\(name)_FILE" }
}
