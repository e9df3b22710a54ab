import IPCWire
import NIOCore

/// The name of one event of another program. Hosts that saw the same messages give it the same name.
package struct BridgedEvent: Sendable, Hashable {
    /// The log's position when the event was published, or a greater one.
    package var base: LogPosition
    /// The event's place among the bridged events since then, from 1.
    package var ordinal: UInt64

    package init(base: LogPosition, ordinal: UInt64) {
        self.base = base
        self.ordinal = ordinal
    }
}

/// Decides which messages of the subscription are events of other programs, and names them, so that of all hosts that
/// see an event only the first one's append goes into the log.
///
/// Both rely on the order of messages on one connection, which is the same on all of them:
/// - An append publishes its log entry and directly after it its event. So the message that follows an entry which
///   names an event is that event, and needs no further invalidation. (The channels of the rules are subscribed before
///   the log's, so that no such event is left out.)
/// - Hosts count events from the last log entry on. The append has the position of that entry, the count, and the tags.
///   The server remembers for a while which of these it has accepted, and refuses the same once more.
///
/// Nothing is lost by that. Assume that the server refuses an append for an event M, because it has accepted one with
/// the same tags and base, at position q > base. Had M been published after q, then the entry q would have come before
/// M, and M's base would be at least q. So M came before q, and q invalidates the values that M concerns. Where the
/// base is unknown (on a new connection, until a probe that was sent on it is answered) an event has no name and every
/// host appends for it.
struct BridgeFeed: Sendable {
    /// The log's channel is subscribed: every entry is received.
    private var isListening = false
    /// Channel of the event that the last message, a log entry, has named.
    private var announced: ByteBuffer?
    /// A lower bound of the position at which the next message will be published. Exact once an entry has come.
    private var base: LogPosition?
    private var ordinal: UInt64 = 0
    /// An append that invalidates everything was requested for an event since the last log entry.
    private var isEverythingAsked = false
    /// Probes with a greater id were sent after the base was lost.
    private var lostAt: UpstreamID = 0

    mutating func connected(last: UpstreamID) {
        interrupted(last: last)
        isListening = true
    }

    mutating func disconnected(last: UpstreamID) {
        interrupted(last: last)
        isListening = false
    }

    /// The base is lost, for instance by an unreadable message. `last` is the last command's id.
    mutating func interrupted(last: UpstreamID) {
        announced = nil
        isEverythingAsked = false
        base = nil
        ordinal = 0
        lostAt = last
    }

    /// Handles a log entry. `isOurs`: of the log that this host appends to.
    mutating func entryCame(_ entry: LogEntry, isOurs: Bool, last: UpstreamID) {
        interrupted(last: last)
        // Entries of another log are not in this one.
        guard isOurs else { return }
        announced = entry.body.eventChannel
        if isListening { base = entry.position }
    }

    /// A command of this id read the position of our log. Entries that came since then are newer.
    mutating func probed(_ id: UpstreamID, position: LogPosition) {
        if isListening, base == nil, id > lostAt { base = position }
    }

    /// Handles an event on a channel. Returns whether another program has published it.
    mutating func isForeign(_ channel: ByteBuffer) -> Bool {
        defer { announced = nil }
        return announced != channel
    }

    /// The name of the event of another program that was received last.
    mutating func name() -> BridgedEvent? {
        ordinal += 1
        return base.map { BridgedEvent(base: $0, ordinal: ordinal) }
    }

    /// Handles an event that invalidates everything. Returns whether it needs an append. If the log's entries are
    /// listened to and none has come since the last such event, the entry of that one's append will be published after
    /// this event and covers it. So there is one append for all such events between two entries. All hosts see the same
    /// order and decide alike.
    mutating func asksForEverything() -> Bool {
        defer { isEverythingAsked = isListening }
        return !isEverythingAsked
    }
}
