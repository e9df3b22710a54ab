import IPCWire
import NIOCore

/// Who asked for an append.
enum AppendRequester: Sendable, Hashable {
    case client(ClientID, RequestID)
    /// Files of the journal.
    case journal(group: UInt64)
    /// PUBLISH on a channel of the event bridge's rules.
    case publisher(ClientID, RequestID, channel: ByteBuffer)
    /// An event of another program; without a name, it is appended whoever else has done so.
    case bridge(BridgedEvent?)

    var isBridge: Bool { if case .bridge = self { true } else { false } }
}

/// What the log wants done, or makes known to the brain.
enum LogEffect: Sendable, Hashable {
    case upstream(UpstreamCommand)
    /// The log and the table have it.
    case committed(AppendRequester, position: UInt64)
    /// The log has not taken it: it is pending. An event has not been published.
    case deferred(AppendRequester, tags: [ByteBuffer], Event?)
    /// `applied` moved to this entry.
    case applied(LogEntry)
    case epochRaised(EpochReason)
    case attached
    case isolated(IsolationReason)
    /// Another log than the one that was applied so far is ours from now on: it may not have all that this host has
    /// acknowledged or seen, and its positions may be those of other entries.
    case switched
    /// The log is the right one and every gap is closed: what is pending can be appended now.
    case synced(serverVersion: String)
    /// The server is asked to replace the log: every cached value of every host is dead.
    case replacing(IsolationReason)
    case warning(String)
    /// Another deployment publishes on the log's channel.
    case foreignLog(Incarnation)
    /// The server refuses what syncd needs; somebody has to change its settings or ours.
    case denied(String)
}
