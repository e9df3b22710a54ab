import IPCWire
import NIOCore

/// One entry of the invalidation log.
public struct LogEntry: Sendable, Hashable {
    public var position: UInt64
    public var body: LogEntryBody

    public init(position: UInt64, body: LogEntryBody) {
        self.position = position
        self.body = body
    }
}

/// What an entry says, apart from its position: the part that its writer chooses.
public struct LogEntryBody: Sendable, Hashable {
    /// The syncd that appended it: random, one per process.
    public var origin: UInt64
    /// Random, one per append: `(origin, nonce)` names this append among all.
    public var nonce: UInt64
    /// The channel of the event that was published with it, directly after it.
    public var eventChannel: ByteBuffer?
    public var tags: [ByteBuffer]

    public init(origin: UInt64, nonce: UInt64, eventChannel: ByteBuffer?, tags: [ByteBuffer]) {
        self.origin = origin
        self.nonce = nonce
        self.eventChannel = eventChannel
        self.tags = tags
    }
}
