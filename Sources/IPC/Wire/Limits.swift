/// Every limit of the wire protocol, each with its consequence (docs/protocol.md, "Limits").
package struct WireLimits: Sendable, Equatable {
    /// Bytes of one frame, headers included. A larger one is a protocol error, refused from its header alone.
    package var frameBytes = 16 << 20
    /// Aggregates inside aggregates. A deeper frame is a protocol error.
    package var nestingDepth = 8
    /// Elements of one frame, counted over all its aggregates. More is a protocol error.
    package var frameElements = 65_536
    /// Bytes of a key. A longer one is answered `-TOOBIG`.
    package var keyBytes = 1 << 10
    /// Bytes of a declared tag. A longer one is answered `-TOOBIG`.
    package var tagBytes = 256
    /// Bytes of a channel or pattern. A longer one is answered `-TOOBIG`.
    package var channelBytes = 256
    /// Bytes of a cached value. A longer one is answered `-TOOBIG`.
    package var valueBytes = 8 << 20
    /// Declared tags of one entry. More is answered `-TOOBIG`.
    package var tagsPerEntry = 64
    /// Tags of one invalidation. More is answered `-TOOBIG`.
    package var tagsPerInvalidation = 1024
    /// Maximum time to live of an entry: 24 hours.
    package var maximumTTLMilliseconds: UInt64 = 24 * 60 * 60 * 1000
    /// Maximum time that a `FETCH … WAIT` may wait for another worker's load.
    package var maximumWaitMilliseconds: UInt64 = 60_000

    /// The defaults.
    package init() {}

    /// Bytes of the metrics of one client: some ten times those of a worker. More is answered `-TOOBIG`.
    package static let metricsBytes = 256 << 10
    /// Bytes of the name that a client wants for its metrics. A longer one is an error.
    package static let workerNameBytes = 64
    /// Bytes of the name of a change feed. A longer one is an error. The longest name of a database of MongoDB (63 bytes)
    /// has room, with each byte encoded in three, and so has the file of a token.
    package static let feedNameBytes = 200
    /// Changes in one save of a change feed. More is answered `-TOOBIG`.
    package static let feedChanges = 512
    /// Bytes of the token of a change feed: it has the key of a document in it. A longer one is answered `-TOOBIG`.
    package static let feedTokenBytes = 16 << 10
    /// Greatest number of the protocol: every integer up to it is also exact as a double, the number type of JavaScript
    /// and Lua.
    package static let maximumNumber: UInt64 = 1 << 53
}

/// The times that decide whether a state is trusted (docs/consistency.md).
package enum TrustTiming {
    /// Maximum age of a heartbeat that a worker trusts.
    package static let trustWindowNanoseconds: UInt64 = 1_000_000_000
    /// Maximum age of a confirmed probe, from the moment it was sent.
    package static let upstreamTrustNanoseconds: UInt64 = 2_000_000_000
    /// Interval of syncd's heartbeats.
    package static let heartbeatIntervalNanoseconds: UInt64 = 100_000_000
    /// A syncd whose last heartbeat is older than this answers nothing from cache until its next heartbeat.
    package static let fenceNanoseconds: UInt64 = trustWindowNanoseconds / 2
    /// Maximum time that a worker waits for a silent syncd.
    package static let silenceNanoseconds: UInt64 = 500_000_000
}
