import Logging

/// The log of a process: lines on standard error, which systemd stores.
public enum ProcessLog {
    private static let threshold = LogThreshold(.info)

    /// Makes every `Logger` write there. Must be called once, before the first logger is made.
    ///
    /// - Parameters:
    ///   - label: the process's name, which its own lines don't repeat.
    ///   - level: what is less important is not written.
    ///   - environment: the process's own by default; it tells whether the journal reads standard error.
    public static func bootstrap(
        label: String, level: Logger.Level, format: LogFormat = .text,
        environment: [String: String] = ProcessEnvironment.current
    ) {
        ignoreBrokenPipes()
        threshold.level = level
        let style = LineStyle(format: format, reader: LogReader(environment: environment))
        LoggingSystem.bootstrap {
            LineLogHandler(component: $0 == label ? nil : $0, threshold: threshold, style: style)
        }
    }

    /// Changes the level, also of loggers that are in use.
    public static func setLevel(_ level: Logger.Level) { threshold.level = level }
}

/// Writes one line per event.
struct LineLogHandler: LogHandler {
    /// Maximum length of a line in bytes; longer ones are cut, since a pipe accepts up to 4 KiB at once.
    static let maximumBytes = 16 << 10

    /// The component, added as metadata unless it is the process itself.
    var component: String?
    var style: LineStyle
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    var output = LineOutput.standardError
    private let threshold: LogThreshold
    /// A level set for one logger alone.
    private var ownLevel: Logger.Level?

    init(component: String?, threshold: LogThreshold, style: LineStyle) {
        self.component = component
        self.threshold = threshold
        self.style = style
    }

    var logLevel: Logger.Level {
        get { ownLevel ?? threshold.level }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var line = Array(text(of: event, at: Timestamp.now).utf8.prefix(Self.maximumBytes))
        line.append(UInt8(ascii: "\n"))
        output.write(line)
    }

    func text(of event: LogEvent, at timestamp: Timestamp) -> String {
        var fields = metadata
        if let provided = metadataProvider?.get() { fields.merge(provided) { $1 } }
        if let own = event.metadata { fields.merge(own) { $1 } }
        if let error = event.error { fields["error"] = "\(error)" }
        if let component { fields["component"] = "\(component)" }
        let sorted = fields.sorted { $0.key < $1.key }.map { ($0.key, $0.value.description) }
        return style.line(level: event.level, message: event.message.description, fields: sorted, at: timestamp)
    }
}
