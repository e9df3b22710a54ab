import NIOCore

/// Whether the caches of syncd's host may be trusted (docs/consistency.md).
package enum SyncState: UInt64, Sendable, Hashable {
    /// No cache may be trusted: invalidations may be missing.
    case isolated = 1
    case attached = 2

    /// The state in replies and pushes.
    package var label: String { self == .attached ? "attached" : "isolated" }
}

/// The first word of an error reply.
package enum ErrorCode: String, Sendable, Hashable, CaseIterable {
    case generic = "ERR"
    case stale = "STALE"
    case noLease = "NOLEASE"
    case isolated = "ISOLATED"
    case tooBig = "TOOBIG"
    case busy = "BUSY"
    case denied = "DENIED"
    case noRole = "NOROLE"
    case noProtocol = "NOPROTO"
}

/// An error reply: a code and a message that names the thing and the remedy.
package struct ReplyError: Error, Sendable, Hashable {
    /// The kind of error.
    package var code: ErrorCode
    /// The fault and its remedy, for people. May hold data, which is escaped when it is written.
    package var message: String

    /// An error of this kind.
    package init(_ code: ErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }
}

/// Permission to load a key and to fill it.
package struct Lease: Sendable, Hashable {
    /// The number that FILL and ABANDON name.
    package var id: LeaseID
    /// Log position that was applied before the load began: the `asOf` of the loaded value.
    package var asOf: LogPosition
    /// Epoch of the table when the lease was given: a later epoch ends the lease.
    package var epoch: Epoch

    /// A lease with all its properties.
    package init(id: LeaseID, asOf: LogPosition, epoch: Epoch) {
        self.id = id
        self.asOf = asOf
        self.epoch = epoch
    }
}

/// The outcome of a fetch.
package enum FetchOutcome: Sendable, Hashable {
    case hit(Hit)
    case lease(Lease)
    /// Read the database directly and store nothing.
    case miss
}

/// The place of the log.
package enum LogMode: String, Sendable, Hashable {
    /// In Redis, shared by all hosts.
    case redis
    /// In syncd itself: a single host, no Redis.
    case embedded
}

/// The reply to `HELLO`.
package struct Greeting: Sendable, Hashable {
    /// Version of syncd.
    package var version: String
    /// The protocol version from here on.
    package var proto: RESPVersion
    /// Number of this connection, as in CLIENT ID.
    package var clientID: UInt64
    /// Epoch of the tag table.
    package var epoch: Epoch
    /// Incarnation of the log: 32 hexadecimal digits.
    package var incarnation: String
    /// Applied log position.
    package var applied: LogPosition
    /// Whether the caches may be trusted now.
    package var state: SyncState
    /// Whether the log is shared through Redis or embedded in syncd.
    package var logMode: LogMode
    /// Path of the tag table.
    package var table: String
    /// Path of the journal directory.
    package var journal: String
    /// Path of the value arena; `nil` if there is none.
    package var arena: String?
    /// Whether syncd takes part in change feeds: FEED, and AT in INVALIDATE.
    package var hasFeeds: Bool
    /// Maximum age of a trusted heartbeat.
    package var trustWindowMilliseconds: UInt64

    /// A greeting with all its fields.
    package init(
        version: String, proto: RESPVersion, clientID: UInt64, epoch: Epoch, incarnation: String, applied: LogPosition,
        state: SyncState, logMode: LogMode, table: String, journal: String, arena: String? = nil,
        hasFeeds: Bool = true, trustWindowMilliseconds: UInt64
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
        self.arena = arena
        self.hasFeeds = hasFeeds
        self.trustWindowMilliseconds = trustWindowMilliseconds
    }
}

/// The kinds of confirmation of SUBSCRIBE and related commands, one per channel.
package enum SubscriptionKind: String, Sendable, Hashable {
    case subscribe
    case unsubscribe
    case patternSubscribe = "psubscribe"
    case patternUnsubscribe = "punsubscribe"
}

/// The metrics of one worker, as `METRICS GET` names them.
package struct ReportedMetrics: Sendable, Hashable {
    /// The worker's name, which no other client of this syncd has.
    package var worker: ByteBuffer
    /// Time since the report.
    package var ageMilliseconds: UInt64
    /// The text format of Prometheus, unchecked.
    package var text: ByteBuffer

    /// The metrics of a worker.
    package init(worker: ByteBuffer, ageMilliseconds: UInt64, text: ByteBuffer) {
        self.worker = worker
        self.ageMilliseconds = ageMilliseconds
        self.text = text
    }

    /// An element of the reply.
    package var reply: Reply { .array([.bulk(worker), .integer(ageMilliseconds), .bulk(text)]) }
}

/// The reply to one request.
package enum Reply: Sendable, Hashable {
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
    package enum FixedText: String, Sendable, Hashable {
        case pong = "PONG"
        case reset = "RESET"
        case deferred = "DEFERRED"
    }
}

/// One confirmation of SUBSCRIBE or UNSUBSCRIBE.
package struct SubscriptionChange: Sendable, Hashable {
    /// `nil`: unsubscribing from everything without any subscription.
    package var channel: ByteBuffer?
    /// Number of the client's subscriptions afterwards.
    package var count: Int

    /// A channel and the number of subscriptions after it.
    package init(channel: ByteBuffer?, count: Int) {
        self.channel = channel
        self.count = count
    }
}

/// A named value of STATUS or EXPLAIN.
package struct StatusField: Sendable, Hashable {
    /// The name, lower case with dashes.
    package var name: String
    /// The value at this moment.
    package var value: StatusValue

    /// A named value.
    package init(_ name: String, _ value: StatusValue) {
        self.name = name
        self.value = value
    }
}

/// A value of STATUS or EXPLAIN.
package indirect enum StatusValue: Sendable, Hashable {
    case text(String)
    case bytes(ByteBuffer)
    case number(UInt64)
    case flag(Bool)
    case null
    case fields([StatusField])
    case list([StatusValue])
}

/// A frame that is not a reply.
package enum Push: Sendable, Hashable {
    case invalidate(position: LogPosition, tags: [ByteBuffer])
    case epoch(Epoch, reason: EpochReason)
    case heartbeat(Heartbeat)
    case fetched(ticket: UInt64, FetchOutcome)
    case message(Event)
    case patternMessage(pattern: ByteBuffer, Event)
}

/// A heartbeat of syncd.
package struct Heartbeat: Sendable, Hashable {
    /// Epoch of the tag table.
    package var epoch: Epoch
    /// Applied log position.
    package var applied: LogPosition
    /// Whether the caches may be trusted.
    package var state: SyncState
    /// CLOCK_BOOTTIME in ns of the heartbeat.
    package var heartbeat: BootTime
    /// CLOCK_BOOTTIME in ns at which the last confirmed probe was sent.
    package var freshAsOf: BootTime

    /// A heartbeat with all its fields.
    package init(
        epoch: Epoch, applied: LogPosition, state: SyncState, heartbeat: BootTime, freshAsOf: BootTime
    ) {
        self.epoch = epoch
        self.applied = applied
        self.state = state
        self.heartbeat = heartbeat
        self.freshAsOf = freshAsOf
    }
}

/// The reason why the epoch was raised and earlier values are stale.
package enum EpochReason: String, Sendable, Hashable, CaseIterable {
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
