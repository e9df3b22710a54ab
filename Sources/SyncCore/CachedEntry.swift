import IPCWire
import NIOCore

/// A value in L2 without Redis, with what its freshness is judged by. An object, so that a hit copies one reference.
final class CachedEntry: Sendable {
    let incarnation: Incarnation
    /// Written as it will be in replies.
    let entry: Hit.Entry
    /// The slots of the declared tags, of `=` and the key, and of `*`.
    let slots: [UInt32]
    /// CLOCK_BOOTTIME in ns; from then on it is not used.
    let expiresAt: UInt64

    /// Fixed cost of one entry, in bytes: places in the dictionary and in the queue, and the headers of its objects. With
    /// it the resident memory of 100 000 entries is within 2 % of what they count as.
    static let overheadBytes = 600

    /// What keeping it costs, its key apart, in bytes.
    var bytes: Int { Self.overheadBytes + entry.bytes + slots.count * MemoryLayout<UInt32>.stride }

    init(_ stored: StoredEntry, key: ByteBuffer, table: TagTable, expiresAt: UInt64) {
        incarnation = stored.incarnation
        entry = Hit.Entry(encoding: Hit.Entry(value: stored.value, asOf: stored.asOf, tags: stored.tags))
        slots = table.slots(key: key, tags: stored.tags)
        self.expiresAt = expiresAt
    }

    /// The same, as it would be kept in Redis.
    var stored: StoredEntry {
        StoredEntry(incarnation: incarnation, asOf: entry.asOf, tags: entry.tags, value: entry.value)
    }
}
