import IPCWire

/// Whether this worker's caches can be used.
public enum SyncMode: String, Sendable {
    /// Connected, and the caches may be trusted; on an idle host as soon as syncd has asked Redis.
    case attached
    /// Connected, but syncd is isolated.
    case isolated
    /// No connection, or no syncd configured.
    case detached
}

/// The state of Redis, as syncd reports it.
public enum UpstreamMode: Sendable {
    /// syncd is embedded: there is no Redis.
    case disabled
    /// syncd is attached to Redis.
    case connected
    /// syncd lost Redis, or this worker lost syncd.
    case unavailable
}

/// Counters of the cache in this process's memory.
public struct L1Statistics: Sendable, Hashable {
    /// Number of reads that were answered from it.
    public var hits: Int
    /// Number of reads that were not.
    public var misses: Int
    /// Number of entries.
    public var entries: Int
    /// Cost of the entries in bytes, keys, tags and overhead included.
    public var bytes: Int

    /// The four counters.
    public init(hits: Int = 0, misses: Int = 0, entries: Int = 0, bytes: Int = 0) {
        self.hits = hits
        self.misses = misses
        self.entries = entries
        self.bytes = bytes
    }
}

/// Results of the auditor (docs/cache.md, "The auditor").
public struct AuditStatistics: Sendable, Hashable {
    /// Number of values that were loaded again and compared.
    public var sampled: Int
    /// Of these, values that differed although they are fresh by the rule.
    public var stale: Int
    /// Values that differed because of a write that was invalidated in time.
    public var superseded: Int

    /// The three counters.
    public init(sampled: Int = 0, stale: Int = 0, superseded: Int = 0) {
        self.sampled = sampled
        self.stale = stale
        self.superseded = superseded
    }
}

/// The state of a worker's cache.
public struct CacheStatus: Sendable, Hashable {
    /// Whether the caches can be used.
    public var sync: SyncMode
    /// The state of Redis.
    public var redis: UpstreamMode
    /// Epoch of the tag table; 0 before the first connection.
    public var epoch: Epoch
    /// Log position that syncd has applied; 0 before the first connection.
    public var applied: LogPosition
    /// The cache in this process's memory.
    public var l1: L1Statistics
    /// Number of reads that were answered from the memory that all processes of the host share.
    public var sharedHits: Int
    /// `nil`: the auditor is off.
    public var audit: AuditStatistics?
    /// Whether writes can be written down beforehand. If not, a write whose worker dies in the middle leaves stale values
    /// behind until their time to live ends.
    public var isJournalUsable: Bool

    /// A status with all its fields.
    public init(
        sync: SyncMode, redis: UpstreamMode, epoch: Epoch, applied: LogPosition, l1: L1Statistics,
        sharedHits: Int = 0, audit: AuditStatistics? = nil, isJournalUsable: Bool = true
    ) {
        self.sync = sync
        self.redis = redis
        self.epoch = epoch
        self.applied = applied
        self.l1 = l1
        self.sharedHits = sharedHits
        self.audit = audit
        self.isJournalUsable = isJournalUsable
    }
}

/// syncd's notifications to a worker, in order.
public enum CacheNotification: Sendable, Hashable {
    /// An event on one of the subscribed channels.
    case event(Event)
    /// An applied entry of the invalidation log.
    case invalidation(position: LogPosition, tags: [CacheTag])
    /// syncd answered the greeting. Earlier notifications were lost.
    case connected
    /// From here on, every invalidation comes. Earlier ones may be missing.
    case tracking
    case disconnected
}
