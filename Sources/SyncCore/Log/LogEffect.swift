import IPCWire
import NIOCore

/// The origin of an append.
enum AppendRequester: Sendable, Hashable {
    case client(ClientID, RequestID)
    /// Files of the journal.
    case journal(group: UInt64)
    /// PUBLISH on a channel of the event bridge's rules.
    case publisher(ClientID, RequestID, channel: ByteBuffer)
    /// An event of another program; without a name, it is appended whichever host has done so already.
    case bridge(BridgedEvent?)
    /// Changes that the reader of a feed has saved.
    case feed(ByteBuffer, ClientID, RequestID)

    var isBridge: Bool { if case .bridge = self { true } else { false } }
}

/// Results of the log for the engine.
enum LogEffect: Sendable, Hashable {
    case upstream(UpstreamCommand)
    /// The log and the table have the invalidation.
    case committed(AppendRequester, position: LogPosition)
    /// An append is in the log and in the table, this many ns after it began. Without Redis that takes no time.
    case visible(nanoseconds: UInt64)
    /// The log has not accepted the invalidation: it is pending. An event has not been published.
    case deferred(AppendRequester, tags: [ByteBuffer], Event?)
    /// Another host reads the feed: its append was refused.
    case feedRoleLost(ByteBuffer, ClientID, RequestID)
    /// `applied` moved to this entry.
    case applied(LogEntry)
    case epochRaised(EpochReason)
    case attached
    case isolated(IsolationReason)
    /// The host has switched to another log. It may lack entries that this host has acknowledged or seen, and the same
    /// positions may be other entries.
    case switched
    /// The log is another one than that of the values in the arena, or may have lost entries that they are newer than.
    case historyUnknown
    /// The continuity check has passed and every gap is closed: pending invalidations can be appended now.
    case synced(serverVersion: String)
    /// The server is asked to replace the log: every cached value of every host is dead.
    case replacing(IsolationReason)
    case warning(String)
    /// Another deployment publishes on the log's channel.
    case foreignLog(Incarnation)
    /// The server refuses a command that syncd needs; its settings or ours have to be changed.
    case denied(String)
}
