import IPC
import NIOCore
import SyncCore

// The daemon's access to the journal directory and the tag table's file. All on its event loop.
extension Daemon {
    /// Number of files between two looks at the clock.
    private static let filesPerPart = 256
    /// Time for which the journal is read before other work has a turn.
    private static let partNanoseconds: UInt64 = 4_000_000
    /// Pause between parts, long enough for the event loop to serve its connections.
    private static let betweenParts = TimeAmount.microseconds(200)

    /// The engine requests a reading of the journal.
    func scanJournal(_ sampledAt: UInt64) {
        writePending()
        do {
            let reading = try journal.read()
            // Checked after the names are known: a syncd that takes over begins with a new table, and files for it are
            // written later than that.
            guard keepsTable() else { return }
            brain.journalDirectory(is: journal.identity)
            self.reading = (sampledAt, reading)
            readJournal()
        } catch {
            journalUnreadable(error)
        }
    }

    private func journalUnreadable(_ error: SystemError) {
        reading = nil
        problems.report(.reading, "\(error)")
        brain.journalUnreadable("the journal \(journal.path) cannot be read: \(error)")
    }

    /// Passes files to the engine for a while, and continues later if there are more.
    private func readJournal() {
        guard case (let sampledAt, var reading)? = reading else { return }
        self.reading = nil
        let began = clock()
        do {
            repeat {
                guard brain.isReadingJournal(sampledAt) else { return }
                let now = clock()
                let files = try reading.next(Self.filesPerPart) { name, isLiving, version in
                    brain.wantsJournalFile(name, isLiving: isLiving, version: version, now: now)
                }
                brain.journalScanned(
                    files.compactMap(\.item), sampledAt: sampledAt, isLast: reading.isAtEnd, now: now,
                    effects: &queue)
            } while !reading.isAtEnd && clock() < began + Self.partNanoseconds
        } catch {
            return journalUnreadable(error)
        }
        if reading.isAtEnd {
            problems.report(.reading, nil)
            if brain.undeletableFiles == 0 { problems.report(.deleting, nil) }
            return
        }
        self.reading = (sampledAt, reading)
    }

    /// Runs at the very end of a turn: work that becomes due before the event loop has served its connections would
    /// otherwise come before them.
    func continueReading() {
        guard reading != nil, !isReadingScheduled else { return }
        isReadingScheduled = true
        eventLoop.scheduleTask(in: Self.betweenParts) { [bound = NIOLoopBound(self, eventLoop: eventLoop)] in
            let daemon = bound.value
            daemon.isReadingScheduled = false
            daemon.readJournal()
            daemon.performQueue()
            daemon.turnEnded()
        }
    }

    func removeJournalFile(_ name: String, version: UInt64) {
        do {
            try journal.remove(name)
        } catch {
            brain.journalFileNotRemoved(name, version: version, now: clock())
            problems.report(.deleting, "\(name): \(error)", isSame: true)
        }
    }

    /// Writes all invalidations that this turn has deferred into one file, before any client is told.
    func writePending() {
        guard !pending.isEmpty else { return }
        let invalidations = pending
        pending = []
        do {
            if try journal.writeOwed(invalidations, limit: configuration.limits.pendingBytes) {
                return problems.report(.writing, nil)
            }
            problems.report(.writing, "more is pending than pending-bytes allows: the log will be replaced")
        } catch {
            problems.report(.writing, "\(error)")
        }
        brain.owedNotWritten()
        writeMarker()
    }

    /// The marker outlives this process; the engine's state does not.
    func writeMarker() {
        do {
            try journal.writeMarker()
        } catch {
            problems.report(.writing, "the marker: \(error)")
            brain.owedNotWritten()
        }
    }

    func removeLeftovers() {
        do {
            try journal.removeLeftovers()
            problems.report(.cleaning, nil)
        } catch {
            problems.report(.cleaning, "\(error)")
        }
    }

    /// Whether the path still names the table that this syncd writes, and the lock that excludes others. If not, the
    /// runtime directory was removed or replaced: another syncd may have begun there, whose workers know nothing of
    /// this one. From here on this syncd answers nobody.
    func keepsTable() -> Bool {
        if isTableLost { return false }
        if ownsTable() { return true }
        isTableLost = true
        brain.tableLost()
        logger.critical(
            "the runtime directory was removed or replaced while syncd ran: it ends",
            metadata: ["table": "\(configuration.paths.table)"])
        onTableLost()
        return false
    }
}
