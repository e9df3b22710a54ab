/// Every bound of the wire protocol, each with what happens at it (docs/protocol.md, "Limits").
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
    /// The longest time to live of an entry: 24 hours.
    package var maximumTTLMilliseconds: UInt64 = 24 * 60 * 60 * 1000
    /// The longest time a `FETCH … WAIT` may wait for somebody else's load.
    package var maximumWaitMilliseconds: UInt64 = 60_000

    /// The defaults.
    package init() {}

    /// Greatest number that the protocol carries: every integer up to it is exact as a double as well,
    /// which is what JavaScript and Lua have.
    package static let maximumNumber: UInt64 = 1 << 53
}

/// The times that decide who may be believed (docs/consistency.md).
package enum TrustTiming {
    /// How long a worker believes the table after a beat.
    package static let trustWindowNanoseconds: UInt64 = 1_000_000_000
    /// How long what Redis said is believed, counted from the moment the probe was sent.
    package static let upstreamTrustNanoseconds: UInt64 = 2_000_000_000
    /// How often syncd beats.
    package static let beatIntervalNanoseconds: UInt64 = 100_000_000
    /// A syncd whose last beat is older than this answers nothing from cache until it has beaten again.
    package static let fenceNanoseconds: UInt64 = trustWindowNanoseconds / 2
    /// How long a worker waits for a silent syncd before it goes on without it.
    package static let silenceNanoseconds: UInt64 = 500_000_000
}
