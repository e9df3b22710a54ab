import DequeModule
import IPCWire
import NIOCore

/// How far the journal is in the log. One pass at a time: the directory is read, in parts, everything that it asks for
/// is appended, and only then a beat is made, with the time from before the directory was read.
struct JournalPass: Sendable {
    /// A file whose tags are in an append.
    struct Settling: Sendable {
        var name: String
        var version: UInt64
        /// To be deleted once the append is answered.
        var isFinal: Bool
    }

    /// Tags of several files, for one append. A file is in the log with the group that has its last tag.
    struct Group: Sendable {
        var tags: [ByteBuffer] = []
        var known: Set<ByteBuffer> = []
        var files: [Settling] = []
    }

    struct Pass: Sendable {
        var sampledAt: UInt64
        /// The proof that it began after.
        var syncs: UInt64
        var number: UInt64 = 0
        /// Files have come.
        var isBegun = false
        /// All files have come.
        var isRead = false
        /// The group that the next file is added to.
        var open = Group()
        /// What is to be appended after what waits.
        var remaining: Deque<Group> = []
        /// What is appended and not answered yet.
        var waiting: [UInt64: [Settling]] = [:]
        /// Something more has been owed since the directory was read.
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
        /// The file is no older than this: the reading before did not find it.
        var notBefore: UInt64
        var firstAppend: UInt64?
        var lastAppend: UInt64?
        /// The pass that saw it last.
        var pass: UInt64

        func isDue(_ now: UInt64, _ limits: Limits) -> Bool {
            if isLiving, breaks(.hungOwnerIgnored) { return false }
            if let lastAppend { return now >= lastAppend + limits.orphanNanoseconds }
            return !isLiving || now >= notBefore + limits.hungNanoseconds
        }

        /// Nothing of the write can reach the database any more once it is appended now. Of a living owner that is not
        /// known: it may not even have sent it.
        func isLast(_ now: UInt64, _ limits: Limits) -> Bool {
            guard !isLiving, let firstAppend else { return false }
            let isForgottenEarly = breaks(.orphanForgottenEarly)
            return now >= firstAppend + (isForgottenEarly ? limits.orphanNanoseconds : limits.landingNanoseconds)
        }
    }

    /// A file that is in the log and could not be deleted.
    struct Undeletable: Sendable {
        var version: UInt64
        var nextAttempt: UInt64
        var pass: UInt64
    }

    private(set) var pass: Pass?
    /// When the last reading began that came to its end; 0: none has. A syncd that has just started, or has slept, does
    /// not know how long a worker has been hanging.
    private(set) var lastReading: UInt64 = 0
    private var passes: UInt64 = 0
    private var groups: UInt64 = 0
    /// Files are being appended; what is committed meanwhile does not begin that anew.
    var isAppending = false
    /// By ``JournalItem/identity(_:)``: what is known of a file goes on when its directory is replaced.
    var repeated: [Substring: Repeated] = [:]
    var undeletable: [String: Undeletable] = [:]
    /// Invalidations of this syncd that are owed, about.
    var owed = 0
    /// A marker was seen, or an owed file could not be written: the log must be replaced.
    var isMarked = false
    /// The log that is to take its place, once this was asked for.
    var replacing: Incarnation?
    /// Why the last pass came to no beat.
    var problem: String?
    /// The table is not this syncd's any more.
    var isTableLost = false

    mutating func begin(_ pass: Pass) {
        passes += 1
        self.pass = pass
        self.pass?.number = passes
    }

    /// The log is to be replaced. A replacement that is under way does not count: it may have happened already, and
    /// other hosts may have filled caches since.
    mutating func mark() {
        isMarked = true
        replacing = nil
    }

    /// Something could not be appended: no beat comes of this pass.
    mutating func abort() { pass = nil }

    /// An invalidation is owed that this pass has not seen.
    mutating func becomeOutdated() { pass?.isOutdated = true }

    mutating func beginFiles() { pass?.isBegun = true }

    mutating func add(_ tags: [ByteBuffer], of file: Settling, limits: Limits) {
        pass?.add(tags, of: file, limits: limits)
    }

    /// All files have come: what the directory does not hold any more is forgotten.
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
