/// Every bound of the wire protocol, each with what happens at it (docs/protocol.md, "Limits").
public struct WireLimits: Sendable, Equatable {
    /// Bytes of one frame, headers included. A larger one is a protocol error, refused from its header alone.
    public var frameBytes = 16 << 20
    /// Aggregates inside aggregates. A deeper frame is a protocol error.
    public var nestingDepth = 8
    /// Elements of one frame, counted over all its aggregates. More is a protocol error.
    public var frameElements = 65_536
    /// Bytes of a key. A longer one is answered `-TOOBIG`.
    public var keyBytes = 1 << 10
    /// Bytes of a declared tag. A longer one is answered `-TOOBIG`.
    public var tagBytes = 256
    /// Bytes of a channel or pattern. A longer one is answered `-TOOBIG`.
    public var channelBytes = 256
    /// Bytes of a cached value. A longer one is answered `-TOOBIG`.
    public var valueBytes = 8 << 20
    /// Declared tags of one entry. More is answered `-TOOBIG`.
    public var tagsPerEntry = 64
    /// Tags of one invalidation. More is answered `-TOOBIG`.
    public var tagsPerInvalidation = 1024
    /// The longest time to live of an entry: 24 hours.
    public var maximumTTLMilliseconds: UInt64 = 24 * 60 * 60 * 1000
    /// The longest time a `FETCH … WAIT` may wait for somebody else's load.
    public var maximumWaitMilliseconds: UInt64 = 60_000

    /// The defaults.
    public init() {}

    /// Greatest number that the protocol carries: every integer up to it is exact as a double as well,
    /// which is what JavaScript and Lua have.
    public static let maximumNumber: UInt64 = 1 << 53
}

/// The times that decide who may be believed (docs/consistency.md).
public enum TrustTiming {
    /// How long a worker believes the table after a beat.
    public static let trustWindowNanoseconds: UInt64 = 1_000_000_000
    /// How long what Redis said is believed, counted from the moment the probe was sent.
    public static let upstreamTrustNanoseconds: UInt64 = 2_000_000_000
    /// How often syncd beats.
    public static let beatIntervalNanoseconds: UInt64 = 100_000_000
    /// A syncd whose last beat is older than this answers nothing from cache until it has beaten again.
    public static let fenceNanoseconds: UInt64 = trustWindowNanoseconds / 2
    /// How long a worker waits for a silent syncd before it goes on without it.
    public static let silenceNanoseconds: UInt64 = 500_000_000
}
