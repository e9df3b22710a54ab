import IPCWire
import NIOCore

/// A copy of a record in the arena that clients ask for over the socket. An object, so that a hit copies one reference, and
/// the readers of a long value share it.
final class ArenaCopy: Sendable {
    let incarnation: Incarnation
    /// The value, encoded as in replies.
    let entry: Hit.Entry
    /// The slots of the declared tags, of `=` and the key, and of `*`.
    let slots: [UInt32]
    /// CLOCK_BOOTTIME in ns at which the value expires.
    let deadline: BootTime

    /// Bytes of all copies together, unless a single value may be longer.
    static let byteBudget = 16 << 20
    /// Fixed cost of one copy, in bytes: its places in the cache, and the headers of its objects.
    private static let overheadBytes = 600

    init(_ record: ArenaEntry, key: ByteBuffer, table: TagTable) {
        incarnation = record.incarnation
        deadline = record.deadline
        slots = table.slots(key: key, tags: record.tags)
        entry = Hit.Entry(encoding: Hit.Entry(value: record.value, asOf: record.asOf, tags: record.tags))
    }

    /// The cost of the copy, in bytes.
    var bytes: Int { Self.overheadBytes + entry.bytes + slots.count * MemoryLayout<UInt32>.stride }

    /// The same value in the form for Redis.
    var stored: StoredEntry {
        StoredEntry(incarnation: incarnation, asOf: entry.asOf, tags: entry.tags, value: entry.value)
    }
}
