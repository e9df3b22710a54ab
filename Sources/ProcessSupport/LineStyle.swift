import Logging
import Notation

/// The format of one log event as one line.
struct LineStyle: Sendable, Hashable {
    var format = LogFormat.text
    var reader = LogReader.stream

    /// - Parameter fields: the metadata, sorted by name.
    func line(
        level: Logger.Level, message: String, fields: [(name: String, value: String)], at timestamp: Timestamp
    ) -> String {
        let prefix = reader == .journal ? "<\(level.priority)>" : ""
        switch format {
        case .text:
            var line = prefix
            if reader == .stream { line += "\(timestamp) \(level.rawValue) " }
            line += LogText.escaped(message)
            for (name, value) in fields { line += " \(LogText.escaped(name))=\(LogText.quoted(value))" }
            return line
        case .json:
            // Fixed fields come first; a metadata field can't take their name.
            let own = [("time", "\(timestamp)"), ("level", level.rawValue), ("message", message)]
            let names = Set(own.map(\.0))
            let all = own + fields.map { (names.contains($0.name) ? "field-\($0.name)" : $0.name, $0.value) }
            return prefix + "{"
                + all.map { "\(Self.quoted($0.0)):\(Self.quoted($0.1))" }.joined(separator: ",") + "}"
        }
    }

    /// A JSON string on one line.
    private static func quoted(_ text: String) -> String { JSONString.quoted(text, escaping: LogText.isUnsafe) }
}
