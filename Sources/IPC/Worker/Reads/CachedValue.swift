import IPCWire
import NIOCore

/// The source of a value. The raw value is that of `X-Cache`.
public enum CacheSource: String, Sendable {
    /// This process's own memory.
    case l1 = "L1"
    /// syncd, possibly after waiting, or another request of this worker that had just received it.
    case l2 = "L2"
    /// Loaded under a lease.
    case miss = "MISS"
    /// Loaded without a lease: no syncd, isolated, or the wait was over. Not stored.
    case bypass = "BYPASS"
    /// This process's own memory, past its time to live but never invalidated: the load failed or takes long
    /// (docs/cache.md, "Grace").
    case stale = "STALE"
}

/// The result of a read.
public struct CachedValue: Sendable, Hashable {
    /// `nil`: a negative result; it is known that there is no such value.
    public var value: ByteBuffer?
    /// The source of the value.
    public var source: CacheSource
    /// Maximum age since it was read from the database; only for ``CacheSource/stale``.
    public var age: Duration?

    /// A value and its source.
    public init(value: ByteBuffer?, source: CacheSource, age: Duration? = nil) {
        self.value = value
        self.source = source
        self.age = age
    }
}

/// The result of a load, with properties that only the load knows (docs/cache.md, "Tags and time to live from the
/// load").
public struct Loaded: Sendable, Hashable {
    /// `nil`: a negative result.
    public var value: ByteBuffer?
    /// Tags in addition to those of the call. More than 64 together, or one of more than 256 B: the value is not
    /// stored.
    public var tags: [CacheTag]
    /// Replaces that of the call; zero or less: the value is not stored.
    public var ttl: Duration?

    /// A value, optionally with further tags and a separate time to live.
    public init(value: ByteBuffer?, tags: [CacheTag] = [], ttl: Duration? = nil) {
        self.value = value
        self.tags = tags
        self.ttl = ttl
    }
}

/// The outcome of a write. A write of unknown outcome throws instead (``UnknownOutcome``, or any other error).
public enum WriteResult<Value: Sendable>: Sendable {
    /// The database was changed: the tags are invalidated and the event is published with them.
    ///
    /// `at`: when the database has applied the write and everything before it, if its reply says that: a change feed
    /// (``SyncedCache/follow(_:named:tags:)``) then knows the write's own change.
    case changed(Value, event: Event?, at: OperationTime? = nil)
    /// The database was asked and changed nothing: the values are equal, there is no such document, or there is one
    /// already. The tags are invalidated all the same. Such a write has read the newest state and shows it to its
    /// caller, so no client may be answered from cache with an older state afterwards.
    case unchanged(Value)
    /// The write certainly never reached the database. Nothing is invalidated, and the error is thrown.
    case rejected(any Error)
}

/// The result of a write that the database answered.
public struct Written<Value: Sendable>: Sendable {
    /// The value that the write has returned.
    public var value: Value
    /// The place of the invalidation in the log. A read that brings it is not answered with anything older than the write,
    /// on any host. ``SyncPosition/unknown``: syncd is away or isolated, or nothing was invalidated.
    public var position: SyncPosition

    /// A value and its position.
    public init(value: Value, position: SyncPosition) {
        self.value = value
        self.position = position
    }
}
