import IPCWire
import NIOCore

/// A copy of a record in the arena. An object, so that the readers of a long value share it.
final class ArenaCopy: Sendable {
    let incarnation: Incarnation
    let entry: Hit.Entry
    /// CLOCK_BOOTTIME in ns at which the value expires.
    let deadline: BootTime

    init(_ record: ArenaEntry) {
        incarnation = record.incarnation
        deadline = record.deadline
        let entry = Hit.Entry(value: record.value, asOf: record.asOf, tags: record.tags)
        let isLong = record.value.map { $0.readableBytes >= RESPWriter.sharedBytes } ?? false
        self.entry = isLong ? Hit.Entry(encoding: entry) : entry
    }

    /// The same value, as it would be stored in Redis.
    var stored: StoredEntry {
        StoredEntry(incarnation: incarnation, asOf: entry.asOf, tags: entry.tags, value: entry.value)
    }
}
