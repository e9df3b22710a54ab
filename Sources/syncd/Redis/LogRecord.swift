import IPCWire
import NIOCore
import SyncCore

/// The record of the log: its incarnation and the process that holds it.
struct LogRecord {
    var incarnation: Incarnation
    var identity: ServerIdentity?

    /// Maximum length in bytes: the incarnation and two names of at most 128 bytes.
    private static let maximumBytes = 512

    init?(_ value: RESPValue) {
        guard case .bulkString(let bytes) = value, bytes.readableBytes <= Self.maximumBytes else { return nil }
        let words = String(buffer: bytes).split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, let incarnation = Incarnation(String(words[0])) else { return nil }
        self.incarnation = incarnation
        if words[1] != "-", words[2] != "-" {
            identity = ServerIdentity(runID: String(words[1]), replicationID: String(words[2]))
        }
    }
}
