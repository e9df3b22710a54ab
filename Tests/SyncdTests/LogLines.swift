import Logging
import Synchronization

/// Keeps the messages that are logged.
final class LogLines: LogHandler, Sendable {
    private let messages = Mutex<[String]>([])
    var lines: [String] { messages.withLock { $0 } }

    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        messages.withLock { $0.append("\(event.message)") }
    }
}
