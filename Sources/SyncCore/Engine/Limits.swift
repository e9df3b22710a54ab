import IPCWire

/// The limits of the engine that an operator sets or a test varies, each with its reason and its consequence. Limits of
/// single frames are in ``WireLimits``.
package struct Limits: Sendable, Equatable {
    package var wire = WireLimits()
    /// Maximum number of clients. A further one is told `-ERR max number of clients reached`.
    package var clients = 1024
    /// Unanswered requests of one connection. At the limit, reading from the connection pauses.
    package var requestsInFlight = 1024
    /// Requests of all clients that wait for Redis, divided among their processes (``RequestWindow``). Few enough that Redis
    /// answers them within a small part of `appendNanoseconds`, many enough to keep it busy at 10 ms per round trip.
    package var requestsUnderWay = 512
    /// Bytes of the long ones among them.
    package var requestBytesUnderWay = 4 << 20
    /// Bytes of replies that one connection has not read. At the limit, reading from the connection pauses.
    package var unreadBytes = 1 << 20
    /// Bytes in the kernel and in the channel above which pushes wait apart from replies.
    package var comfortableBytes = 256 << 10
    /// Bytes of pushes that wait for one connection. More collapse into one `epoch` push.
    package var waitingPushBytes = 1 << 20
    /// Bytes of any output that wait for one connection. At the limit, the connection is closed.
    package var unsentBytes = 32 << 20
    /// Bytes of all connections together: unsent output and incomplete requests. Beyond the limit, the connections of
    /// the process that holds most are closed. Above half of it, long values are answered `-BUSY`, and long requests
    /// wait.
    package var bufferedBytes = 96 << 20
    /// Maximum time to complete a request while others wait for room. A local client needs some milliseconds.
    package var requestNanoseconds: UInt64 = 500_000_000
    /// Maximum number of leases; `-BUSY` beyond.
    package var leases = 65_536
    /// Validity of a lease: longer than a normal load, short enough to replace a stuck holder.
    package var leaseNanoseconds: UInt64 = 10_000_000_000
    /// Waiters for one key's load; `-BUSY` beyond.
    package var waitersPerKey = 4096
    /// Waiters for all keys; `-BUSY` beyond.
    package var waiters = 65_536
    /// Subscriptions of all clients together; `-BUSY` beyond.
    package var subscriptions = 65_536
    /// Patterns among them, of all clients together; `-BUSY` beyond. Every event is compared with each.
    package var patterns = 1024
    /// Values that one client may report; further ones are dropped.
    package var reportedFields = 64
    /// Bytes of the metrics of all clients together; `-BUSY` beyond. The reply to `METRICS GET` has all of them, and has to
    /// fit into a frame.
    package var metricsBytes = 8 << 20
    /// The greatest value that is stored in Redis, in bytes: a larger one would delay everything behind it.
    package var upstreamValueBytes = 1 << 20
    /// Maximum time of an append. After it, syncd isolates itself and the invalidation becomes pending.
    package var appendNanoseconds: UInt64 = 250_000_000
    /// Maximum time of a lookup in Redis. After it, the worker reads the database.
    package var lookupNanoseconds: UInt64 = 200_000_000
    /// Concurrent lookups in Redis; beyond, a key counts as absent. Appends need room, too.
    package var lookups = 8192
    /// Interval of probes.
    package var probeNanoseconds: UInt64 = 250_000_000
    /// Maximum time for which an answer of Redis vouches for the table: at most what workers believe.
    package var upstreamTrustNanoseconds: UInt64 = TrustTiming.upstreamTrustNanoseconds
    /// Time without any use of a cache after which the host is idle; 0: never. Longer than a lease is valid, so that a
    /// load which is under way keeps the host from it.
    package var idleNanoseconds: UInt64 = 15_000_000_000
    /// Interval of probes on an idle host. They show whether the server is still there.
    package var idleProbeNanoseconds: UInt64 = 90_000_000_000
    /// Time until syncd tries a server again that refuses for now.
    package var retryNanoseconds: UInt64 = 250_000_000
    /// Time until syncd tries a server again that refuses user or permission.
    package var deniedNanoseconds: UInt64 = 5_000_000_000
    /// Maximum time for a position that a probe showed to arrive by itself.
    package var arrivalNanoseconds: UInt64 = 100_000_000
    /// Entries read from the stream at once: few enough not to block the event loop.
    package var entriesPerPage = 512
    /// Entries in the reorder buffer; beyond, they are read from the stream instead.
    package var reorderEntries = 65_536
    /// Bytes of memory of the reorder buffer.
    package var reorderBytes = 16 << 20
    /// Appends that wait for Redis; beyond, syncd isolates itself and invalidations become pending.
    package var pendingAppends = 65_536
    /// Bytes of memory of the tags of waiting appends; the same consequence.
    package var pendingAppendBytes = 32 << 20
    /// Concurrent appends for the journal: Redis accepts them well within `appendNanoseconds`.
    package var journalAppends = 16
    /// Files of the journal that one append stands for: their deletion must not block the event loop.
    package var filesPerAppend = 256
    /// Pending invalidations; beyond, one marker stands for all.
    package var pending = 100_000
    /// Bytes of the file system for pending invalidations of this host, in whole pages; beyond, one marker stands for
    /// all.
    package var pendingBytes = 64 << 20
    /// Interval at which the tags of a write that may still reach the database are appended.
    package var orphanNanoseconds: UInt64 = 5_000_000_000
    /// Time after the first append until no such write can reach the database any more: MongoDB ends a transaction
    /// after 60 s and checks every 30 s; the rest is margin.
    package var landingNanoseconds: UInt64 = 120_000_000_000
    /// Age of an intent at which its living owner counts as hung: longer than a write and its invalidation take.
    package var hungNanoseconds: UInt64 = 3_000_000_000
    /// Interval of attempts to delete a file that could not be deleted.
    package var deletionNanoseconds: UInt64 = 10_000_000_000

    /// Change feeds; `-BUSY` beyond.
    package var feeds = 16
    /// Time for the invalidation of a write to arrive after its change was reported. After it, the change is
    /// invalidated.
    package var feedHoldNanoseconds: UInt64 = 20_000_000
    /// Time for it to arrive late: only then the write is counted, and reported.
    package var feedSuspicionNanoseconds: UInt64 = 2_000_000_000
    /// Time without a save after which another client may become the reader of a feed.
    package var feedRoleNanoseconds: UInt64 = 4_000_000_000
    /// The same for other hosts that are idle, too; a host in use may take the role from an idle one at any time.
    package var idleFeedRoleNanoseconds: UInt64 = 200_000_000_000
    /// Age of what is known of the host that has the role, from which on a host in use asks Redis again.
    package var feedHolderNanoseconds: UInt64 = 1_000_000_000
    /// Time after which a host may have the role again whose reader could not read.
    package var feedLeaveNanoseconds: UInt64 = 2_000_000_000
    /// Interval at which the token of a feed without uncovered changes is stored.
    package var feedStoreNanoseconds: UInt64 = 1_500_000_000
    /// The same on an idle host.
    package var idleFeedStoreNanoseconds: UInt64 = 90_000_000_000

    package init() {}

    /// A limit that can be configured, and that STATUS shows under the same name.
    package struct Adjustable: Sendable {
        /// Lower case with dashes, as in STATUS.
        package let name: String
        package let path: any WritableKeyPath<Limits, Int> & Sendable
        package let range: ClosedRange<Int>
    }

    /// Every limit that can be configured.
    package static let adjustable: [Adjustable] = [
        Adjustable(name: "clients", path: \.clients, range: 1...1_000_000),
        Adjustable(name: "frame-bytes", path: \.wire.frameBytes, range: 65_536...(512 << 20)),
        Adjustable(name: "frame-elements", path: \.wire.frameElements, range: 2048...1_000_000),
        Adjustable(name: "key-bytes", path: \.wire.keyBytes, range: 16...65_535),
        Adjustable(name: "tag-bytes", path: \.wire.tagBytes, range: 16...65_535),
        Adjustable(name: "channel-bytes", path: \.wire.channelBytes, range: 16...65_535),
        Adjustable(name: "value-bytes", path: \.wire.valueBytes, range: 1024...(256 << 20)),
        Adjustable(name: "redis-value-bytes", path: \.upstreamValueBytes, range: 0...(256 << 20)),
        Adjustable(name: "tags-per-entry", path: \.wire.tagsPerEntry, range: 1...255),
        Adjustable(name: "tags-per-invalidation", path: \.wire.tagsPerInvalidation, range: 1...4096),
        Adjustable(name: "requests-in-flight", path: \.requestsInFlight, range: 1...1_000_000),
        Adjustable(name: "unread-bytes", path: \.unreadBytes, range: 4096...(1 << 30)),
        Adjustable(name: "waiting-push-bytes", path: \.waitingPushBytes, range: 4096...(1 << 30)),
        Adjustable(name: "unsent-bytes", path: \.unsentBytes, range: 65_536...(1 << 32)),
        Adjustable(name: "buffered-bytes", path: \.bufferedBytes, range: (1 << 20)...(1 << 40)),
        Adjustable(name: "leases", path: \.leases, range: 1...10_000_000),
        Adjustable(name: "waiters-per-key", path: \.waitersPerKey, range: 1...1_000_000),
        Adjustable(name: "waiters", path: \.waiters, range: 1...10_000_000),
        Adjustable(name: "subscriptions", path: \.subscriptions, range: 1...10_000_000),
        Adjustable(name: "patterns", path: \.patterns, range: 0...1_000_000),
        Adjustable(name: "pending-bytes", path: \.pendingBytes, range: 65_536...(1 << 40)),
    ]
}
