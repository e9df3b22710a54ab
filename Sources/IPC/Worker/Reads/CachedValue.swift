import IPCWire
import NIOCore

/// Where a value came from. The raw value is what `X-Cache` says.
public enum CacheSource: String, Sendable {
    /// This process's own memory.
    case l1 = "L1"
    /// syncd had it, also after waiting, or another request of this worker had just got it.
    case l2 = "L2"
    /// Loaded under a lease.
    case miss = "MISS"
    /// Loaded without a lease: no syncd, isolated, or waited long enough. Not kept.
    case bypass = "BYPASS"
    /// This process's own memory, past its time to live but never invalidated: the load failed or takes long
    /// (docs/cache.md, "Grace").
    case stale = "STALE"
}

/// What a read brings.
public struct CachedValue: Sendable, Hashable {
    /// `nil`: a negative result; it is known that there is no such value.
    public var value: ByteBuffer?
    /// Where the value came from.
    public var source: CacheSource
    /// How long ago it was read from the database, at most; of a ``CacheSource/stale`` one only.
    public var age: Duration?

    /// A value and where it came from.
    public init(value: ByteBuffer?, source: CacheSource, age: Duration? = nil) {
        self.value = value
        self.source = source
        self.age = age
    }
}

/// What a load brings, with what is known only now (docs/cache.md, "Tags and time to live from the load").
public struct Loaded: Sendable, Hashable {
    /// `nil`: a negative result.
    public var value: ByteBuffer?
    /// Tags beside those of the call. More than 64 together, or one of more than 256 B: the value is not kept.
    public var tags: [ByteBuffer]
    /// In place of that of the call; zero or less: the value is not kept.
    public var ttl: Duration?

    /// A value, perhaps with further tags and a time to live of its own.
    public init(value: ByteBuffer?, tags: [ByteBuffer] = [], ttl: Duration? = nil) {
        self.value = value
        self.tags = tags
        self.ttl = ttl
    }
}

/// What a write did. A write of which nobody knows what it did throws instead (``UnknownOutcome``, or any other error).
public enum WriteResult<Value: Sendable>: Sendable {
    /// The database was changed: the tags are invalidated and the event is published with them.
    case changed(Value, event: Event?)
    /// The database was asked and changed nothing: the values are equal, there is no such document, there is one
    /// already. The tags are invalidated all the same. Such a write has read the newest state and shows it to its caller,
    /// so nobody may be answered from cache with an older one afterwards.
    case unchanged(Value)
    /// The write certainly never reached the database. Nothing is invalidated, and the error is thrown.
    case rejected(any Error)
}
