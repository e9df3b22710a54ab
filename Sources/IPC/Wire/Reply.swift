import NIOCore

/// Whether the caches of syncd's host may be trusted (docs/consistency.md).
public enum SyncState: UInt64, Sendable, Hashable {
    /// No cache may be trusted: invalidations may be missing.
    case isolated = 1
    case attached = 2

    /// The state in replies and pushes.
    public var label: String { self == .attached ? "attached" : "isolated" }
}

/// The first word of an error reply.
public enum ErrorCode: String, Sendable, Hashable, CaseIterable {
    case generic = "ERR"
    case stale = "STALE"
    case noLease = "NOLEASE"
    case isolated = "ISOLATED"
    case tooBig = "TOOBIG"
    case busy = "BUSY"
    case denied = "DENIED"
    case noProtocol = "NOPROTO"
}

/// An error reply: a code and a message that names the thing and the remedy.
public struct ReplyError: Error, Sendable, Hashable {
    /// The kind of error.
    public var code: ErrorCode
    /// The fault and its remedy, for people. May hold data, which is escaped when it is written.
    public var message: String

    /// An error of this kind.
    public init(_ code: ErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }
}

/// Permission to load a key and to fill it.
public struct Lease: Sendable, Hashable {
    /// The number that FILL and ABANDON name.
    public var id: LeaseID
    /// Log position that was applied before the load began: the `asOf` of the loaded value.
    public var asOf: UInt64
    /// Epoch of the table when the lease was given: a later epoch ends the lease.
    public var epoch: UInt64

    /// A lease with all its properties.
    public init(id: LeaseID, asOf: UInt64, epoch: UInt64) {
        self.id = id
        self.asOf = asOf
        self.epoch = epoch
    }
}

/// The outcome of a fetch.
public enum FetchOutcome: Sendable, Hashable {
    case hit(Hit)
    case lease(Lease)
    /// Read the database directly and store nothing.
    case miss
}

/// The place of the log.
public enum LogMode: String, Sendable, Hashable {
    /// In Redis, shared by all hosts.
    case redis
    /// In syncd itself: a single host, no Redis.
    case embedded
}

/// The reply to `HELLO`.
public struct Greeting: Sendable, Hashable {
    /// Version of syncd.
    public var version: String
    /// The protocol version from here on.
    public var proto: RESPVersion
    /// Number of this connection, as in CLIENT ID.
    public var clientID: UInt64
    /// Epoch of the tag table.
    public var epoch: UInt64
    /// Incarnation of the log: 32 hexadecimal digits.
    public var incarnation: String
    /// Applied log position.
    public var applied: UInt64
    /// Whether the caches may be trusted now.
    public var state: SyncState
    /// Whether the log is shared through Redis or embedded in syncd.
    public var logMode: LogMode
    /// Path of the tag table.
    public var table: String
    /// Path of the journal directory.
    public var journal: String
    /// Maximum age of a trusted heartbeat.
    public var trustWindowMilliseconds: UInt64

    /// A greeting with all its fields.
    public init(
        version: String, proto: RESPVersion, clientID: UInt64, epoch: UInt64, incarnation: String, applied: UInt64,
        state: SyncState, logMode: LogMode, table: String, journal: String, trustWindowMilliseconds: UInt64
    ) {
        self.version = version
        self.proto = proto
        self.clientID = clientID
        self.epoch = epoch
        self.incarnation = incarnation
        self.applied = applied
        self.state = state
        self.logMode = logMode
        self.table = table
        self.journal = journal
        self.trustWindowMilliseconds = trustWindowMilliseconds
    }
}

/// The kinds of confirmation of SUBSCRIBE and related commands, one per channel.
public enum SubscriptionKind: String, Sendable, Hashable {
    case subscribe
    case unsubscribe
    case patternSubscribe = "psubscribe"
    case patternUnsubscribe = "punsubscribe"
}

/// The reply to one request.
public enum Reply: Sendable, Hashable {
    case ok
    /// A fixed text: `PONG`, `RESET`, `DEFERRED`.
    case simple(FixedText)
    case integer(UInt64)
    case bulk(ByteBuffer)
    case null
    case emptyArray
    case array([Reply])
    case emptyMap
    case error(ReplyError)
    indirect case greeting(Greeting)
    case fetched(FetchOutcome)
    case wait(ticket: UInt64)
    case fields([StatusField])
    /// The confirmations of one SUBSCRIBE or UNSUBSCRIBE: channel and number of subscriptions after it.
    case subscriptions(SubscriptionKind, [SubscriptionChange])

    /// The texts that are sent as simple strings. Data is never sent in this way.
    public enum FixedText: String, Sendable, Hashable {
        case pong = "PONG"
        case reset = "RESET"
        case deferred = "DEFERRED"
    }
}

/// One confirmation of SUBSCRIBE or UNSUBSCRIBE.
public struct SubscriptionChange: Sendable, Hashable {
    /// `nil`: unsubscribing from everything without any subscription.
    public var channel: ByteBuffer?
    /// Number of the client's subscriptions afterwards.
    public var count: Int

    /// A channel and the number of subscriptions after it.
    public init(channel: ByteBuffer?, count: Int) {
        self.channel = channel
        self.count = count
    }
}

/// A named value of STATUS or EXPLAIN.
public struct StatusField: Sendable, Hashable {
    /// The name, lower case with dashes.
    public var name: String
    /// The value at this moment.
    public var value: StatusValue

    /// A named value.
    public init(_ name: String, _ value: StatusValue) {
        self.name = name
        self.value = value
    }
}

/// A value of STATUS or EXPLAIN.
public indirect enum StatusValue: Sendable, Hashable {
    case text(String)
    case bytes(ByteBuffer)
    case number(UInt64)
    case flag(Bool)
    case null
    case fields([StatusField])
    case list([StatusValue])
}

/// A frame that is not a reply.
public enum Push: Sendable, Hashable {
    case invalidate(position: UInt64, tags: [ByteBuffer])
    case epoch(UInt64, reason: EpochReason)
    case beat(Beat)
    case fetched(ticket: UInt64, FetchOutcome)
    case message(Event)
    case patternMessage(pattern: ByteBuffer, Event)
}

/// A heartbeat of syncd.
public struct Beat: Sendable, Hashable {
    /// Epoch of the tag table.
    public var epoch: UInt64
    /// Applied log position.
    public var applied: UInt64
    /// Whether the caches may be trusted.
    public var state: SyncState
    /// CLOCK_BOOTTIME in ns of the heartbeat.
    public var beatNanoseconds: UInt64
    /// CLOCK_BOOTTIME in ns at which the last confirmed probe was sent.
    public var freshAsOfNanoseconds: UInt64

    /// A heartbeat with all its fields.
    public init(
        epoch: UInt64, applied: UInt64, state: SyncState, beatNanoseconds: UInt64, freshAsOfNanoseconds: UInt64
    ) {
        self.epoch = epoch
        self.applied = applied
        self.state = state
        self.beatNanoseconds = beatNanoseconds
        self.freshAsOfNanoseconds = freshAsOfNanoseconds
    }
}

/// The reason why the epoch was raised and earlier values are stale.
public enum EpochReason: String, Sendable, Hashable, CaseIterable {
    /// syncd started.
    case started
    /// `TRACK ON` was answered: only values that are fetched afterwards may be stored.
    case tracking
    /// This client was too slow for its pushes.
    case slow
    /// The log was replaced, or another host replaced it.
    case incarnation
    /// Entries were trimmed before they were applied.
    case trimmed
    /// The log is not the one that was applied so far.
    case discontinuous
}
