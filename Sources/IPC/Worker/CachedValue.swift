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
}

/// What a read brings.
public struct CachedValue: Sendable, Hashable {
    /// `nil`: a negative result; it is known that there is no such value.
    public var value: ByteBuffer?
    /// Where the value came from.
    public var source: CacheSource

    /// A value and where it came from.
    public init(value: ByteBuffer?, source: CacheSource) {
        self.value = value
        self.source = source
    }
}

/// What a write did.
public enum WriteResult<Value: Sendable>: Sendable {
    /// The database was changed: the tags are invalidated and the event is published with them.
    case changed(Value, event: Event?)
    /// Nothing was changed, surely: there is nothing to invalidate.
    case unchanged(Value)
}
