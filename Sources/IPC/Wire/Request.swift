import NIOCore

/// An event of an application: a payload on a channel, delivered at most once.
public struct Event: Sendable, Hashable {
    /// The channel, at most 256 bytes.
    public var channel: ByteBuffer
    /// Any bytes, at most as many as a value may have.
    public var payload: ByteBuffer

    /// An event on a channel.
    public init(channel: ByteBuffer, payload: ByteBuffer) {
        self.channel = channel
        self.payload = payload
    }
}

/// A request on the socket, checked: every length, count and number in it is within ``WireLimits``.
package enum Request: Sendable, Hashable {
    case hello(version: RESPVersion?, name: ByteBuffer?)
    case ping(ByteBuffer?)
    case echo(ByteBuffer)
    case quit
    case reset
    case select
    case client(ClientSubcommand)
    case command(CommandSubcommand)
    case configGet
    case fetch(key: ByteBuffer, waitMilliseconds: UInt64?)
    /// `FETCH … AFTER`: the value must not be older than the write at this position.
    case fetchAfter(SyncPosition, key: ByteBuffer, waitMilliseconds: UInt64?)
    /// `FETCH … RENEW`: the value that the asker has may live for this long still, and is to be loaded anew.
    case renew(key: ByteBuffer, ttlMilliseconds: UInt64)
    case fill(Fill)
    case abandon(key: ByteBuffer, lease: LeaseID)
    /// `at`: when the database has applied the write, if it is known.
    case invalidate(tags: [ByteBuffer], event: Event?, at: OperationTime? = nil)
    case feed(FeedRequest)
    case publish(Event)
    case subscribe([ByteBuffer])
    case unsubscribe([ByteBuffer])
    case patternSubscribe([ByteBuffer])
    case patternUnsubscribe([ByteBuffer])
    case track(Bool)
    case explain(key: ByteBuffer)
    case report([ReportField])
    /// `METRICS SET`: this client's metrics in the text format of Prometheus, and the name that it wants as a worker.
    case setMetrics(worker: ByteBuffer, text: ByteBuffer)
    /// `METRICS GET`: those of all clients.
    case metrics
    case status(section: String?)
    case info(sections: [String])
    case shutdown
}

/// The subcommand of `CLIENT`.
package enum ClientSubcommand: Sendable, Hashable {
    case id
    case getName
    case setName(ByteBuffer)
    /// `SETINFO`, `NO-EVICT` and the like: accepted, without effect.
    case accepted
    case info
    case list
}

/// The subcommand of `COMMAND`.
package enum CommandSubcommand: Sendable, Hashable {
    case all
    case count
    case docs
    case other
}

/// A value that a worker reports about itself.
public struct ReportField: Sendable, Hashable {
    /// Any bytes, at most 256; shown in STATUS.
    public var name: ByteBuffer
    /// Any bytes, at most 256; shown in STATUS.
    public var value: ByteBuffer

    /// A report of one value.
    public init(name: ByteBuffer, value: ByteBuffer) {
        self.name = name
        self.value = value
    }
}

/// A value to be stored in the cache.
package struct Fill: Sendable, Hashable {
    /// The key that the lease is for.
    package var key: ByteBuffer
    /// The lease under which the value was loaded.
    package var lease: LeaseID
    /// Time to live, 1 ms … 24 h.
    package var ttlMilliseconds: UInt64
    /// The declared tags, at most 64.
    package var tags: [ByteBuffer]
    /// `nil` is a negative result: it is known that there is no such value.
    package var value: ByteBuffer?

    /// A value, or the absence of one, with its tags.
    package init(
        key: ByteBuffer, lease: LeaseID, ttlMilliseconds: UInt64, tags: [ByteBuffer], value: ByteBuffer?
    ) {
        self.key = key
        self.lease = lease
        self.ttlMilliseconds = ttlMilliseconds
        self.tags = tags
        self.value = value
    }
}
