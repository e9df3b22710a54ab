import IPCWire
import NIOCore

// Entries and probes as they come in, and what is due when they don't.
extension InvalidationLog {
    // MARK: Entries

    /// An entry that follows what is applied: slots first, then `applied`, so that nobody reads a position whose
    /// invalidation is not in the table.
    mutating func apply(_ entry: LogEntry, effects: inout [LogEffect]) {
        raise(entry.body.tags, to: entry.position)
        applied = entry.position
        known = max(known, applied)
        if mode == .redis { lastEntry = entry }
        table.setApplied(applied)
        effects.append(.applied(entry))
    }

    /// An entry of this log, from a publication or from an append's answer.
    mutating func arrived(_ entry: LogEntry, now: UInt64, effects: inout [LogEffect]) {
        guard entry.position > applied else { return }
        known = max(known, entry.position)
        #if MUTANTS
            if Mutant.active == .entriesOutOfOrder { return apply(entry, effects: &effects) }
        #endif
        if entry.position == applied + 1 {
            apply(entry, effects: &effects)
            drainAhead(effects: &effects)
            cover()
            return
        }
        keepAhead(entry)
        // An append's answer may overtake the publications before it; a publication overtakes nothing.
        if gapDeadline == nil { gapDeadline = now + limits.arrivalNanoseconds }
    }

    /// Keeps an entry whose predecessors have not arrived; without room, it is read from the stream.
    private mutating func keepAhead(_ entry: LogEntry) {
        let bytes = entry.body.memoryBytes
        guard ahead[entry.position] == nil, ahead.count < limits.entriesAhead,
            aheadBytes + bytes <= limits.entriesAheadBytes
        else { return }
        ahead[entry.position] = entry.body
        aheadBytes += bytes
    }

    mutating func forgetAhead() {
        ahead.removeAll()
        aheadBytes = 0
    }

    mutating func drainAhead(effects: inout [LogEffect]) {
        guard !ahead.isEmpty else { return }
        while let body = ahead.removeValue(forKey: applied + 1) {
            aheadBytes -= body.memoryBytes
            apply(LogEntry(position: applied + 1, body: body), effects: &effects)
        }
        // What was read from the stream meanwhile need not be kept.
        if applied >= known { forgetAhead() }
    }

    mutating func published(
        _ theirs: Incarnation, _ entry: LogEntry, now: UInt64, effects: inout [LogEffect]
    ) {
        guard theirs == incarnation else { return publishedElsewhere(theirs, now: now, effects: &effects) }
        guard isAdopted else { return }
        guard entry.position > lastPublished else {
            switch phase {
            case .proven, .disconnected, .catchingUp:
                suspect("the log in Redis went back", .discontinuous, now: now, effects: &effects)
            case .inspecting, .replacing, .retrying: break
            }
            return
        }
        lastPublished = entry.position
        if let lastEntry, lastEntry.position == entry.position, lastEntry != entry {
            suspect("the log in Redis changed", .discontinuous, now: now, effects: &effects)
            return
        }
        let isGap = entry.position > applied + 1
        arrived(entry, now: now, effects: &effects)
        if isGap, phase == .proven { readPage(effects: &effects) }
    }

    /// An entry of another log: ours was replaced, or another deployment uses the same channel, as one of an older
    /// version does with another database of the server. A probe at once tells.
    private mutating func publishedElsewhere(
        _ theirs: Incarnation, now: UInt64, effects: inout [LogEffect]
    ) {
        // A log that was replaced may still have messages on their way.
        guard isAdopted, theirs != former, !foreign.contains(theirs), phase == .proven else { return }
        unknown = theirs
        nextProbe = now
        wake(now: now, effects: &effects)
    }

    /// Our log was still there after an entry of this one had come. An incarnation that was replaced never comes back,
    /// so the other one was not in its place.
    private mutating func isForeign(_ theirs: Incarnation, now: UInt64, effects: inout [LogEffect]) {
        if unknown == theirs { unknown = nil }
        guard !foreign.contains(theirs) else { return }
        foreign.append(theirs)
        if foreign.count > Self.foreignLogs { foreign.removeFirst() }
        guard now >= nextForeignWarning else { return }
        nextForeignWarning = now + Self.betweenForeignWarnings
        effects.append(.foreignLog(theirs))
    }

    /// Logs of other deployments that are known at once; of more, each entry asks for a probe.
    private static let foreignLogs = 8
    private static let betweenForeignWarnings: UInt64 = 60_000_000_000

    /// Somebody replaced the log, or wrote nonsense on its channel.
    mutating func publishedUnreadable(effects: inout [LogEffect]) {
        if phase == .proven { inspect(effects: &effects) }
    }

    mutating func subscriptionConnected(
        _ identity: ServerIdentity?, now: UInt64, effects: inout [LogEffect]
    ) {
        lastPublished = 0
        forgetAhead()
        subscriptionIdentity = identity
        guard phase != .disconnected, isSameServer(effects: &effects) else { return }
        // What was published while nobody listened shows in the next probe.
        nextProbe = now
        wake(now: now, effects: &effects)
    }

    /// Whether both connections lead to the same process, as far as it shows; if not, both are made anew.
    mutating func isSameServer(effects: inout [LogEffect]) -> Bool {
        guard let subscriptionIdentity, let serverIdentity, subscriptionIdentity != serverIdentity else { return true }
        phase = .disconnected
        effects.append(.upstream(.reconnect(reason: "both connections must lead to the same server")))
        return false
    }

    // MARK: Probes

    mutating func probeAnswered(_ id: UpstreamID, _ reply: UpstreamReply, now: UInt64, effects: inout [LogEffect]) {
        guard let probe, probe.id == id else { return }
        self.probe = nil
        switch reply {
        case .probed(let theirs, let position):
            guard theirs == incarnation else {
                isOfAnotherLog(theirs, now: now, effects: &effects)
                return
            }
            guard position >= probe.appliedThen else {
                suspect("the log in Redis went back", .discontinuous, now: now, effects: &effects)
                return
            }
            if let unknown = probe.unknown { isForeign(unknown, now: now, effects: &effects) }
            known = max(known, position)
            // Nobody would believe it any more.
            while let first = uncovered.first, now > first.sentAt + TrustTiming.upstreamTrustNanoseconds {
                uncovered.removeFirst()
            }
            uncovered.append((position, probe.sentAt))
            #if MUTANTS
                if Mutant.active == .probeNotCovered { freshAsOf = max(freshAsOf, probe.sentAt) }
            #endif
            cover()
            if applied < known, gapDeadline == nil { gapDeadline = now + limits.arrivalNanoseconds }
        case .failed(.damaged(let why)): damaged(why, now: now, effects: &effects)
        case .failed(.wrongRole(let why)):
            isolate(why, now: now, effects: &effects)
            effects.append(.upstream(.reconnect(reason: why)))
        default:
            break  // Trust ends by itself when no probe is covered for 2 s.
        }
    }

    /// An answer is about another log than ours.
    mutating func isOfAnotherLog(_ theirs: Incarnation?, now: UInt64, effects: inout [LogEffect]) {
        let why = theirs == nil ? "the log vanished from Redis" : "Redis holds another log"
        suspect(why, .incarnation, now: now, effects: &effects)
    }

    /// What probes showed counts as soon as everything up to their position is applied.
    mutating func cover() {
        while let first = uncovered.first, first.position <= applied {
            freshAsOf = max(freshAsOf, first.sentAt)
            uncovered.removeFirst()
        }
        table.setFreshAsOf(freshAsOf)
        if applied >= known { gapDeadline = nil }
    }

    // MARK: Time

    /// When ``wake(now:effects:)`` has something to do next.
    mutating func nextDeadline() -> UInt64? {
        guard mode == .redis else { return nil }
        // Most are answered in order and long before: they must not wake anybody up.
        while let first = appendDeadlines.first, appends[first.id] == nil { appendDeadlines.removeFirst() }
        var next = appendDeadlines.first?.time
        if case .retrying(let time) = phase { next = earlier(next, time) }
        if phase == .proven, probe == nil { next = earlier(next, nextProbe) }
        if state == .attached { next = earlier(next, freshAsOf + TrustTiming.upstreamTrustNanoseconds + 1) }
        if phase == .proven, pageReads.isEmpty { next = earlier(next, gapDeadline) }
        return next
    }

    /// Does everything that is due.
    mutating func wake(now: UInt64, effects: inout [LogEffect]) {
        guard mode == .redis else { return }
        var isLate = false
        while let first = appendDeadlines.first, first.time <= now {
            appendDeadlines.removeFirst()
            if appends[first.id] != nil { isLate = true }
        }
        if isLate {
            isolate("Redis has not taken an invalidation within 250 ms", now: now, effects: &effects)
            // Nothing more is asked of it until it answers: what is owed would only be sent again and again.
            if phase == .proven { inspect(effects: &effects) }
        }
        if state == .attached, now > freshAsOf + TrustTiming.upstreamTrustNanoseconds {
            isolate("Redis has not answered a probe for 2 s", now: now, effects: &effects)
        }
        if case .retrying(let time) = phase, time <= now { inspect(effects: &effects) }
        guard phase == .proven else { return }
        if let deadline = gapDeadline, deadline <= now {
            gapDeadline = nil
            if applied < known { readPage(effects: &effects) }
        }
        if probe == nil, nextProbe <= now {
            let id = makeID()
            probe = Probe(id: id, sentAt: now, appliedThen: applied, unknown: unknown)
            nextProbe = now + limits.probeNanoseconds
            effects.append(.upstream(.probe(id)))
        }
    }
}
