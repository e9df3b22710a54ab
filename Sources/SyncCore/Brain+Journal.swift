import IPCWire
import NIOCore

extension Brain {
    /// Time for a beat: asks for the journal first.
    package mutating func beatDue(now: UInt64, effects: inout [Effect]) { scanJournal(now: now, effects: &effects) }

    mutating func scanJournal(now: UInt64, effects: inout [Effect]) {
        // Another syncd beats into what lies at the path: this one has nothing to say.
        if journal.isTableLost { return }
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
                    let pass = JournalPass.Pass(sampledAt: now, syncs: log.syncs)
                    return finishPass(pass, now: now, effects: &effects)
                }
            }
        #endif
        let pass = JournalPass.Pass(sampledAt: now, syncs: log.syncs)
        table.setScanStarted(now)
        // The files stay: nobody trusts a cache now. They may be very many, so that they are not even looked at.
        if isJournalIdle { return finishPass(pass, now: now, effects: &effects) }
        journal.begin(pass)
        effects.append(.scanJournal(sampledAt: now))
    }

    /// Isolated, and the log cannot be appended to.
    private var isJournalIdle: Bool { log.state == .isolated && !log.isSynced }

    /// The journal directory could not be read: nobody may be told that nothing is owed.
    package mutating func journalUnreadable(_ problem: String = "the journal cannot be read") {
        journal.problem = problem
        journal.abort()
    }

    /// The table at the path is another one, or none: whatever is beaten into this one, somebody may believe it who
    /// should not. No further beat, and no look at a journal that is another syncd's now.
    package mutating func tableLost() {
        journal.isTableLost = true
        journalUnreadable("the tag table is not this syncd's any more")
        table.setState(.isolated)
    }

    /// An owed invalidation could not be written down: the whole log must be replaced instead.
    package mutating func owedNotWritten() { journal.mark() }

    /// The directory that is being read: a worker has to know whether it is the one that it writes to.
    package func journalDirectory(is directory: FileIdentity) {
        if table.journalDirectory != directory { table.setJournalDirectory(directory) }
    }

    /// Whether the pass that began then still waits for files.
    package func isReadingJournal(_ sampledAt: UInt64) -> Bool {
        journal.pass.map { $0.sampledAt == sampledAt && !$0.isRead } ?? false
    }

    /// Whether the content of a file is needed. A file that is known and not due is not read ten times a second.
    package func wantsJournalFile(_ name: String, isLiving: Bool, version: UInt64, now: UInt64) -> Bool {
        if journal.undeletable[name]?.version == version, !breaks(.undeletableForgotten) { return false }
        if let known = journal.repeated[JournalItem.identity(name)], known.isLiving == isLiving {
            return known.isDue(now, limits)
        }
        return !isLiving || now >= journal.lastReading + limits.hungNanoseconds
    }

    /// Goes through what the journal directory held at `sampledAt` or later. It comes in parts; with the last one the
    /// pass can end.
    package mutating func journalScanned(
        _ items: [JournalItem], sampledAt: UInt64, isLast: Bool = true, now: UInt64, effects: inout [Effect]
    ) {
        guard let pass = journal.pass, pass.sampledAt == sampledAt, !pass.isRead else { return }
        if isJournalIdle { return finishPass(pass, now: now, effects: &effects) }
        // A marker comes in the first part.
        if !pass.isBegun, !replaceIfMarked(items, now: now, effects: &effects) {
            journal.abort()
            return
        }
        journal.beginFiles()
        for item in items where !isKept(item, pass: pass.number, now: now, effects: &effects) {
            take(item, pass: pass.number, now: now, effects: &effects)
        }
        if isLast { journal.endFiles() }
        appendFiles(now: now, effects: &effects)
    }

    /// Whether it is in the log and only still there because it cannot be deleted: then that is tried now and then.
    private mutating func isKept(_ item: JournalItem, pass: UInt64, now: UInt64, effects: inout [Effect]) -> Bool {
        guard var kept = journal.undeletable[item.name] else { return false }
        guard kept.version == item.version, !breaks(.undeletableForgotten) else {
            journal.undeletable[item.name] = nil
            return false
        }
        kept.pass = pass
        if now >= kept.nextAttempt {
            kept.nextAttempt = now + limits.deletionNanoseconds
            effects.append(.removeJournalFile(item.name, version: item.version))
        }
        journal.undeletable[item.name] = kept
        return true
    }

    private mutating func take(_ item: JournalItem, pass: UInt64, now: UInt64, effects: inout [Effect]) {
        switch item.kind {
        case .owed:
            #if MUTANTS
                if Mutant.active == .owedDeletedFirst {
                    effects.append(.removeJournalFile(item.name, version: item.version))
                }
            #endif
            add(item, isFinal: true)
        case .orphan, .living:
            let isLiving = item.kind == .living
            let file = JournalItem.identity(item.name)
            var known =
                journal.repeated[file]
                ?? JournalPass.Repeated(isLiving: isLiving, notBefore: journal.lastReading, pass: pass)
            // Its owner has died since: what it had sent before may come until long after now.
            if known.isLiving != isLiving {
                known = JournalPass.Repeated(isLiving: isLiving, notBefore: journal.lastReading, pass: pass)
            }
            known.pass = pass
            journal.repeated[file] = known
            // A living owner that has not finished writing the file has not begun to write to the database.
            guard item.isRead, known.isDue(now, limits), !isLiving || !item.tags.isEmpty else { return }
            add(item, isFinal: known.isLast(now, limits))
        case .incomplete: effects.append(.removeJournalFile(item.name, version: item.version))
        case .marker: break
        }
    }

    private mutating func add(_ item: JournalItem, isFinal: Bool) {
        // No host could read an entry with another tag, nor any client its push.
        let longest = max(limits.wire.tagBytes, limits.wire.keyBytes + 1)
        let isAppendable = !item.tags.isEmpty && item.tags.allSatisfy { $0.readableBytes <= longest }
        let file = JournalPass.Settling(name: item.name, version: item.version, isFinal: isFinal)
        journal.add(isAppendable ? item.tags : [ByteBuffer(string: "*")], of: file, limits: limits)
    }

    /// Appends as many as may be under way at once: however much is owed, the server gets no more than it can take in
    /// time. An append that is refused aborts the pass and isolates: what is left would be refused too.
    private mutating func appendFiles(now: UInt64, effects: inout [Effect]) {
        guard !journal.isAppending else { return }
        journal.isAppending = true
        // Not more than half of what may wait at all: one that finds no place ends the pass.
        while let group = journal.next(limit: min(limits.journalAppends, max(1, limits.pendingAppends / 2))) {
            withLog(now: now, effects: &effects) { log, turn in
                log.append(tags: group.tags, event: nil, for: .journal(group: group.number), &turn)
            }
        }
        journal.isAppending = false
        if let pass = journal.pass, pass.isDone { finishPass(pass, now: now, effects: &effects) }
    }

    mutating func journalCommitted(_ group: UInt64, now: UInt64, effects: inout [Effect]) {
        // Of a pass that was given up: the next one appends the files again.
        guard let files = journal.committed(group) else { return }
        for file in files {
            var isFinal = file.isFinal
            let identity = JournalItem.identity(file.name)
            #if MUTANTS
                if Mutant.active == .orphanOnce { isFinal = true }
            #endif
            if isFinal {
                journal.repeated[identity] = nil
                effects.append(.removeJournalFile(file.name, version: file.version))
            } else {
                journal.repeated[identity]?.lastAppend = now
                if journal.repeated[identity]?.firstAppend == nil { journal.repeated[identity]?.firstAppend = now }
            }
        }
        appendFiles(now: now, effects: &effects)
    }

    /// A file that is in the log could not be deleted.
    package mutating func journalFileNotRemoved(_ name: String, version: UInt64, now: UInt64) {
        let next = now + limits.deletionNanoseconds
        journal.undeletable[name] = JournalPass.Undeletable(
            version: version, nextAttempt: next, pass: journal.undeletable[name]?.pass ?? journal.pass?.number ?? 0)
    }

    /// Files that are in the log and cannot be deleted.
    package var undeletableFiles: Int { journal.undeletable.count }

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
        journal.problem = nil
        if log.isSynced { journal.owed = 0 }
        if pass.sampledAt > lastBeat + TrustTiming.fenceNanoseconds { awakeSince = pass.sampledAt }
        lastBeat = max(lastBeat, pass.sampledAt)
        withLog(now: now, effects: &effects) { log, turn in
            log.heartbeat(sampledAt: pass.sampledAt, syncs: pass.syncs, &turn)
        }
        pushTracking(.beat(beat), effects: &effects)
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
        // One that was obeyed and cannot be deleted must not be obeyed for ever.
        let markers = items.filter {
            $0.kind == .marker
                && (breaks(.undeletableObeyed) || journal.undeletable[$0.name]?.version != $0.version)
        }
        guard !markers.isEmpty || journal.isMarked else { return true }
        // Only by ourselves: a log that another host made may be older than what is owed.
        let isReplaced = journal.replacing.map(log.logs.hasMade) ?? (configuration.mode == .embedded)
        if isReplaced {
            for marker in markers { effects.append(.removeJournalFile(marker.name, version: marker.version)) }
            journal.isMarked = false
            journal.replacing = nil
            return true
        }
        guard log.isSynced else { return false }
        var replacement: Incarnation?
        withLog(now: now, effects: &effects) { log, turn in replacement = log.replaceBecauseOfPending(&turn) }
        // What waited is owed now, and covered. What comes from now on is named again, so that this comes to an end.
        journal.replacing = replacement
        journal.owed = 0
        return false
    }
}
