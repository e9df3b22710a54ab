import IPCWire
import NIOCore

// The interface between the engine and the server that holds the shared log (Redis). It is data in both directions, so
// that the simulator can implement the server. Every command except the subscriptions has an id, and its reply has the
// same. When the command connection breaks, the ids in flight are never answered: their outcome is unknown.

/// Names one command until it is answered.
package struct UpstreamID: TypedNumber {
    package var number: UInt64

    @inlinable package init(_ number: UInt64) { self.number = number }
}

/// The process that holds the log. Another process has another history: nothing of it continues the applied log.
package struct ServerIdentity: Sendable, Hashable {
    /// `run_id` of INFO.
    package var runID: String
    /// `master_replid` of INFO.
    package var replicationID: String

    package init(runID: String, replicationID: String) {
        self.runID = runID
        self.replicationID = replicationID
    }
}

/// Commands of the engine to the server.
package enum UpstreamCommand: Sendable, Hashable {
    /// Read all data of the continuity check.
    case inspect(UpstreamID, lastApplied: LogPosition)
    case append(UpstreamID, AppendCommand)
    /// Read incarnation and position, and who reads these change feeds.
    case probe(UpstreamID, feeds: [ByteBuffer] = [])
    /// Read at most `count` entries after a position.
    case read(UpstreamID, after: LogPosition, count: Int)
    /// Replace the log, if its incarnation still is `expected` (`nil`: there is none, or it is unreadable).
    case replace(UpstreamID, ReplaceCommand)
    case publish(UpstreamID, Event)
    /// Take or keep the role of a change feed's reader, and store its token if there is one in the command.
    case feed(UpstreamID, FeedCommand)
    case get(UpstreamID, key: ByteBuffer)
    /// Store an entry. There is no reply: a failed write is no error.
    case set(key: ByteBuffer, entry: ByteBuffer, ttlMilliseconds: UInt64)
    case subscribe([ByteBuffer])
    case unsubscribe([ByteBuffer])
    case patternSubscribe([ByteBuffer])
    case patternUnsubscribe([ByteBuffer])
    /// Close the command connection and connect again: a reply was invalid.
    case reconnect(reason: String)
}

/// One append: the log entry and, published directly after it, its event.
package struct AppendCommand: Sendable, Hashable {
    /// The log that the entry is meant for.
    package var incarnation: Incarnation
    /// The incarnation to create if there is no log.
    package var fresh: Incarnation
    package var body: LogEntryBody
    /// Payload for `body.eventChannel`.
    package var eventPayload: ByteBuffer?
    /// The name of another program's event. If the server has accepted an append with this name and the same tags a
    /// short while ago, it does not append, and answers ``UpstreamReply/alreadyBridged(_:)``.
    package var bridged: BridgedEvent?
    /// The token of a change feed that is stored with the entry. If another host has the role, the server does not append,
    /// and answers ``UpstreamReply/feedRoleLost(_:)``.
    package var feed: FeedCommand?

    package init(
        incarnation: Incarnation, fresh: Incarnation, body: LogEntryBody, eventPayload: ByteBuffer?,
        bridged: BridgedEvent? = nil, feed: FeedCommand? = nil
    ) {
        self.incarnation = incarnation
        self.fresh = fresh
        self.body = body
        self.eventPayload = eventPayload
        self.bridged = bridged
        self.feed = feed
    }
}

/// One compare-and-set of the incarnation. The first host wins.
package struct ReplaceCommand: Sendable, Hashable {
    /// The raw record that the server had at the inspection; `nil`: none. Compared byte for byte.
    package var expected: ByteBuffer?
    package var fresh: Incarnation
    /// Positions continue from the greatest of this, the server's position and the last stream id.
    package var floor: LogPosition

    package init(expected: ByteBuffer?, fresh: Incarnation, floor: LogPosition) {
        self.expected = expected
        self.fresh = fresh
        self.floor = floor
    }
}

/// Why a command failed.
package enum UpstreamFailure: Error, Sendable, Hashable {
    /// The server refuses for now (LOADING, BUSY, OOM, MISCONF, NOREPLICAS …). The text has the reply.
    case refused(String)
    /// The server is a replica or was demoted (READONLY): another one holds the log.
    case wrongRole(String)
    /// The keys of the log hold something else (WRONGTYPE, ids that go back): the log is damaged.
    case damaged(String)
    /// The configuration is wrong (NOAUTH, WRONGPASS, NOPERM): waiting does not help.
    case denied(String)

    /// The fault as text for people.
    package var message: String {
        switch self {
        case .refused(let why), .wrongRole(let why), .damaged(let why), .denied(let why): why
        }
    }
}

/// The data that the server shows about itself and its log.
package struct Inspection: Sendable, Hashable {
    /// `nil`: the server does not show it; every reconnect counts as another process.
    package var identity: ServerIdentity?
    package var serverVersion: String
    /// Whether the server has the role of a primary; `true` if it shows no role.
    package var isPrimary: Bool
    /// The raw record, for ``ReplaceCommand/expected``; `nil`: there is no log.
    package var rawRecord: ByteBuffer?
    /// The record's incarnation; `nil` also if it is unreadable.
    package var incarnation: Incarnation?
    /// The process that the record names.
    package var recordedIdentity: ServerIdentity?
    package var position: LogPosition
    package var firstEntry: LogPosition?
    package var lastEntry: LogPosition?
    /// The entry at the `lastApplied` asked for.
    package var entryAtLastApplied: LogEntry?
    /// Warnings about the server's settings (eviction of log keys), for the log and for STATUS.
    package var warnings: [String]

    package init(
        identity: ServerIdentity?, serverVersion: String, isPrimary: Bool, rawRecord: ByteBuffer?,
        incarnation: Incarnation?, recordedIdentity: ServerIdentity?, position: LogPosition, firstEntry: LogPosition?,
        lastEntry: LogPosition?, entryAtLastApplied: LogEntry?, warnings: [String]
    ) {
        self.identity = identity
        self.serverVersion = serverVersion
        self.isPrimary = isPrimary
        self.rawRecord = rawRecord
        self.incarnation = incarnation
        self.recordedIdentity = recordedIdentity
        self.position = position
        self.firstEntry = firstEntry
        self.lastEntry = lastEntry
        self.entryAtLastApplied = entryAtLastApplied
        self.warnings = warnings
    }
}

/// The reply to a command.
package enum UpstreamReply: Sendable, Hashable {
    case inspected(Inspection)
    /// Appended at a position of this log: the requested one, or the fresh one if there was none.
    case appended(Incarnation, position: LogPosition)
    /// Not appended: the log has another incarnation.
    case otherIncarnation(Incarnation?)
    /// Not appended: this log has the event already, from another host or an earlier attempt.
    case alreadyBridged(Incarnation)
    /// Not appended: another host reads the change feed.
    case feedRoleLost(Incarnation)
    case probed(Incarnation?, position: LogPosition, feeds: [FeedHolder] = [])
    /// Whether this host has the role; if it asked for it, the stored token.
    case feed(isHolder: Bool, token: ByteBuffer?)
    /// Entries, and the incarnation of their log.
    case entries(Incarnation?, [LogEntry])
    /// The log's incarnation and position after the attempt, whichever host won.
    case replaced(Incarnation, position: LogPosition)
    case published(receivers: UInt64)
    case got(entry: ByteBuffer?, ttlMilliseconds: UInt64)
    /// There is a value of this many bytes, but too many long ones are on their way.
    case long(bytes: Int)
    case failed(UpstreamFailure)
}

/// Events of the server, or of the connections to it.
package enum UpstreamEvent: Sendable, Hashable {
    /// Commands can be sent. The continuity check has not begun.
    case commandsConnected
    case commandsDisconnected(reason: String)
    /// The log channel is subscribed. The engine subscribes all other channels again. The identity is that of the
    /// process at the other end of this connection, if it shows one.
    case subscriptionConnected(ServerIdentity?)
    /// Not every entry arrives on the subscription that was connected last: this host may not listen to one of the
    /// channels on which others publish.
    case subscriptionIsPartial
    case subscriptionDisconnected(reason: String)
    case reply(UpstreamID, UpstreamReply)
    /// An entry on the log channel.
    case published(Incarnation, LogEntry)
    /// Something unreadable on the log channel.
    case publishedUnreadable
    case message(Event)
    case patternMessage(pattern: ByteBuffer, Event)
}
