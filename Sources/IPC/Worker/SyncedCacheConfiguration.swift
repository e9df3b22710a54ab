import NIOCore

/// The configuration of a ``SyncedCache``.
public struct SyncedCacheConfiguration: Sendable {
    /// Path of syncd's socket, at most 103 bytes. `nil`: no syncd, hence no cache and no waiting for it.
    public var socketPath: String?
    /// Maximum size of the cache in this process's memory in bytes, keys, tags and overhead included.
    public var l1Bytes: Int
    /// The name by which syncd shows this client in STATUS.
    public var clientName: String
    /// Maximum number of concurrent loads without a lease. Further ones wait their turn.
    public var maximumConcurrentLoads: Int
    /// Where reads that miss and their loads run, for loads that only wait: with the executor of the event loop that
    /// answers requests no other thread has to be woken up. `nil`: Swift's own threads.
    public var loadExecutor: (any TaskExecutor)?
    /// How long a read waits for somebody else's load of the same key: 0 to 60 s, in whole milliseconds.
    public var loadWait: Duration
    /// Channels whose events are wanted; subscribed again at every connection.
    public var subscribedChannels: [ByteBuffer]
    /// Times to live are shortened at random by up to this percentage, 0 … 90 (docs/cache.md).
    public var ttlSpreadPercent: Int
    /// A hit in the last part of a value's time to live, of this percentage, starts a new load in the background, by
    /// one worker of the host. 0 … 90; 0: never (docs/cache.md).
    public var earlyRefreshPercent: Int
    /// For how long past its time to live a value may be served while the database fails; zero: not at all
    /// (docs/cache.md).
    public var grace: Duration
    /// When a load takes longer, such a value is served; `nil`: only when it fails.
    public var graceAfter: Duration?
    /// One in N hits is compared with the database in the background (docs/cache.md); 0: none.
    public var auditOneIn: Int
    /// Called with the key of each value that was found to be stale, on any thread.
    public var staleValueFound: (@Sendable (_ key: CacheKey) -> Void)?

    /// The default configuration for a socket; without one there is no cache. The additional features of docs/cache.md
    /// are off.
    public init(
        socketPath: String? = nil,
        l1Bytes: Int = 64 << 20,
        clientName: String = "worker",
        maximumConcurrentLoads: Int = 64,
        loadExecutor: (any TaskExecutor)? = nil,
        loadWait: Duration = .seconds(1),
        subscribedChannels: [ByteBuffer] = [],
        ttlSpreadPercent: Int = 0,
        earlyRefreshPercent: Int = 0,
        grace: Duration = .zero,
        graceAfter: Duration? = .milliseconds(500),
        auditOneIn: Int = 0,
        staleValueFound: (@Sendable (_ key: CacheKey) -> Void)? = nil
    ) {
        self.socketPath = socketPath
        self.l1Bytes = l1Bytes
        self.clientName = clientName
        self.maximumConcurrentLoads = maximumConcurrentLoads
        self.loadExecutor = loadExecutor
        self.loadWait = loadWait
        self.subscribedChannels = subscribedChannels
        self.ttlSpreadPercent = ttlSpreadPercent
        self.earlyRefreshPercent = earlyRefreshPercent
        self.grace = grace
        self.graceAfter = graceAfter
        self.auditOneIn = auditOneIn
        self.staleValueFound = staleValueFound
    }
}
