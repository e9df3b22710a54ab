import Glibc
import IPCWire
import Synchronization

@testable import IPC

/// The file of the tag table, of any length and with anything in it. The first byte chooses who opens it, a worker or
/// syncd, the next four are its length; the others are its first bytes, and those that are missing are zeros.
enum TableTarget {
    /// The greatest table there may be, and some more.
    private static let maximumBytes = UInt64(TagTableLayout.byteCount(slotBits: 25))

    /// Several inputs may be checked at once, by one process or by many.
    private static let checked = Atomic<Int>(0)

    static func check(_ input: inout FuzzInput) throws {
        let isDaemon = input.byte() & 1 == 1
        let length = Int(input.number(bytes: 4) % maximumBytes)
        let number = checked.wrappingAdd(1, ordering: .relaxed).oldValue
        let path = "/dev/shm/syncd-fuzz-\(getpid())-\(number).table"
        try write(path, length: length, Array(input.take(length)))
        defer { unlink(path) }
        if isDaemon { try openOrCreate(path) } else { try open(path, length: length) }
    }

    private static func write(_ path: String, length: Int, _ bytes: [UInt8]) throws {
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        defer { close(file) }
        try require(file >= 0 && Glibc.write(file, bytes, bytes.count) == bytes.count, "\(path) can't be written")
        try require(ftruncate(file, length) == 0, "\(path) can't be made so long")
    }

    private static func open(_ path: String, length: Int) throws {
        let table: TagTable
        do throws(TagTableFileError) {
            table = try MappedTagTable(path: path).table
        } catch {
            guard case .unusable(path, let problem) = error else { throw error }
            if case .tooShort(let bytes) = problem { try require(bytes == length, "\(error)") }
            return
        }
        try require(table.slotCount * 8 + TagTableLayout.headerBytes == length, "\(table.slotCount) slots")
        try checkReading(table)
    }

    private static func openOrCreate(_ path: String) throws {
        let (table, created) = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        try require(table.slotCount == 1 << 16, "\(table.slotCount) slots")
        if created {
            let isNew = table.state == .isolated && table.epoch > 0 && table.greatestSlot == 0
            try require(isNew, "a new table is not new")
        }
        try checkReading(table)
        // Slots are only raised, whatever was there.
        for (hash, position): (UInt64, LogPosition) in [
            (0, 1), (.max, 5), (0xffff, LogPosition(TagTableLayout.greatestNumber)),
        ] {
            let before = table.slot(table.slotIndex(hash))
            table.raise(hash, to: position)
            let after = table.slot(table.slotIndex(hash))
            try require(after == max(before, position), "\(before) is raised to \(position), and then \(after)")
        }
        let (again, isNew) = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        try require(!isNew && again.epoch == table.epoch, "it is not found again")
    }

    /// Everything that a worker reads; a damaged table is not believed.
    private static func checkReading(_ table: TagTable) throws {
        let last = UInt32(table.slotCount - 1)
        _ = (
            table.slot(0), table.slot(last), table.applied, table.firstKnownPosition, table.madeAt,
            table.incarnation.description
        )
        for now in [0, 1, BootTime(1 << 40), .max] {
            let isFresh =
                table.verdict(slots: [0, last], asOf: 1, epoch: table.epoch, deadline: .max) { now }.isFresh
            let isBelievable =
                now < .max && table.state == .attached && table.slot(0) <= 1 && table.slot(last) <= 1
                && table.heartbeat <= now && now - table.heartbeat <= TrustTiming.trustWindowNanoseconds
                && table.freshAsOf <= now && now - table.freshAsOf <= TrustTiming.upstreamTrustNanoseconds
            try require(isFresh == isBelievable, "at \(now) it counts as fresh: \(isFresh)")
        }
    }
}
