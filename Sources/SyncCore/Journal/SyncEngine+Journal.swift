import IPCWire
import NIOCore

extension SyncEngine {
    /// A heartbeat is due: reads the journal first.
    ///
    /// - Parameter wallClock: ms since 1970.
    package mutating func heartbeatDue(wallClock: UInt64, _ turn: inout Turn<Effect>) {
        log.wallClock = WallClock(boot: turn.now, milliseconds: wallClock)
        // The first heartbeat after a stop shows nothing: the one that it begins is not through.
        if report.heartbeat(now: turn.now, wallClock: wallClock) { noteState(turn.now) }
        scanJournal(&turn)
    }

    mutating func scanJournal(_ turn: inout Turn<Effect>) {
        // Another syncd writes its heartbeats into the table at the path: this one must not write any.
        if journal.isTableLost { return }
        guard journal.pass == nil else {
            // Clients that wait for a sign of life must not take a long pass for a dead syncd.
            if log.state == .isolated { pushTracking(.heartbeat(heartbeat), &turn) }
            return
        }
        let pass = JournalPass.Pass(sampledAt: turn.now, syncs: log.syncs)
        table.setScanStarted(turn.now)
        // The files stay, because no cache is trusted now. They may be very many, so they are not even read.
        if isJournalIdle || isReadingLeftOut(turn.now) { return finishPass(pass, &turn) }
        journal.begin(pass)
        turn.add(.scanJournal(sampledAt: turn.now))
    }

    /// True while the host is isolated and the log cannot be appended to.
    private var isJournalIdle: Bool { log.state == .isolated && !log.isSynced }

    /// Two of three heartbeats, if the rule is broken.
    private func isReadingLeftOut(_ now: BootTime) -> Bool {
        breaks(.heartbeatWithoutJournal) && log.state == .attached
            && now.number / TrustTiming.heartbeatIntervalNanoseconds % 3 > 0
    }

    /// The journal directory could not be read: invalidations may be pending there, so there is no heartbeat.
    package mutating func journalUnreadable(_ problem: String = "the journal cannot be read") {
        journal.problem = problem
        journal.abort()
    }

    /// The path of the table names another file, or none. Workers may trust heartbeats in this table although another
    /// syncd serves them. So there is no further heartbeat, and no reading of a journal that another syncd uses now.
    package mutating func tableLost() {
        journal.isTableLost = true
        journalUnreadable("the tag table is not this syncd's any more")
        table.setState(.isolated)
    }

    /// A pending invalidation could not be written to a file: the whole log must be replaced instead.
    package mutating func owedNotWritten() { journal.mark() }

    /// Sets the directory that is being read. Workers compare it with the one that they write to.
    package func journalDirectory(is directory: FileIdentity) {
        if table.journalDirectory != directory { table.setJournalDirectory(directory) }
    }

    /// Whether the pass that began at this time still waits for files.
    package func isReadingJournal(_ sampledAt: BootTime) -> Bool {
        journal.pass.map { $0.sampledAt == sampledAt && !$0.isRead } ?? false
    }

    /// Whether the content of a file is needed. A known file that is not due is not read ten times a second.
    package func wantsJournalFile(_ name: String, isLiving: Bool, version: UInt64, now: BootTime) -> Bool {
        if journal.undeletable[name]?.version == version, !breaks(.undeletableForgotten) { return false }
        if let known = journal.repeated[JournalItem.identity(name)], known.isLiving == isLiving {
            return known.isDue(now, limits)
        }
        return !isLiving || now >= journal.lastReading + limits.hungNanoseconds
    }

    /// Processes the files that the journal directory held at `sampledAt` or later. They arrive in parts; with the last
    /// part the pass can end.
    package mutating func journalScanned(
        _ items: [JournalItem], sampledAt: BootTime, isLast: Bool = true, _ turn: inout Turn<Effect>
    ) {
        guard let pass = journal.pass, pass.sampledAt == sampledAt, !pass.isRead else { return }
        if isJournalIdle { return finishPass(pass, &turn) }
        // A marker is in the first part.
        if !pass.isBegun, !replaceIfMarked(items, &turn) {
            journal.abort()
            return
        }
        journal.beginFiles()
        for item in items where !isKept(item, pass: pass.number, &turn) {
            take(item, pass: pass.number, &turn)
        }
        if isLast { journal.endFiles() }
        appendFiles(&turn)
    }

    /// Whether the file is in the log and exists only because it cannot be deleted. In that case a deletion is tried
    /// from time to time.
    private mutating func isKept(_ item: JournalItem, pass: UInt64, _ turn: inout Turn<Effect>) -> Bool {
        guard var kept = journal.undeletable[item.name] else { return false }
        guard kept.version == item.version, !breaks(.undeletableForgotten) else {
            journal.undeletable[item.name] = nil
            return false
        }
        kept.pass = pass
        if turn.now >= kept.nextAttempt {
            kept.nextAttempt = turn.now + limits.deletionNanoseconds
            turn.add(.removeJournalFile(item.name, version: item.version))
        }
        journal.undeletable[item.name] = kept
        return true
    }

    private mutating func take(_ item: JournalItem, pass: UInt64, _ turn: inout Turn<Effect>) {
        switch item.kind {
        case .pending:
            if breaks(.owedDeletedFirst) { turn.add(.removeJournalFile(item.name, version: item.version)) }
            add(item, isFinal: true)
        case .orphan, .living:
            let isLiving = item.kind == .living
            let file = JournalItem.identity(item.name)
            var known =
                journal.repeated[file]
                ?? JournalPass.Repeated(isLiving: isLiving, notBefore: journal.lastReading, pass: pass)
            // The owner has died since. A write that it had sent may land long after now.
            if known.isLiving != isLiving {
                known = JournalPass.Repeated(isLiving: isLiving, notBefore: journal.lastReading, pass: pass)
            }
            known.pass = pass
            journal.repeated[file] = known
            // A living owner that has not finished writing the file has not started its database write.
            guard item.isRead, known.isDue(turn.now, limits), !isLiving || !item.tags.isEmpty else { return }
            add(item, isFinal: known.isLast(turn.now, limits))
        case .incomplete: turn.add(.removeJournalFile(item.name, version: item.version))
        case .marker: break
        }
    }

    private mutating func add(_ item: JournalItem, isFinal: Bool) {
        // No host could read an entry with a longer tag, and no client its push.
        let longest = max(limits.wire.tagBytes, limits.wire.keyBytes + 1)
        let isAppendable = !item.tags.isEmpty && item.tags.allSatisfy { $0.readableBytes <= longest }
        let file = JournalPass.Settling(name: item.name, version: item.version, isFinal: isFinal)
        journal.add(isAppendable ? item.tags : [ByteBuffer(string: "*")], of: file, limits: limits)
    }

    /// Starts as many appends as may be under way at once, so that the server gets no more than it can accept in time,
    /// however many files are pending. A refused append aborts the pass and isolates the host: the remaining ones would
    /// be refused too.
    private mutating func appendFiles(_ turn: inout Turn<Effect>) {
        guard !journal.isAppending else { return }
        journal.isAppending = true
        // At most half of the queue. An append that finds no place in the queue would end the pass.
        while let group = journal.next(limit: min(limits.journalAppends, max(1, limits.pendingAppends / 2))) {
            withLog(&turn) { log, turn in
                log.append(tags: group.tags, event: nil, for: .journal(group: group.number), &turn)
            }
        }
        journal.isAppending = false
        if let pass = journal.pass, pass.isDone { finishPass(pass, &turn) }
    }

    mutating func journalCommitted(_ group: UInt64, _ turn: inout Turn<Effect>) {
        // The group of a pass that was aborted: the next pass appends its files again.
        guard let files = journal.committed(group) else { return }
        for file in files {
            let identity = JournalItem.identity(file.name)
            if file.isFinal || breaks(.orphanOnce) {
                journal.repeated[identity] = nil
                turn.add(.removeJournalFile(file.name, version: file.version))
            } else {
                journal.repeated[identity]?.lastAppend = turn.now
                if journal.repeated[identity]?.firstAppend == nil { journal.repeated[identity]?.firstAppend = turn.now }
            }
        }
        appendFiles(&turn)
    }

    /// A file whose tags are in the log could not be deleted.
    package mutating func journalFileNotRemoved(_ name: String, version: UInt64, now: BootTime) {
        let next = now + limits.deletionNanoseconds
        journal.undeletable[name] = JournalPass.Undeletable(
            version: version, nextAttempt: next, pass: journal.undeletable[name]?.pass ?? journal.pass?.number ?? 0)
    }

    /// Number of files whose tags are in the log and that cannot be deleted.
    package var undeletableFiles: Int { journal.undeletable.count }

    private mutating func finishPass(_ pass: JournalPass.Pass, _ turn: inout Turn<Effect>) {
        journal.abort()
        if pass.isOutdated && !breaks(.heartbeatAfterOutdatedPass) {
            // A client that was told DEFERRED relies on every cache being distrusted until this invalidation, too, is
            // in the table.
            scanJournal(&turn)
            return
        }
        journal.problem = nil
        if log.isSynced {
            journal.pending = 0
            report.nothingIsPending(now: turn.now)
        }
        let sampledAt = breaks(.heartbeatStampedLate) ? turn.now : pass.sampledAt
        if sampledAt > lastHeartbeat + TrustTiming.fenceNanoseconds { awakeSince = log.vouching(sampledAt) }
        lastHeartbeat = max(lastHeartbeat, sampledAt)
        withLog(&turn) { log, turn in
            log.heartbeat(sampledAt: sampledAt, syncs: pass.syncs, &turn)
        }
        // Their own caches are fresh for as long as these heartbeats say so.
        if !trackers.isEmpty { cachesAreUsed(&turn) }
        pushTracking(.heartbeat(heartbeat), &turn)
    }

    /// Stores an invalidation that the log has not accepted.
    mutating func makePending(_ tags: [ByteBuffer], _ turn: inout Turn<Effect>) {
        journal.pending += 1
        report.becamePending(UInt64(journal.pending), now: turn.now)
        journal.becomeOutdated()
        if journal.pending > limits.pending {
            journal.mark()
            turn.add(.writeMarker)
        } else {
            turn.add(.writePending(tags))
        }
    }

    /// If too many invalidations are pending to name them, the log is replaced, which makes every cached value of every
    /// host stale. Returns whether the pass may continue.
    private mutating func replaceIfMarked(
        _ items: [JournalItem], _ turn: inout Turn<Effect>
    ) -> Bool {
        // A marker that was obeyed and cannot be deleted must not be obeyed again.
        let markers = items.filter {
            $0.kind == .marker
                && (breaks(.undeletableObeyed) || journal.undeletable[$0.name]?.version != $0.version)
        }
        guard !markers.isEmpty || journal.isMarked else { return true }
        // Only replacements by this syncd count: a log that another host made may be older than the pending
        // invalidations.
        let isReplaced = journal.replacing.map(log.logs.hasMade) ?? (configuration.mode == .embedded)
        if isReplaced {
            for marker in markers { turn.add(.removeJournalFile(marker.name, version: marker.version)) }
            journal.isMarked = false
            journal.replacing = nil
            return true
        }
        guard log.isSynced else { return false }
        var replacement: Incarnation?
        withLog(&turn) { log, turn in replacement = log.replaceBecauseOfPending(&turn) }
        // Invalidations that waited are pending now, and covered by the replacement. Later ones get files again, so
        // that this ends.
        journal.replacing = replacement
        journal.pending = 0
        return false
    }
}
