import IPCWire
import NIOCore

/// Whether this worker's caches can be used.
public enum SyncMode: String, Sendable {
    /// Connected, and syncd vouches for the caches.
    case attached
    /// Connected, but syncd can't vouch for them.
    case isolated
    /// No connection, or no syncd configured.
    case detached
}

/// What is known about Redis, through syncd.
public enum UpstreamMode: Sendable {
    /// syncd is embedded: there is no Redis.
    case disabled
    /// syncd is attached to Redis.
    case connected
    /// syncd lost Redis, or this worker lost syncd.
    case unavailable
}

/// Figures of the cache in this process's memory.
public struct L1Statistics: Sendable, Hashable {
    /// Reads that were answered from it.
    public var hits: Int
    /// Reads that were not.
    public var misses: Int
    /// Entries that it holds.
    public var entries: Int
    /// Bytes that they cost, keys, tags and overhead included.
    public var bytes: Int

    /// Four figures.
    public init(hits: Int = 0, misses: Int = 0, entries: Int = 0, bytes: Int = 0) {
        self.hits = hits
        self.misses = misses
        self.entries = entries
        self.bytes = bytes
    }
}

/// What came of comparing a share of the hits with the database (docs/cache.md, "The auditor").
public struct AuditStatistics: Sendable, Hashable {
    /// Values that were loaded again and compared.
    public var sampled: Int
    /// Of these, values that differed although the rule calls them fresh.
    public var stale: Int
    /// Of these, values that differed because of a write that was invalidated in time.
    public var superseded: Int

    /// Three figures.
    public init(sampled: Int = 0, stale: Int = 0, superseded: Int = 0) {
        self.sampled = sampled
        self.stale = stale
        self.superseded = superseded
    }
}

/// How a worker's cache is.
public struct CacheStatus: Sendable, Hashable {
    /// Whether the caches can be used.
    public var sync: SyncMode
    /// What is known about Redis.
    public var redis: UpstreamMode
    /// Epoch of the tag table; 0 before the first connection.
    public var epoch: UInt64
    /// Log position that syncd has applied; 0 before the first connection.
    public var applied: UInt64
    /// The cache in this process's memory.
    public var l1: L1Statistics
    /// `nil`: nothing is audited.
    public var audit: AuditStatistics?

    /// All that there is to know.
    public init(
        sync: SyncMode, redis: UpstreamMode, epoch: UInt64, applied: UInt64, l1: L1Statistics,
        audit: AuditStatistics? = nil
    ) {
        self.sync = sync
        self.redis = redis
        self.epoch = epoch
        self.applied = applied
        self.l1 = l1
        self.audit = audit
    }
}

/// What syncd makes known to a worker, in its order.
public enum CacheNotification: Sendable, Hashable {
    /// An event on one of the subscribed channels.
    case event(Event)
    /// An applied entry of the invalidation log.
    case invalidation(position: UInt64, tags: [ByteBuffer])
    /// syncd answered the greeting. What happened before is not made up for.
    case connected
    case disconnected
}
