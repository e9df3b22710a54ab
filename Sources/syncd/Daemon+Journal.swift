import IPC
import NIOCore
import SyncCore

// The journal directory and the tag table's file, as the daemon sees them. All on its event loop.
extension Daemon {
    /// Files that are looked at before the clock is.
    private static let filesPerPart = 256
    /// How long the journal is read before whoever waits has a turn.
    private static let partNanoseconds: UInt64 = 4_000_000
    /// Long enough for the event loop to look at its connections.
    private static let betweenParts = TimeAmount.microseconds(200)

    /// The brain wants to know what is in the journal.
    func scanJournal(_ sampledAt: UInt64) {
        writePending()
        do {
            let reading = try journal.read()
            // After the names are known: a syncd that takes the table over begins with a new one, and what is written
            // for it comes later than that.
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

    /// Hands files to the brain for a while, and goes on later if there are more.
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

    /// At the very end of a turn: what becomes due before the event loop has looked at its connections comes before
    /// them.
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

    /// What this turn has deferred goes into one file, before anybody is told so.
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

    /// It outlives this process; what the brain knows does not.
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

    /// Whether the path still names the table that this syncd writes, and the lock that keeps others from it. If not,
    /// the runtime directory was removed or replaced: another syncd may have begun there, whose workers know nothing of
    /// this one. From here on nobody hears of this one, either.
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
