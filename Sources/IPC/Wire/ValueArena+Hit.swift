import NIOCore

/// A value of the arena that was fresh when it was looked up.
package struct ArenaHit: Sendable {
    /// `nil`: a negative result.
    package var value: ByteBuffer?
    /// Log position that was applied before the value was read from the database.
    package var asOf: LogPosition
    /// CLOCK_BOOTTIME in ns at which the value expires.
    package var deadline: BootTime
    /// The epoch of the table before the verdict.
    package var epoch: Epoch
    /// The slots of the entry's tags, if they were asked for.
    package var slots: [UInt32]
}

extension ValueArena {
    /// Most hashes of an entry: of 255 declared tags, of `=` and its key, and of `*`.
    private static let maximumHashes = 257

    /// The value of a key, if it is fresh at this moment.
    ///
    /// The epoch is loaded and the record copied first. The verdict on the copy is that of every cached value: heartbeat,
    /// slots, identity of the log, clock. The epoch is the same afterwards, else incarnation and first known position may
    /// be those of two logs.
    ///
    /// - Parameters:
    ///   - hash: ``TagHash/key(_:)`` of the key.
    ///   - keepsSlots: whether the hit has the slots, as whoever stores it needs them.
    ///   - clock: CLOCK_BOOTTIME in ns.
    package func hit(
        for key: ByteBuffer, hash: UInt64, keepsSlots: Bool, by table: TagTable, clock: () -> BootTime
    ) -> ArenaHit? {
        let epoch = table.epoch
        // The slot of the key is rarely in the processor's caches, and neither is the record: both come at once.
        _ = table.slot(table.slotIndex(hash))
        return withUnsafeTemporaryAllocation(of: UInt32.self, capacity: Self.maximumHashes) { slots in
            let early = breaks(.arenaSlotsBeforeCopy) ? positions(of: key, hash, in: table) : []
            if Mutant.active != nil { _ = clock() }
            let copy = record(of: key, hash: hash) { record, header in
                for place in 0..<header.hashCount {
                    let hash = record.load(fromByteOffset: ArenaRecordHeader.bytes + 4 * place, as: UInt32.self)
                    slots[place] = table.slotIndex(UInt64(UInt32(littleEndian: hash)))
                }
                if Mutant.active != nil { _ = clock() }
                let value =
                    header.hasValue
                    ? ByteBuffer(
                        bytes: UnsafeRawBufferPointer(start: record + header.valueOffset, count: header.valueBytes))
                    : nil
                return (header: header, entry: RecordIdentity(record), value: value)
            }
            guard let copy else { return nil }
            let used = UnsafeBufferPointer(rebasing: slots[..<copy.header.hashCount])
            let verdict = FreshnessRule.verdict(
                trust: { Trust(table) },
                invalidation: {
                    breaks(.arenaSlotsBeforeCopy)
                        ? early.contains { $0 > copy.entry.asOf } ? .invalidated(place: 0, position: 0) : nil
                        : FreshnessRule.firstInvalidation(used, after: copy.entry.asOf, in: table)
                },
                objection: {
                    let objection = FreshnessRule.objection(
                        to: copy.entry.incarnation, asOf: copy.entry.asOf, log: table.incarnation,
                        firstKnownPosition: table.firstKnownPosition)
                    return table.epoch == epoch || breaks(.epochIgnored) ? objection : .otherLog
                }, deadline: copy.entry.deadline, clock: clock)
            guard verdict.isFresh else { return nil }
            return ArenaHit(
                value: copy.value, asOf: copy.entry.asOf, deadline: copy.entry.deadline, epoch: epoch,
                slots: keepsSlots ? Array(used) : [])
        }
    }

    /// The positions of a record's slots at this moment, for the broken order.
    private func positions(of key: ByteBuffer, _ hash: UInt64, in table: TagTable) -> [LogPosition] {
        record(of: key, hash: hash) { record, header in
            (0..<header.hashCount).map { place in
                let hash = record.load(fromByteOffset: ArenaRecordHeader.bytes + 4 * place, as: UInt32.self)
                return table.slot(table.slotIndex(UInt64(UInt32(littleEndian: hash))))
            }
        } ?? []
    }
}

/// The numbers of a record that decide its freshness.
struct RecordIdentity {
    var asOf: LogPosition
    var incarnation: Incarnation
    var deadline: BootTime

    @inline(__always)
    init(_ record: UnsafeRawPointer) {
        func number(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: record.load(fromByteOffset: offset, as: UInt64.self))
        }
        asOf = LogPosition(number(ArenaRecordHeader.asOfOffset))
        incarnation = Incarnation(
            high: number(ArenaRecordHeader.incarnationHighOffset), low: number(ArenaRecordHeader.incarnationLowOffset))
        deadline = BootTime(number(ArenaRecordHeader.deadlineOffset))
    }
}
