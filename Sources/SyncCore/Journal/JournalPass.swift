import DequeModule
import IPCWire
import NIOCore

/// Progress of the journal into the log, one pass at a time. The directory is read, in parts, and the tags of its files
/// are appended. Only then a heartbeat is written, with the time from before the directory was read.
struct JournalPass: Sendable {
    /// A file whose tags are in an append.
    struct Settling: Sendable {
        var name: String
        var version: UInt64
        /// The file is deleted once the append is answered.
        var isFinal: Bool
    }

    /// Tags of several files, for one append. A file is in the log with the group that has its last tag.
    struct Group: Sendable {
        var tags: [ByteBuffer] = []
        var known: Set<ByteBuffer> = []
        var files: [Settling] = []
    }

    struct Pass: Sendable {
        var sampledAt: BootTime
        /// The value of `syncs` when the pass began.
        var syncs: UInt64
        var number: UInt64 = 0
        /// The first files have arrived.
        var isBegun = false
        /// All files have arrived.
        var isRead = false
        /// The group that the next file is added to.
        var open = Group()
        /// Groups that wait for their append.
        var remaining: Deque<Group> = []
        /// Groups whose append is not answered yet, by number.
        var waiting: [UInt64: [Settling]] = [:]
        /// An invalidation became pending after the directory was read.
        var isOutdated = false

        var isDone: Bool { isRead && remaining.isEmpty && waiting.isEmpty }

        mutating func closeGroup() {
            if open.tags.isEmpty && open.files.isEmpty { return }
            remaining.append(open)
            open = Group()
        }

        mutating func add(_ tags: [ByteBuffer], of file: Settling, limits: Limits) {
            for tag in tags where !open.known.contains(tag) {
                if open.tags.count >= limits.wire.tagsPerInvalidation { closeGroup() }
                open.known.insert(tag)
                open.tags.append(tag)
            }
            open.files.append(file)
            if open.files.count >= limits.filesPerAppend { closeGroup() }
        }
    }

    /// A file that stays for a while and is appended again and again.
    struct Repeated: Sendable {
        var isLiving: Bool
        /// The file did not exist before this time: the previous reading did not find it.
        var notBefore: BootTime
        var firstAppend: BootTime?
        var lastAppend: BootTime?
        /// The pass that saw it last.
        var pass: UInt64

        func isDue(_ now: BootTime, _ limits: Limits) -> Bool {
            if isLiving, breaks(.hungOwnerIgnored) { return false }
            if let lastAppend { return now >= lastAppend + limits.orphanNanoseconds }
            return !isLiving || now >= notBefore + limits.hungNanoseconds
        }

        /// Whether the write cannot reach the database any more after this append. For a living owner this is unknown:
        /// it may not even have sent the write.
        func isLast(_ now: BootTime, _ limits: Limits) -> Bool {
            guard !isLiving, let firstAppend else { return false }
            let isForgottenEarly = breaks(.orphanForgottenEarly)
            return now >= firstAppend + (isForgottenEarly ? limits.orphanNanoseconds : limits.landingNanoseconds)
        }
    }

    /// A file whose tags are in the log and that could not be deleted.
    struct Undeletable: Sendable {
        var version: UInt64
        var nextAttempt: BootTime
        var pass: UInt64
    }

    private(set) var pass: Pass?
    /// The start of the last reading that was completed; 0: none. A syncd that has just started, or has slept, does not
    /// know how long a worker has been hanging.
    private(set) var lastReading: BootTime = 0
    private var passes: UInt64 = 0
    private var groups: UInt64 = 0
    /// True while files are being appended: a commit meanwhile does not start that again.
    var isAppending = false
    /// Files by ``JournalItem/identity(_:)``, so that their state survives a replacement of the directory.
    var repeated: [Substring: Repeated] = [:]
    var undeletable: [String: Undeletable] = [:]
    /// Approximate number of pending invalidations of this syncd.
    var pending = 0
    /// A marker was found, or a pending file could not be written: the log must be replaced.
    var isMarked = false
    /// The log that will replace it, once the replacement was requested.
    var replacing: Incarnation?
    /// The reason why the last pass ended without a heartbeat.
    var problem: String?
    /// The table at the path belongs to another syncd.
    var isTableLost = false

    mutating func begin(_ pass: Pass) {
        passes += 1
        self.pass = pass
        self.pass?.number = passes
    }

    /// Marks the log for replacement. A replacement that is under way does not count: it may have happened already, and
    /// other hosts may have filled caches since.
    mutating func mark() {
        isMarked = true
        replacing = nil
    }

    /// An append failed: this pass ends without a heartbeat.
    mutating func abort() { pass = nil }

    /// An invalidation became pending that this pass has not read.
    mutating func becomeOutdated() { pass?.isOutdated = true }

    mutating func beginFiles() { pass?.isBegun = true }

    mutating func add(_ tags: [ByteBuffer], of file: Settling, limits: Limits) {
        pass?.add(tags, of: file, limits: limits)
    }

    /// All files have arrived: forgets files that the directory no longer holds.
    mutating func endFiles() {
        pass?.closeGroup()
        pass?.isRead = true
        guard let pass else { return }
        lastReading = pass.sampledAt
        let number = pass.number
        if !repeated.isEmpty { repeated = repeated.filter { $0.value.pass == number } }
        if !undeletable.isEmpty { undeletable = undeletable.filter { $0.value.pass == number } }
    }

    /// The next group to append, with its number, if no more than `limit` are under way.
    mutating func next(limit: Int) -> (number: UInt64, tags: [ByteBuffer])? {
        guard let count = pass?.waiting.count, count < limit, let group = pass?.remaining.popFirst() else { return nil }
        groups += 1
        pass?.waiting[groups] = group.files
        return (groups, group.tags)
    }

    /// The files that are in the log with this group.
    mutating func committed(_ group: UInt64) -> [Settling]? { pass?.waiting.removeValue(forKey: group) }
}
