import IPCWire
import NIOCore

/// One file of the journal directory that asks for something.
package struct JournalItem: Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        /// An invalidation that nobody has committed.
        case owed
        /// A write that may still reach the database: renamed by its owner, or left behind by a dead one.
        case orphan
        /// Left behind by an owner that died while it wrote it: its database write had not begun.
        case incomplete
        /// "Replace the incarnation": stands for more owed invalidations than can be named.
        case marker
    }

    package var name: String
    package var kind: Kind
    /// Empty where the file cannot be read: then everything is invalidated.
    package var tags: [ByteBuffer]

    package init(name: String, kind: Kind, tags: [ByteBuffer]) {
        self.name = name
        self.kind = kind
        self.tags = tags
    }
}

/// How far the journal is in the log. One pass at a time: the directory is read, everything that it owes is
/// appended, and only then a beat is made, with the time from before the directory was read.
struct JournalPass: Sendable {
    struct Pass: Sendable {
        var sampledAt: UInt64
        /// The proof that it began after.
        var generation: UInt64
        /// Files that are to be appended after those that wait.
        var remaining: ArraySlice<(name: String, tags: [ByteBuffer])> = []
        /// Files whose append is not answered yet.
        var waiting: Set<String> = []
        /// Something more has been owed since the directory was read.
        var isOutdated = false
    }

    private(set) var pass: Pass?
    /// Files are being appended; what is committed meanwhile does not begin that anew.
    var isAppending = false
    /// When each orphan was appended for the first time.
    var orphans: [String: UInt64] = [:]
    /// Files to delete once their append is answered.
    var deleting: Set<String> = []
    /// Invalidations of this syncd that are owed, about.
    var owed = 0
    /// A marker was seen, or an owed file could not be written: the log must be replaced.
    var isMarked = false
    /// The log that is to take its place, once this was asked for.
    var replacing: Incarnation?

    mutating func begin(_ pass: Pass) { self.pass = pass }

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

    mutating func append(_ files: [(name: String, tags: [ByteBuffer])]) { pass?.remaining = files[...] }

    /// The next file to append, if no more than `limit` are under way.
    mutating func next(limit: Int) -> (name: String, tags: [ByteBuffer])? {
        guard let count = pass?.waiting.count, count < limit, let file = pass?.remaining.popFirst() else { return nil }
        pass?.waiting.insert(file.name)
        return file
    }

    /// Returns the pass if this was the last file that it waited for.
    mutating func committed(_ file: String) -> Pass? {
        guard pass?.waiting.remove(file) != nil, let pass, pass.waiting.isEmpty, pass.remaining.isEmpty else {
            return nil
        }
        return pass
    }
}

extension Brain {
    /// Time for a beat: asks for the journal first.
    package mutating func beatDue(now: UInt64, effects: inout [Effect]) { scanJournal(now: now, effects: &effects) }

    mutating func scanJournal(now: UInt64, effects: inout [Effect]) {
        guard journal.pass == nil else {
            // A sign of life: whoever waits for one need not take a long pass for a syncd that has died.
            if log.state == .isolated { pushTracking(.beat(beat), effects: &effects) }
            return
        }
        #if MUTANTS
            if Mutant.active == .beatWithoutJournal {
                // Read after every third beat only.
                beatsWithoutJournal += 1
                if beatsWithoutJournal % 3 != 0, log.state == .attached {
                    let pass = JournalPass.Pass(sampledAt: now, generation: log.generation)
                    return finishPass(pass, now: now, effects: &effects)
                }
            }
        #endif
        let pass = JournalPass.Pass(sampledAt: now, generation: log.generation)
        // The files stay: nobody trusts a cache now. They may be very many, so that they are not even looked at.
        if isJournalIdle { return finishPass(pass, now: now, effects: &effects) }
        journal.begin(pass)
        table.setScanStarted(now)
        effects.append(.scanJournal(sampledAt: now))
    }

    /// No host could read an entry of more, nor any client its push.
    private func isAppendable(_ tags: [ByteBuffer]) -> Bool {
        let longest = max(limits.wire.tagBytes, limits.wire.keyBytes + 1)
        return !tags.isEmpty && tags.count <= limits.wire.tagsPerInvalidation
            && tags.allSatisfy { $0.readableBytes <= longest }
    }

    /// Isolated, and the log cannot be appended to.
    private var isJournalIdle: Bool { log.state == .isolated && log.phase != .proven }

    /// The journal directory could not be read: nobody may be told that nothing is owed.
    package mutating func journalUnreadable() { journal.abort() }

    /// An owed invalidation could not be written down: the whole log must be replaced instead.
    package mutating func owedNotWritten() { journal.mark() }

    /// Goes through what the journal directory held at `sampledAt` or later.
    package mutating func journalScanned(
        _ items: [JournalItem], sampledAt: UInt64, now: UInt64, effects: inout [Effect]
    ) {
        guard let pass = journal.pass, pass.sampledAt == sampledAt else { return }
        if isJournalIdle { return finishPass(pass, now: now, effects: &effects) }
        forgetOrphans(except: items)
        if !replaceIfMarked(items, now: now, effects: &effects) {
            journal.abort()
            return
        }
        var due: [(name: String, tags: [ByteBuffer])] = []
        for item in items {
            let tags = isAppendable(item.tags) ? item.tags : [ByteBuffer(string: "*")]
            switch item.kind {
            case .owed:
                journal.deleting.insert(item.name)
                #if MUTANTS
                    if Mutant.active == .owedDeletedFirst { effects.append(.removeJournalFile(item.name)) }
                #endif
                due.append((item.name, tags))
            case .orphan:
                if let first = journal.orphans[item.name] {
                    guard now >= first + limits.orphanNanoseconds else { continue }
                    journal.deleting.insert(item.name)
                }
                due.append((item.name, tags))
            case .incomplete: effects.append(.removeJournalFile(item.name))
            case .marker: continue
            }
        }
        if due.isEmpty { return finishPass(pass, now: now, effects: &effects) }
        journal.append(due)
        appendFiles(now: now, effects: &effects)
    }

    /// Appends as many as may be under way at once: however much is owed, the server gets no more than it can take in
    /// time. An append that is refused aborts the pass and isolates: what is left would be refused too.
    private mutating func appendFiles(now: UInt64, effects: inout [Effect]) {
        guard !journal.isAppending else { return }
        journal.isAppending = true
        defer { journal.isAppending = false }
        // Not more than half of what may wait at all: one that finds no place ends the pass.
        while let file = journal.next(limit: min(limits.journalAppends, max(1, limits.pendingAppends / 2))) {
            withLog(now: now, effects: &effects) { log, logEffects in
                log.append(
                    tags: file.tags, event: nil, for: .journal(file: file.name), now: now, effects: &logEffects)
            }
        }
    }

    mutating func journalCommitted(_ file: String, now: UInt64, effects: inout [Effect]) {
        #if MUTANTS
            if Mutant.active == .orphanOnce { journal.deleting.insert(file) }
        #endif
        if journal.deleting.remove(file) != nil {
            journal.orphans[file] = nil
            effects.append(.removeJournalFile(file))
        } else {
            journal.orphans[file] = now
        }
        if let pass = journal.committed(file) {
            finishPass(pass, now: now, effects: &effects)
        } else {
            appendFiles(now: now, effects: &effects)
        }
    }

    private mutating func finishPass(_ pass: JournalPass.Pass, now: UInt64, effects: inout [Effect]) {
        journal.abort()
        #if MUTANTS
            var pass = pass
            if Mutant.active == .outdatedPassBeats { pass.isOutdated = false }
            if Mutant.active == .beatStampedLate { pass.sampledAt = now }
        #endif
        if pass.isOutdated {
            // Who was told DEFERRED relies on it that nobody believes a cache until this, too, is in the table.
            scanJournal(now: now, effects: &effects)
            return
        }
        if log.phase == .proven { journal.owed = 0 }
        if pass.sampledAt > lastBeat + TrustTiming.fenceNanoseconds { awakeSince = pass.sampledAt }
        lastBeat = max(lastBeat, pass.sampledAt)
        withLog(now: now, effects: &effects) { log, logEffects in
            log.beatCompleted(
                sampledAt: pass.sampledAt, generation: pass.generation, now: now, effects: &logEffects)
        }
        pushTracking(.beat(beat), effects: &effects)
    }

    private mutating func forgetOrphans(except items: [JournalItem]) {
        guard !journal.orphans.isEmpty else { return }
        let names = Set(items.map(\.name))
        journal.orphans = journal.orphans.filter { names.contains($0.key) }
    }

    /// Keeps an invalidation that the log has not taken.
    mutating func owe(_ tags: [ByteBuffer], effects: inout [Effect]) {
        journal.owed += 1
        journal.becomeOutdated()
        if journal.owed > limits.owed {
            journal.mark()
            effects.append(.writeMarker)
        } else {
            effects.append(.writeOwed(tags))
        }
    }

    /// If more is owed than can be named, the log is replaced, and every cached value of every host is dead.
    /// Returns whether the pass may go on.
    private mutating func replaceIfMarked(
        _ items: [JournalItem], now: UInt64, effects: inout [Effect]
    ) -> Bool {
        let markers = items.filter { $0.kind == .marker }
        guard !markers.isEmpty || journal.isMarked else { return true }
        // Only by ourselves: a log that another host made may be older than what is owed.
        let isReplaced = journal.replacing.map(log.hasMade) ?? (configuration.mode == .embedded)
        if isReplaced {
            for marker in markers { effects.append(.removeJournalFile(marker.name)) }
            journal.isMarked = false
            journal.replacing = nil
            return true
        }
        guard log.phase == .proven else { return false }
        withLog(now: now, effects: &effects) { log, logEffects in
            log.replaceOwed(now: now, effects: &logEffects)
        }
        // What waited is owed now, and covered. What comes from now on is named again, so that this comes to an end.
        journal.replacing = log.replacement?.incarnation
        journal.owed = 0
        return false
    }
}
