import IPCWire
import NIOCore

/// A reading of the journal that is not at its end.
struct JournalPart {
    /// When the pass began that it is for.
    var sampledAt: BootTime
    var reading: any EngineJournalReading
    /// Files that were read, and of which the engine does not know yet.
    var items: [JournalItem]?
}

// The journal directory: there may be very many files, and clients have to be answered in between.
extension EngineLoop {
    /// Number of files between two looks at the clock.
    private static let filesPerPart = 256
    /// How long the journal is read before clients that wait have a turn.
    private static let partNanoseconds: UInt64 = 4_000_000
    /// Pause between parts, long enough for the event loop to serve its connections.
    private static let betweenPartsNanoseconds: UInt64 = 200_000

    /// The engine requests a reading of the journal.
    func scanJournal(_ sampledAt: BootTime) {
        writePending()
        do {
            let reading = try host.journalDirectory.beginReading()
            // Checked after the names are known: a syncd that takes over begins with a new table, and files for it are
            // written later than that.
            guard keepsTable() else { return }
            engine.journalDirectory(is: host.journalDirectory.identity)
            self.reading = JournalPart(sampledAt: sampledAt, reading: reading)
            beginPart()
        } catch {
            journalUnreadable(error)
        }
    }

    /// Goes on reading, for a while.
    func beginPart() {
        guard reading != nil else { return }
        partBegan = host.now
        isPartDue = true
    }

    /// Runs at the very end of a turn: work that becomes due before the event loop has served its connections would
    /// otherwise come before them.
    func scheduleJournalPart() {
        guard !isPartScheduled else { return }
        isPartScheduled = true
        host.schedule(.journalPart, at: host.now + Self.betweenPartsNanoseconds)
    }

    /// Reads some files, or hands them to the engine.
    func journalStep() {
        guard var part = reading else {
            isPartDue = false
            return
        }
        reading = nil
        let now = host.now
        if let items = part.items {
            part.items = nil
            host.willTake(items)
            turn.now = now
            engine.journalScanned(items, sampledAt: part.sampledAt, isLast: part.reading.isAtEnd, &turn)
            if part.reading.isAtEnd { return readingEnded() }
            isPartDue = now < partBegan + Self.partNanoseconds
        } else {
            guard engine.isReadingJournal(part.sampledAt) else {
                isPartDue = false
                return
            }
            do {
                part.items = try part.reading.next(Self.filesPerPart) { name, isLiving, version in
                    engine.wantsJournalFile(name, isLiving: isLiving, version: version, now: now)
                }
            } catch {
                return journalUnreadable(error)
            }
        }
        reading = part
    }

    private func readingEnded() {
        isPartDue = false
        host.log(.journal(.reading, nil, isSame: false))
        if engine.undeletableFiles == 0 { host.log(.journal(.deleting, nil, isSame: false)) }
    }

    private func journalUnreadable(_ error: any Error) {
        reading = nil
        isPartDue = false
        host.log(.journal(.reading, "\(error)", isSame: false))
        engine.journalUnreadable("the journal \(engine.configuration.journalPath) cannot be read: \(error)")
    }

    func removeJournalFile(_ name: String, version: UInt64) {
        do {
            try host.journalDirectory.remove(name)
        } catch {
            engine.journalFileNotRemoved(name, version: version, now: host.now)
            host.log(.journal(.deleting, "\(name): \(error)", isSame: true))
        }
    }

    /// Writes all invalidations that this turn has deferred into one file, before any client is told.
    func writePending() {
        guard !pending.isEmpty else { return }
        let invalidations = pending
        pending = []
        do {
            if try host.journalDirectory.writePending(invalidations, limit: limits.pendingBytes) {
                return host.log(.journal(.writing, nil, isSame: false))
            }
            let problem = "more is pending than pending-bytes allows: the log will be replaced"
            host.log(.journal(.writing, problem, isSame: false))
        } catch {
            host.log(.journal(.writing, "\(error)", isSame: false))
        }
        engine.owedNotWritten()
        writeMarker()
    }

    /// The marker outlives this process; the engine's state does not.
    func writeMarker() {
        do {
            try host.journalDirectory.writeMarker()
        } catch {
            host.log(.journal(.writing, "the marker: \(error)", isSame: false))
            host.log(.pendingInMemory)
            engine.owedNotWritten()
        }
    }

    func cleanJournal() {
        do {
            try host.journalDirectory.removeLeftovers()
            host.log(.journal(.cleaning, nil, isSame: false))
        } catch {
            host.log(.journal(.cleaning, "\(error)", isSame: false))
        }
    }
}
