import IPCWire

/// Every bound of the brain, each with its reason and what happens at it. Those of single frames are in
/// ``WireLimits``.
package struct Limits: Sendable, Equatable {
    package var wire = WireLimits()
    /// Clients at once. A further one is told `-ERR max number of clients reached`.
    package var clients = 1024
    /// Requests of one connection that are not answered yet. At it, reading from the connection pauses.
    package var requestsInFlight = 1024
    /// Bytes of answers that one connection has not read. At it, reading from the connection pauses.
    package var unreadBytes = 1 << 20
    /// Pushes wait apart from replies while more bytes than this are with the kernel or before it.
    package var comfortableBytes = 256 << 10
    /// Bytes of pushes that wait for one connection. More collapse into one `epoch` push.
    package var waitingPushBytes = 1 << 20
    /// Bytes of any output that wait for one connection. At it, the connection is closed.
    package var unsentBytes = 32 << 20
    /// Leases at once; `-BUSY` beyond.
    package var leases = 65_536
    /// How long a lease is valid: longer than any sane load, short enough that a stuck holder is replaced.
    package var leaseNanoseconds: UInt64 = 10_000_000_000
    /// Who waits for one key's load; `-BUSY` beyond.
    package var waitersPerKey = 4096
    /// Who waits in all; `-BUSY` beyond.
    package var waiters = 65_536
    /// Subscriptions of all clients together; `-BUSY` beyond.
    package var subscriptions = 65_536
    /// Patterns among them, of all clients together; `-BUSY` beyond. Every event is compared with each.
    package var patterns = 1024
    /// Figures that one client may report; further ones are dropped.
    package var reportedFields = 64
    /// Bytes of the cache that syncd keeps in its own memory when there is no Redis.
    package var embeddedCacheBytes = 256 << 20
    /// The greatest value that is kept in Redis: a larger one would hold up everything behind it.
    package var upstreamValueBytes = 1 << 20
    /// How long an append may take before syncd isolates itself and owes it.
    package var appendNanoseconds: UInt64 = 250_000_000
    /// How long a lookup in Redis may take before the asker is sent to the database.
    package var lookupNanoseconds: UInt64 = 200_000_000
    /// Lookups in Redis at once; beyond, a key counts as not there. Appends need room, too.
    package var lookups = 8192
    /// How often Redis is probed.
    package var probeNanoseconds: UInt64 = 250_000_000
    /// How long until a server that refuses user or permission is tried again.
    package var deniedNanoseconds: UInt64 = 5_000_000_000
    /// How long a position that a probe showed may take to arrive by itself.
    package var arrivalNanoseconds: UInt64 = 100_000_000
    /// Entries read from the stream at once: small enough not to hold up the event loop.
    package var entriesPerPage = 512
    /// Entries that arrived before their predecessors; beyond, they are read from the stream instead.
    package var entriesAhead = 65_536
    /// Appends that wait for Redis; beyond, syncd isolates itself and owes them.
    package var pendingAppends = 65_536
    /// Appends for the journal that are under way at once: Redis takes them well within `appendNanoseconds`.
    package var journalAppends = 16
    /// Files of the journal that one append stands for: their deletion must not hold up the event loop.
    package var filesPerAppend = 256
    /// Owed invalidations; beyond, one marker stands for all.
    package var owed = 100_000
    /// Bytes of the file system for what this host owes, in whole pages; beyond, one marker stands for all.
    package var pendingBytes = 64 << 20
    /// How often the tags of a write that may still reach the database are appended.
    package var orphanNanoseconds: UInt64 = 5_000_000_000
    /// How long after the first append nothing of such a write reaches the database any more: MongoDB ends a
    /// transaction after 60 s and looks every 30 s; the rest is margin.
    package var landingNanoseconds: UInt64 = 120_000_000_000
    /// How old an intent is whose owner lives and hangs: longer than a write and its invalidation take.
    package var hungNanoseconds: UInt64 = 3_000_000_000
    /// How often it is tried to delete a file that could not be deleted.
    package var deletionNanoseconds: UInt64 = 10_000_000_000

    package init() {}

    /// A limit that configuration may change, and that STATUS shows under the same name.
    package struct Adjustable: Sendable {
        /// Lower case with dashes, as in STATUS.
        package let name: String
        package let path: any WritableKeyPath<Limits, Int> & Sendable
        package let range: ClosedRange<Int>
    }

    /// Every limit that configuration may change.
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
        Adjustable(name: "leases", path: \.leases, range: 1...10_000_000),
        Adjustable(name: "waiters-per-key", path: \.waitersPerKey, range: 1...1_000_000),
        Adjustable(name: "waiters", path: \.waiters, range: 1...10_000_000),
        Adjustable(name: "subscriptions", path: \.subscriptions, range: 1...10_000_000),
        Adjustable(name: "patterns", path: \.patterns, range: 0...1_000_000),
        Adjustable(name: "pending-bytes", path: \.pendingBytes, range: 65_536...(1 << 40)),
        Adjustable(name: "embedded-cache-bytes", path: \.embeddedCacheBytes, range: 0...(1 << 40)),
    ]
}
