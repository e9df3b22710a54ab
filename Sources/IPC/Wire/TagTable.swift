import NIOCore
import Synchronization

/// The layout of the tag table's memory (docs/protocol.md, "The tag table byte by byte"). All numbers are 64-bit,
/// little endian and naturally aligned.
package enum TagTableLayout {
    /// The bytes `SYNCDTAG`, read as a little-endian number.
    package static let magic: UInt64 = 0x4741_5444_434E_5953
    /// The version of the layout, raised with every incompatible change.
    package static let version: UInt64 = 1
    /// Offset of the slots: one page after the header.
    package static let headerBytes = 4096
    /// Range of the binary logarithm of the number of slots.
    package static let slotBitsRange = 16...24
    /// Default: 2^20 slots, 8 MiB.
    package static let defaultSlotBits = 20

    static let magicOffset = 0
    static let versionOffset = 8
    static let slotCountOffset = 16
    static let madeAtOffset = 24
    // One cache line with the data that every heartbeat writes and every L1 hit reads.
    static let stateOffset = 64
    static let epochOffset = 72
    static let heartbeatOffset = 80
    static let freshAsOfOffset = 88
    static let appliedOffset = 96
    static let firstKnownPositionOffset = 104
    static let incarnationHighOffset = 112
    static let incarnationLowOffset = 120
    // Separate from that line: only writers without syncd read it.
    static let scanStartedOffset = 128
    static let journalDeviceOffset = 136
    static let journalInodeOffset = 144
    static let logModeOffset = 152
    // Two places of position and nonce: a syncd that is killed while it writes one leaves the other.
    static let lastEntryOffset = 160
    /// Greatest number in a sound table. The room above it suffices for every rise that may come before the next start.
    package static let greatestNumber = WireLimits.maximumNumber - 1 << 40

    /// Size of a table with 2^`slotBits` slots, in bytes.
    package static func byteCount(slotBits: Int) -> Int { headerBytes + 8 << slotBits }
}

/// The tag table in shared memory: the greatest position at which a tag of each slot was invalidated, and syncd's
/// heartbeat. One process writes it, any number read it; slots are only ever raised.
///
/// All access is by atomic load and store, so the type is safe to share between threads and processes.
package final class TagTable: Sendable {
    /// Number of slots, a power of two.
    package let slotCount: Int
    // Unchecked: the memory is only accessed by atomics, and it lives until `deinit`.
    private nonisolated(unsafe) let memory: UnsafeMutableRawPointer
    private let mask: UInt64
    private let forget: @Sendable (UnsafeMutableRawPointer) -> Void
    private let release: @Sendable (UnsafeMutableRawPointer) -> Void

    /// Takes over `memory` of ``TagTableLayout/byteCount(slotBits:)`` bytes, 8-byte aligned, whose header is complete.
    /// `release` is called with it when the table has no users any more, and `forget` when all of it was read and most
    /// of it will not be needed soon.
    package init(
        memory: UnsafeMutableRawPointer, slotBits: Int,
        forget: @escaping @Sendable (UnsafeMutableRawPointer) -> Void = { _ in },
        release: @escaping @Sendable (UnsafeMutableRawPointer) -> Void
    ) {
        precondition(TagTableLayout.slotBitsRange.contains(slotBits), "a tag table has 2^16 to 2^24 slots")
        self.memory = memory
        self.slotCount = 1 << slotBits
        self.mask = UInt64(self.slotCount - 1)
        self.forget = forget
        self.release = release
    }

    deinit { release(memory) }

    /// A table in this process's own memory: for embedding, tests and simulation.
    package static func inMemory(
        slotBits: Int = TagTableLayout.slotBitsRange.lowerBound, epoch: Epoch = 1, madeAt: BootTime = 0
    ) -> TagTable {
        let bytes = TagTableLayout.byteCount(slotBits: slotBits)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        initializeHeader(memory, slotBits: slotBits, epoch: epoch, madeAt: madeAt)
        return TagTable(memory: memory, slotBits: slotBits, release: { $0.deallocate() })
    }

    /// Writes the header of a fresh table into zeroed memory: isolated, nothing applied.
    package static func initializeHeader(
        _ memory: UnsafeMutableRawPointer, slotBits: Int, epoch: Epoch, madeAt: BootTime
    ) {
        memory.storeBytes(
            of: TagTableLayout.magic.littleEndian, toByteOffset: TagTableLayout.magicOffset, as: UInt64.self)
        memory.storeBytes(
            of: TagTableLayout.version.littleEndian, toByteOffset: TagTableLayout.versionOffset, as: UInt64.self)
        memory.storeBytes(
            of: (UInt64(1) << slotBits).littleEndian, toByteOffset: TagTableLayout.slotCountOffset, as: UInt64.self)
        memory.storeBytes(
            of: SyncState.isolated.rawValue.littleEndian, toByteOffset: TagTableLayout.stateOffset, as: UInt64.self)
        memory.storeBytes(of: epoch.number.littleEndian, toByteOffset: TagTableLayout.epochOffset, as: UInt64.self)
        memory.storeBytes(of: madeAt.number.littleEndian, toByteOffset: TagTableLayout.madeAtOffset, as: UInt64.self)
    }

    /// Checks the header of a mapped file of `fileBytes` bytes and returns the table's slot bits.
    package static func validateHeader(
        _ memory: UnsafeRawPointer, fileBytes: Int
    ) throws(TagTableError) -> Int {
        guard fileBytes >= TagTableLayout.headerBytes else { throw .tooShort(bytes: fileBytes) }
        func number(_ offset: Int) -> UInt64 {
            memory.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian
        }
        guard number(TagTableLayout.magicOffset) == TagTableLayout.magic else { throw .notATable }
        let version = number(TagTableLayout.versionOffset)
        guard version == TagTableLayout.version else { throw .otherLayout(version: version) }
        let slots = number(TagTableLayout.slotCountOffset)
        guard let bits = TagTableLayout.slotBitsRange.first(where: { UInt64(1) << $0 == slots }) else {
            throw .otherLayout(version: version)
        }
        guard fileBytes == TagTableLayout.byteCount(slotBits: bits) else { throw .tooShort(bytes: fileBytes) }
        for (name, offset) in [
            ("epoch", TagTableLayout.epochOffset), ("applied", TagTableLayout.appliedOffset),
            ("first-known", TagTableLayout.firstKnownPositionOffset),
        ] where number(offset) > TagTableLayout.greatestNumber {
            throw .damaged(what: name, number: number(offset))
        }
        return bits
    }

    /// Checks every slot, which ``validateHeader(_:fileBytes:)`` leaves out. For the start only.
    package func validateSlots() throws(TagTableError) {
        let greatest = greatestSlot.number
        if greatest > TagTableLayout.greatestNumber { throw .damaged(what: "slot", number: greatest) }
    }

    // MARK: Reading

    /// The slot of a hash made by ``TagHash``.
    package func slotIndex(_ hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash & mask) }

    /// Greatest position at which a tag of this slot was invalidated; 0: never.
    package func slot(_ index: UInt32) -> LogPosition {
        LogPosition(load(TagTableLayout.headerBytes + Int(index) * 8))
    }

    /// Greatest position of any slot. Reads all of them: for the start only.
    package var greatestSlot: LogPosition {
        var greatest: LogPosition = 0
        var index: UInt32 = 0
        while index < UInt32(slotCount) {
            greatest = max(greatest, slot(index))
            index += 1
        }
        forget(memory)
        return greatest
    }

    /// Whether caches may be trusted. An unknown number means isolated.
    package var state: SyncState { SyncState(rawValue: load(TagTableLayout.stateOffset)) ?? .isolated }
    /// CLOCK_BOOTTIME in ns at which the table was made; 0: unknown. For one trust window from then on, a worker may
    /// trust an older table whose file is deleted.
    package var madeAt: BootTime { BootTime(load(TagTableLayout.madeAtOffset)) }
    /// The epoch: raised whenever all earlier values are stale.
    package var epoch: Epoch { Epoch(load(TagTableLayout.epochOffset)) }
    /// CLOCK_BOOTTIME in ns of the last heartbeat; 0: never.
    package var heartbeat: BootTime { BootTime(load(TagTableLayout.heartbeatOffset)) }
    /// CLOCK_BOOTTIME in ns of the newest reading of the journal that has begun; 0: unknown. A heartbeat never has a
    /// later time than this, and a reading that begins later finds every file that had its name before this was loaded.
    package var scanStarted: BootTime {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return BootTime(load(TagTableLayout.scanStartedOffset))
    }
    /// CLOCK_BOOTTIME in ns at which the last confirmed probe of Redis was sent; embedded: the heartbeat.
    package var freshAsOf: BootTime { BootTime(load(TagTableLayout.freshAsOfOffset)) }
    /// Greatest position up to which every entry of the log is in the slots.
    package var applied: LogPosition { LogPosition(load(TagTableLayout.appliedOffset)) }
    /// The first known position: the greatest one that this syncd did not apply itself.
    package var firstKnownPosition: LogPosition { LogPosition(load(TagTableLayout.firstKnownPositionOffset)) }
    /// The log that the positions belong to.
    package var incarnation: Incarnation {
        Incarnation(high: load(TagTableLayout.incarnationHighOffset), low: load(TagTableLayout.incarnationLowOffset))
    }

    /// Where the log is whose positions these are; `nil`: unknown.
    package var logMode: LogMode? {
        switch load(TagTableLayout.logModeOffset) {
        case 1: .redis
        case 2: .embedded
        default: nil
        }
    }

    /// The last entry of a log in Redis that was applied; `nil`: unknown. Every value whose `asOf` is at most this position
    /// belongs to the history that ends with this entry.
    package var lastEntry: AppliedEntry? {
        let newest = place(ofNewest: true)
        let position = LogPosition(load(newest))
        return position == 0 ? nil : AppliedEntry(position: position, nonce: load(newest + 8))
    }

    private func place(ofNewest isNewest: Bool) -> Int {
        let (first, second) = (TagTableLayout.lastEntryOffset, TagTableLayout.lastEntryOffset + 16)
        return (load(first) > load(second)) == isNewest ? first : second
    }

    /// Whether `now` is at or after `instant` and at most `window` later. A time in the future (another time namespace,
    /// a damaged file) is not trusted.
    @inline(__always)
    package static func isWithin(_ now: BootTime, of instant: BootTime, _ window: UInt64) -> Bool {
        now >= instant && now - instant <= window
    }

    /// The journal directory that syncd reads; ``FileIdentity/unknown`` if the table does not name it.
    package var journalDirectory: FileIdentity {
        FileIdentity(
            device: load(TagTableLayout.journalDeviceOffset), inode: load(TagTableLayout.journalInodeOffset))
    }

    // MARK: Writing (syncd only)

    /// Raises the slot of a hash to `position`; a greater value stays.
    package func raise(_ hash: UInt64, to position: LogPosition) {
        let offset = TagTableLayout.headerBytes + Int(slotIndex(hash)) * 8
        if load(offset) < position.number { store(position.number, offset) }
    }

    /// Raises the slots that an invalidation of `tags` affects. A tag is a declared tag, `=` and a key, or `*`.
    package func raise(tags: [ByteBuffer], to position: LogPosition) {
        for tag in tags { raise(TagHash.tag(tag), to: position) }
    }

    /// Stores the state.
    package func setState(_ state: SyncState) { store(state.rawValue, TagTableLayout.stateOffset) }
    /// Stores the epoch.
    package func setEpoch(_ epoch: Epoch) { store(epoch.number, TagTableLayout.epochOffset) }
    /// Stores the time of a heartbeat, sampled before the journal was read.
    package func setHeartbeat(_ time: BootTime) { store(time.number, TagTableLayout.heartbeatOffset) }
    /// Stores the time of a reading of the journal, before the directory is read. A worker that has named a file and
    /// then finds an older time here knows that the reading will find the file.
    package func setScanStarted(_ time: BootTime) {
        store(time.number, TagTableLayout.scanStartedOffset)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }
    /// Stores the identity of the journal directory, before it is read.
    package func setJournalDirectory(_ directory: FileIdentity) {
        store(directory.device, TagTableLayout.journalDeviceOffset)
        store(directory.inode, TagTableLayout.journalInodeOffset)
    }
    /// Stores the time at which a confirmed probe was sent.
    package func setFreshAsOf(_ time: BootTime) { store(time.number, TagTableLayout.freshAsOfOffset) }
    /// Stores the applied position, after the slots up to it.
    package func setApplied(_ position: LogPosition) { store(position.number, TagTableLayout.appliedOffset) }
    /// Stores the first known position.
    package func setFirstKnownPosition(_ position: LogPosition) {
        store(position.number, TagTableLayout.firstKnownPositionOffset)
    }
    /// Stores where the log is, after incarnation and first known position.
    package func setLogMode(_ mode: LogMode) { store(mode == .redis ? 1 : 2, TagTableLayout.logModeOffset) }
    /// Stores the last applied entry, before the applied position. An earlier one is ignored.
    package func setLastEntry(_ entry: AppliedEntry) {
        let place = place(ofNewest: false)
        guard load(self.place(ofNewest: true)) < entry.position.number else { return }
        store(0, place)
        store(entry.nonce, place + 8)
        store(entry.position.number, place)
    }
    /// The last applied entry is unknown from here on.
    package func forgetLastEntry() {
        store(0, TagTableLayout.lastEntryOffset)
        store(0, TagTableLayout.lastEntryOffset + 16)
    }
    /// Stores the incarnation, as two numbers.
    package func setIncarnation(_ incarnation: Incarnation) {
        store(incarnation.high, TagTableLayout.incarnationHighOffset)
        store(incarnation.low, TagTableLayout.incarnationLowOffset)
    }

    // MARK: Atomics

    @inline(__always)
    private func load(_ offset: Int) -> UInt64 {
        UInt64(littleEndian: atomic(offset).pointee.load(ordering: .acquiring))
    }

    @inline(__always)
    private func store(_ value: UInt64, _ offset: Int) {
        atomic(offset).pointee.store(value.littleEndian, ordering: .releasing)
    }

    @inline(__always)
    private func atomic(_ offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        memory.advanced(by: offset).assumingMemoryBound(to: Atomic<UInt64>.self)
    }
}

/// The place of an entry in a log, and the number that distinguishes it from every other one.
package struct AppliedEntry: Sendable, Hashable {
    package var position: LogPosition
    /// Random, one per append.
    package var nonce: UInt64

    package init(position: LogPosition, nonce: UInt64) {
        self.position = position
        self.nonce = nonce
    }
}

/// The reason why a file is not a usable tag table.
package enum TagTableError: Error, Sendable, Equatable, CustomStringConvertible {
    case notATable
    case otherLayout(version: UInt64)
    case tooShort(bytes: Int)
    /// A number that no syncd stores.
    case damaged(what: String, number: UInt64)

    /// The fault and its remedy.
    package var description: String {
        switch self {
        case .notATable: "the file is not a syncd tag table"
        case .otherLayout(let version):
            "the tag table has layout \(version), this program knows \(TagTableLayout.version): use the same version of syncd and of its workers"
        case .tooShort(let bytes): "the tag table has \(bytes) bytes, which is not the size that its header says"
        case .damaged(let what, let number):
            "the tag table is damaged: it says that a number (\(what)) is \(number), which is more than any can be"
        }
    }
}

/// The identity of a file or directory on this host, whatever its path.
package struct FileIdentity: Sendable, Hashable {
    /// The device that holds it.
    package var device: UInt64
    /// The inode number on that device.
    package var inode: UInt64

    /// The identity from the fields of stat(2).
    package init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }

    /// The identity is unknown.
    package static let unknown = FileIdentity(device: 0, inode: 0)
}

/// The random id of a log. Another incarnation is another log, and positions of the two cannot be compared.
package struct Incarnation: Sendable, Hashable {
    /// The first 16 hexadecimal digits.
    package var high: UInt64
    /// The last 16 hexadecimal digits.
    package var low: UInt64

    /// An incarnation from its two halves.
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The value while there is no log.
    package static let none = Incarnation(high: 0, low: 0)

    /// Parses 32 hexadecimal digits.
    package init?(_ text: String) { self.init(digits: text.utf8) }

    /// Parses 32 hexadecimal digits.
    package init?(_ text: ByteBuffer) {
        guard let incarnation = text.withUnsafeReadableBytes({ Incarnation(digits: $0) }) else { return nil }
        self = incarnation
    }

    /// Fast: every entry of the log has one.
    private init?(digits: some Collection<UInt8>) {
        guard digits.count == 32 else { return nil }
        var halves: (high: UInt64, low: UInt64) = (0, 0)
        for digit in digits {
            let value: UInt8
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = digit - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): value = digit - UInt8(ascii: "A") + 10
            default: return nil
            }
            halves.high = halves.high << 4 | halves.low >> 60
            halves.low = halves.low << 4 | UInt64(value)
        }
        self.init(high: halves.high, low: halves.low)
    }

    /// 32 lower-case hexadecimal digits.
    package var description: String { String(buffer: text) }

    /// 32 lower-case hexadecimal digits.
    package var text: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 32) { target in
            for (half, start) in [(high, 0), (low, 16)] {
                for place in 0..<16 {
                    let value = UInt8(truncatingIfNeeded: half >> UInt64(60 - 4 * place)) & 15
                    target[start + place] = value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value
                }
            }
            return 32
        }
        return buffer
    }
}
