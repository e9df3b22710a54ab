import Logging

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The log of a process: lines on standard error, which systemd keeps.
public enum ProcessLog {
    /// Makes every `Logger` write there. To be called once, before the first logger is made.
    ///
    /// - Parameters:
    ///   - label: the process's name, which its own lines don't repeat.
    ///   - level: what is less important is not written.
    public static func bootstrap(label: String, level: Logger.Level) {
        ignoreBrokenPipes()
        LoggingSystem.bootstrap { LineLogHandler(component: $0 == label ? nil : $0, logLevel: level) }
    }
}

/// Writes one line per event: `2026-11-23T08:00:00.123Z notice message key=value`, keys in alphabetical order.
struct LineLogHandler: LogHandler {
    /// Longer lines are cut: a pipe takes up to 4 KiB at once, and nobody reads more.
    static let maximumBytes = 16 << 10

    /// Added as metadata where it is not the process itself.
    var component: String?
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    var output = LineOutput.standardError

    init(component: String?, logLevel: Logger.Level) {
        self.component = component
        self.logLevel = logLevel
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
        var line = "\(timestamp) \(event.level.rawValue) \(LogText.escaped(event.message.description))"
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
            line += " \(LogText.escaped(key))=\(LogText.quoted(value.description))"
        }
        return line
    }
}

/// A time as the log shows it: UTC, in milliseconds.
struct Timestamp: CustomStringConvertible {
    var seconds: Int
    var milliseconds: Int

    static var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(seconds: time.tv_sec, milliseconds: time.tv_nsec / 1_000_000)
    }

    var description: String {
        var (seconds, parts) = (time_t(self.seconds), tm())
        gmtime_r(&seconds, &parts)
        let date = "\(parts.tm_year + 1900)-\(padded(parts.tm_mon + 1))-\(padded(parts.tm_mday))"
        let time = "\(padded(parts.tm_hour)):\(padded(parts.tm_min)):\(padded(parts.tm_sec))"
        return "\(date)T\(time).\(padded(Int32(milliseconds), digits: 3))Z"
    }

    private func padded(_ number: Int32, digits: Int = 2) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
}
