import NIOCore

/// Whether syncd vouches for the caches of its host (docs/consistency.md).
package enum SyncState: UInt64, Sendable, Hashable {
    /// Nobody may trust a cache: invalidations may be missing.
    case isolated = 1
    case attached = 2

    /// As it is written in replies and pushes.
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
    case noProtocol = "NOPROTO"
}

/// An error that a peer is told: a code and a message that names the thing and the remedy.
package struct ReplyError: Error, Sendable, Hashable {
    /// What kind of error it is.
    package var code: ErrorCode
    /// What is wrong and what helps, for people. May hold data: it is escaped when it is written.
    package var message: String

    /// An error of a kind.
    package init(_ code: ErrorCode, _ message: String) {
        self.code = code
        self.message = message
    }
}

/// Permission to load a key and to fill it.
package struct Lease: Sendable, Hashable {
    /// Its number, which FILL and ABANDON name.
    package var id: LeaseID
    /// Log position that is applied now, before the load begins: the `asOf` of what will be loaded.
    package var asOf: UInt64
    /// Epoch of the table when it was given: a later one ends it.
    package var epoch: UInt64

    /// A lease.
    package init(id: LeaseID, asOf: UInt64, epoch: UInt64) {
        self.id = id
        self.asOf = asOf
        self.epoch = epoch
    }
}

/// How a fetch ends.
package enum FetchOutcome: Sendable, Hashable {
    case hit(Hit)
    case lease(Lease)
    /// Read the database yourself and store nothing.
    case miss
}

/// Where the log is kept.
package enum LogMode: String, Sendable, Hashable {
    /// In Redis, shared by all hosts.
    case redis
    /// In syncd itself: one host, no Redis.
    case embedded
}

/// What `HELLO` tells a client.
package struct Greeting: Sendable, Hashable {
    /// Version of syncd.
    package var version: String
    /// The protocol version that is spoken from here on.
    package var proto: RESPVersion
    /// Number of this connection, as in CLIENT ID.
    package var clientID: UInt64
    /// Epoch of the tag table.
    package var epoch: UInt64
    /// Incarnation of the log: 32 hexadecimal digits.
    package var incarnation: String
    /// Log position that is applied.
    package var applied: UInt64
    /// Whether the caches may be trusted now.
    package var state: SyncState
    /// Whether the log is shared through Redis or is syncd's own.
    package var logMode: LogMode
    /// Path of the tag table.
    package var table: String
    /// Path of the journal directory.
    package var journal: String
    /// How long a beat is believed.
    package var trustWindowMilliseconds: UInt64

    /// Everything that HELLO tells.
    package init(
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

/// The kinds of confirmation that SUBSCRIBE and its relatives give, one per channel.
package enum SubscriptionKind: String, Sendable, Hashable {
    case subscribe
    case unsubscribe
    case patternSubscribe = "psubscribe"
    case patternUnsubscribe = "punsubscribe"
}

/// One answer to one request.
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

    /// The texts that are sent as simple strings; data never is.
    package enum FixedText: String, Sendable, Hashable {
        case pong = "PONG"
        case reset = "RESET"
        case deferred = "DEFERRED"
    }
}

/// One confirmation of SUBSCRIBE or UNSUBSCRIBE.
package struct SubscriptionChange: Sendable, Hashable {
    /// `nil`: unsubscribing from everything when there was nothing.
    package var channel: ByteBuffer?
    /// Subscriptions of the client afterwards.
    package var count: Int

    /// A channel and the number of subscriptions after it.
    package init(channel: ByteBuffer?, count: Int) {
        self.channel = channel
        self.count = count
    }
}

/// A named value of STATUS or EXPLAIN.
package struct StatusField: Sendable, Hashable {
    /// Lower case with dashes.
    package var name: String
    /// What it is at this moment.
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

/// A frame that nobody asked for.
package enum Push: Sendable, Hashable {
    case invalidate(position: UInt64, tags: [ByteBuffer])
    case epoch(UInt64, reason: EpochReason)
    case beat(Beat)
    case fetched(ticket: UInt64, FetchOutcome)
    case message(Event)
    case patternMessage(pattern: ByteBuffer, Event)
}

/// syncd's sign of life.
package struct Beat: Sendable, Hashable {
    /// Epoch of the tag table.
    package var epoch: UInt64
    /// Log position that is applied.
    package var applied: UInt64
    /// Whether the caches may be trusted.
    package var state: SyncState
    /// CLOCK_BOOTTIME.
    package var beatNanoseconds: UInt64
    /// CLOCK_BOOTTIME at which the last covered probe was sent.
    package var freshAsOfNanoseconds: UInt64

    /// All that a beat says.
    package init(
        epoch: UInt64, applied: UInt64, state: SyncState, beatNanoseconds: UInt64, freshAsOfNanoseconds: UInt64
    ) {
        self.epoch = epoch
        self.applied = applied
        self.state = state
        self.beatNanoseconds = beatNanoseconds
        self.freshAsOfNanoseconds = freshAsOfNanoseconds
    }
}

/// Why the epoch went up: why everything kept so far is worthless.
package enum EpochReason: String, Sendable, Hashable, CaseIterable {
    /// syncd started.
    case started
    /// `TRACK ON` was answered: only what is fetched afterwards may be kept.
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
