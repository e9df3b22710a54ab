import IPCWire
import NIOCore

// Proving continuity: is this server's log the one that was applied so far, and is nothing missing?
extension InvalidationLog {
    mutating func commandsConnected(effects: inout [LogEffect]) {
        replacedHere = false
        isJustReplaced = false
        serverIdentity = nil
        inspect(effects: &effects)
    }

    mutating func commandsDisconnected(reason: String) {
        phase = .disconnected
        if state == .isolated { isolationReason = reason }
        pageReads.removeAll()
        probe = nil
        gapDeadline = nil
        forgetAhead()
        // Their outcome is unknown: they are sent again after the next proof, without their events, which are
        // delivered at most once.
        for id in appends.keys {
            guard let append = appends[id], append.isSent else { continue }
            appends[id]?.isSent = false
            appends[id]?.event = nil
        }
    }

    mutating func inspect(effects: inout [LogEffect]) {
        let id = makeID()
        phase = .inspecting(id)
        pageReads.removeAll()
        probe = nil
        gapDeadline = nil
        // Entries may still be published until the answer is here: it is compared with what was known now.
        inspected = Inspected(entry: lastEntry, greatest: max(applied, greatest))
        effects.append(.upstream(.inspect(id, lastApplied: lastEntry?.position ?? applied)))
    }

    /// Inspects again after a while: soon if the server refuses for now, seldom if it refuses who we are.
    mutating func retry(after failure: UpstreamFailure, now: UInt64, effects: inout [LogEffect]) {
        guard phase != .disconnected else { return }
        pageReads.removeAll()
        probe = nil
        gapDeadline = nil
        if state == .isolated { isolationReason = failure.message }
        switch failure {
        case .wrongRole(let why):
            phase = .disconnected
            effects.append(.upstream(.reconnect(reason: why)))
        case .denied(let why):
            phase = .retrying(at: now + limits.deniedNanoseconds)
            if lastDenial != why { effects.append(.denied(why)) }
            lastDenial = why
        case .refused, .damaged: phase = .retrying(at: now + limits.probeNanoseconds)
        }
    }

    /// What an answer of another kind than the question's means.
    private static func failure(_ reply: UpstreamReply) -> UpstreamFailure {
        if case .failed(let failure) = reply { failure } else { .refused("an unexpected answer of Redis") }
    }

    mutating func inspectionAnswered(
        _ id: UpstreamID, _ reply: UpstreamReply, now: UInt64, effects: inout [LogEffect]
    ) {
        guard phase == .inspecting(id) else { return }
        guard case .inspected(let found) = reply else {
            let failure = Self.failure(reply)
            if case .wrongRole(let why) = failure { isolate(why, now: now, effects: &effects) }
            retry(after: failure, now: now, effects: &effects)
            return
        }
        serverIdentity = found.identity
        serverVersion = found.serverVersion
        rawRecord = found.rawRecord
        saw(found.incarnation)
        for warning in found.warnings { effects.append(.warning(warning)) }
        guard found.isPrimary else {
            isolate("the server is a replica", now: now, effects: &effects)
            isolationReason = "the server is a replica"
            effects.append(.upstream(.reconnect(reason: "the server is a replica")))
            return
        }
        guard isSameServer(effects: &effects) else { return }
        switch verdict(on: found) {
        case .replace(let why, let reason):
            isolate(why, now: now, effects: &effects)
            if !isSuspect { raiseEpoch(reason, effects: &effects) }
            isSuspect = true
            isolationReason = why
            if isJustReplaced {
                // It did not help; at once it would not either.
                isJustReplaced = false
                phase = .retrying(at: now + limits.probeNanoseconds)
            } else {
                replace(found.rawRecord, effects: &effects)
            }
        case .adopt:
            isolate("Redis holds another log", now: now, effects: &effects)
            if !isSuspect { raiseEpoch(.incarnation, effects: &effects) }
            isJustReplaced = false
            adopt(found, effects: &effects)
            catchUp(to: found.position, now: now, effects: &effects)
        case .proceed(let isContinuous):
            isJustReplaced = false
            // What was published may have been a lie. An entry that came in between shows in the next probe.
            known = max(applied, found.position)
            if !isContinuous { missed(upTo: max(found.firstEntry ?? 0, applied + 1) - 1, effects: &effects) }
            catchUp(to: found.position, now: now, effects: &effects)
        }
    }

    private enum Verdict {
        /// It is the log that was applied so far; `isContinuous` says whether the last applied entry proves it.
        case proceed(isContinuous: Bool)
        /// It is a sound log, but another one: a host before us replaced it, or this process has just started.
        case adopt
        case replace(String, EpochReason)
    }

    /// Whether the server is another process than the one that the log was recorded in.
    private func isOther(_ found: Inspection) -> Bool {
        #if MUTANTS
            if Mutant.active == .identityIgnored { return false }
        #endif
        return found.identity == nil ? !replacedHere : found.identity != found.recordedIdentity
    }

    private func verdict(on found: Inspection) -> Verdict {
        guard let theirs = found.incarnation else { return .replace("there is no log in Redis", .incarnation) }
        if isOther(found) {
            return .replace("Redis is another process than the one that held the log", .incarnation)
        }
        if theirs == damaged { return .replace("the keys of the log in Redis hold something else", .discontinuous) }
        // Positions never go back, whoever made the log: a slot that is ahead of it would be a miss for ever.
        if found.position < inspected.greatest || (found.lastEntry ?? 0) > found.position {
            return .replace("the log in Redis went back", .discontinuous)
        }
        guard theirs == incarnation, isAdopted else { return .adopt }
        // Nothing of this log has been applied yet: a hole would show in catching up.
        guard let asked = inspected.entry else { return .proceed(isContinuous: true) }
        if let entry = found.entryAtLastApplied {
            #if MUTANTS
                if Mutant.active == .lastEntryIgnored { return .proceed(isContinuous: true) }
            #endif
            return entry == asked
                ? .proceed(isContinuous: true) : .replace("the log in Redis changed", .discontinuous)
        }
        return .proceed(isContinuous: false)
    }

    /// Makes the server's log ours: everything that it still retains is applied anew.
    private mutating func adopt(_ found: Inspection, effects: inout [LogEffect]) {
        if let theirs = found.incarnation, theirs != incarnation {
            if incarnation != .none, !hasMade(theirs) { effects.append(.adopted) }
            former = incarnation
            incarnation = theirs
        }
        // Whose log a message was from was asked of the log before.
        unknown = nil
        foreign.removeAll { $0 == incarnation }
        isAdopted = true
        lastPublished = 0
        applied = (found.firstEntry ?? found.position + 1) - 1
        horizon = applied
        known = found.position
        lastEntry = nil
        forgetAhead()
        uncovered.removeAll()
        publishPosition()
    }

    private mutating func replace(_ expected: ByteBuffer?, effects: inout [LogEffect]) {
        let id = makeID()
        phase = .replacing(id)
        let fresh = freshIncarnation()
        replacement = (fresh, false)
        let floor = max(applied, greatest)
        effects.append(.upstream(.replace(id, ReplaceCommand(expected: expected, fresh: fresh, floor: floor))))
    }

    /// Whether this is the log that this process asked for last, and the server has shown that it made it.
    func hasMade(_ incarnation: Incarnation) -> Bool {
        replacement.map { $0.incarnation == incarnation && $0.isMade } ?? false
    }

    /// The server named this log.
    private mutating func saw(_ incarnation: Incarnation?) {
        if replacement?.incarnation == incarnation { replacement?.isMade = true }
    }

    /// Replaces the log because more is owed than can be named.
    mutating func replaceOwed(now: UInt64, effects: inout [LogEffect]) {
        isolate("too much is owed to name it", now: now, effects: &effects)
        if !isSuspect { raiseEpoch(.incarnation, effects: &effects) }
        isSuspect = true
        replace(rawRecord, effects: &effects)
    }

    mutating func replacementAnswered(
        _ id: UpstreamID, _ reply: UpstreamReply, now: UInt64, effects: inout [LogEffect]
    ) {
        guard phase == .replacing(id) else { return }
        guard case .replaced(let incarnation, _) = reply else {
            retry(after: Self.failure(reply), now: now, effects: &effects)
            return
        }
        saw(incarnation)
        replacedHere = true
        isJustReplaced = true
        inspect(effects: &effects)
    }

    // MARK: Catching up

    private mutating func catchUp(to position: UInt64, now: UInt64, effects: inout [LogEffect]) {
        known = max(known, position)
        phase = .catchingUp(target: position)
        proceed(now: now, effects: &effects)
    }

    /// Reads the next page, or is done.
    private mutating func proceed(now: UInt64, effects: inout [LogEffect]) {
        guard case .catchingUp(let target) = phase else { return }
        drainAhead(effects: &effects)
        if applied < target {
            readPage(effects: &effects)
            readAhead(to: target, effects: &effects)
            return
        }
        phase = .proven
        lastDenial = nil
        generation += 1
        nextProbe = now
        sendWaiting(effects: &effects)
        #if MUTANTS
            if Mutant.active == .attachedAtProof, state == .isolated {
                state = .attached
                isSuspect = false
                table.setState(.attached)
                effects.append(.attached)
            }
        #endif
        effects.append(.proven)
        wake(now: now, effects: &effects)
    }

    /// Asks for the entries that follow what is applied, unless that is done already.
    mutating func readPage(effects: inout [LogEffect]) {
        if let next = pageReads.first {
            guard next.after > applied else { return }
            // The page before it had fewer entries than it might: this one would look like a hole.
            pageReads.removeAll()
        }
        read(after: applied, effects: &effects)
    }

    /// Asks for one page more, so that the server is busy with it while the one before it is applied.
    private mutating func readAhead(to target: UInt64, effects: inout [LogEffect]) {
        guard pageReads.count == 1, let next = pageReads.first else { return }
        let after = next.after + UInt64(limits.entriesPerPage)
        if after < target { read(after: after, effects: &effects) }
    }

    private mutating func read(after position: UInt64, effects: inout [LogEffect]) {
        let id = makeID()
        pageReads.append(PageRead(id: id, after: position, knownThen: known))
        effects.append(.upstream(.read(id, after: position, count: limits.entriesPerPage)))
    }

    mutating func pageAnswered(_ id: UpstreamID, _ reply: UpstreamReply, now: UInt64, effects: inout [LogEffect]) {
        guard let read = pageReads.first, read.id == id else { return }
        pageReads.removeFirst()
        guard case .entries(let theirs, let entries) = reply else {
            if case .failed(.damaged(let why)) = reply {
                damaged(why, now: now, effects: &effects)
            } else {
                retry(after: Self.failure(reply), now: now, effects: &effects)
            }
            return
        }
        guard theirs == incarnation else {
            isOfAnotherLog(theirs, now: now, effects: &effects)
            return
        }
        for entry in entries where entry.position > applied {
            if entry.position > applied + 1 {
                guard case .catchingUp = phase else {
                    suspect("entries are missing in Redis", .trimmed, now: now, effects: &effects)
                    return
                }
                missed(upTo: entry.position - 1, effects: &effects)
            }
            apply(entry, effects: &effects)
        }
        if case .catchingUp(let target) = phase {
            if entries.isEmpty && applied < target { missed(upTo: target, effects: &effects) }
            proceed(now: now, effects: &effects)
            return
        }
        #if MUTANTS
            if Mutant.active == .gapIgnored, entries.isEmpty { applied = max(applied, read.knownThen) }
        #endif
        guard !entries.isEmpty || applied >= read.knownThen else {
            suspect("entries are missing in Redis", .trimmed, now: now, effects: &effects)
            return
        }
        drainAhead(effects: &effects)
        cover()
        if applied < known { readPage(effects: &effects) }
    }

    /// Entries up to `position` are gone before they were applied: everything from before them is worthless.
    private mutating func missed(upTo position: UInt64, effects: inout [LogEffect]) {
        #if MUTANTS
            if Mutant.active == .trimIgnored {
                applied = max(applied, position)
                return
            }
        #endif
        if !isSuspect { raiseEpoch(.trimmed, effects: &effects) }
        if position > applied {
            applied = position
            lastEntry = nil
        }
        horizon = applied
        publishPosition()
    }
}
