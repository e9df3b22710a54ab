import IPCWire
import NIOCore

// Arrivals of entries and probes, and the deadlines for missing ones.
extension InvalidationLog {
    /// Passes a reply to the part that sent the command. A reply without a waiting command is dropped.
    mutating func replied(_ id: UpstreamID, _ reply: UpstreamReply, _ turn: inout Turn<LogEffect>) {
        if let append = appends.take(id) { return appendAnswered(append, reply, &turn) }
        switch session.question(id) {
        case .inspection(let inspection): inspectionAnswered(inspection, reply, &turn)
        case .replacement: replacementAnswered(reply, &turn)
        case .page: pageAnswered(id, reply, &turn)
        case .probe: probeAnswered(reply, &turn)
        case nil: break
        }
    }

    // MARK: Entries

    mutating func apply(_ entry: LogEntry, _ turn: inout Turn<LogEffect>) {
        tail.apply(entry)
        turn.add(.applied(entry))
    }

    /// Applies entries of the reorder buffer that follow now.
    mutating func applyKept(_ turn: inout Turn<LogEffect>) {
        while let entry = tail.takeNext() { apply(entry, &turn) }
    }

    /// An entry of this log, from a publication or from an append's reply.
    mutating func arrived(_ entry: LogEntry, _ turn: inout Turn<LogEffect>) {
        guard entry.position > tail.applied else { return }
        tail.saw(entry.position)
        if entry.position == tail.applied + 1 || breaks(.entriesOutOfOrder) {
            apply(entry, &turn)
            applyKept(&turn)
            confirm()
        } else {
            tail.keep(entry, limits: limits)
            expectArrival(turn.now)
        }
    }

    /// A position is known to exist: if its entry does not arrive by itself, it is read from the stream.
    mutating func expectArrival(_ now: BootTime) {
        session.whileFollowing { $0.expectArrival(by: now + limits.arrivalNanoseconds) }
    }

    mutating func published(_ theirs: Incarnation, _ entry: LogEntry, _ turn: inout Turn<LogEffect>) {
        guard theirs == incarnation else {
            if isSynced, logs.entryCame(of: theirs) { probeNow(&turn) }
            return
        }
        guard logs.isOurs else { return }
        guard entry.position > subscription.lastPosition else {
            if !session.isInspectionDue { requireResync(.logWentBack, .discontinuous, &turn) }
            return
        }
        subscription.lastPosition = entry.position
        if let last = tail.lastEntry, last.position == entry.position, last != entry {
            return requireResync(.logChanged, .discontinuous, &turn)
        }
        let isGap = entry.position > tail.applied + 1
        arrived(entry, &turn)
        if isGap, isSynced { readPage(&turn) }
    }

    /// The log was replaced, or another program wrote garbage on its channel.
    mutating func publishedUnreadable(_ turn: inout Turn<LogEffect>) { if isSynced { inspect(&turn) } }

    mutating func subscriptionConnected(_ identity: ServerIdentity?, _ turn: inout Turn<LogEffect>) {
        subscription = Subscription(identity: identity)
        tail.forgetKept()
        guard let server = session.server, isSameServer(server.identity, &turn) else { return }
        // The next probe shows entries that were published without a subscriber.
        probeNow(&turn)
    }

    mutating func subscriptionDisconnected() { subscription.identity = nil }

    // MARK: Probes

    /// A probe is sent at once. It ends idleness.
    mutating func probeNow(_ turn: inout Turn<LogEffect>) {
        endIdleness(turn.now)
        session.whileFollowing { $0.nextProbe = turn.now }
        wake(&turn)
    }

    /// From here on, answers of the server are expected again.
    mutating func endIdleness(_ now: BootTime) {
        guard session.isIdle else { return }
        inUseSince = now
        session.whileFollowing { state in
            state.isIdle = false
            state.nextProbe = now
        }
    }

    mutating func probeAnswered(_ reply: UpstreamReply, _ turn: inout Turn<LogEffect>) {
        guard case let probe?? = session.whileFollowing({ $0.takeProbe() }) else { return }
        switch reply {
        case .probed(incarnation, let position, _) where position < probe.applied:
            requireResync(.logWentBack, .discontinuous, &turn)
        case .probed(incarnation, let position, _):
            if let unknown = probe.unknown, logs.currentIsThere(after: unknown, now: turn.now) {
                turn.add(.foreignLog(unknown))
            }
            tail.saw(position)
            session.whileFollowing { $0.showed(position, sentAt: probe.sentAt, now: turn.now) }
            if breaks(.probeNotCovered) { attachment.confirm(vouching(probe.sentAt)) }
            confirm()
            if tail.hasGap { expectArrival(turn.now) }
        case .probed(let theirs, _, _): isOfAnotherLog(theirs, &turn)
        case .failed(.damaged(let why)): damaged(why, &turn)
        case .failed(.wrongRole(let why)):
            isolate(.failed(.wrongRole(why)), &turn)
            ask(.reconnect(reason: why), &turn)
        case .failed(let failure) where session.isIdle:
            // Nothing would be noticed until the next probe, after the long interval.
            isolate(.failed(failure), &turn)
            retry(after: failure, &turn)
        default:
            break  // Trust ends by itself when no probe is confirmed for 2 s.
        }
    }

    /// A reply is about another log than ours.
    mutating func isOfAnotherLog(_ theirs: Incarnation?, _ turn: inout Turn<LogEffect>) {
        requireResync(theirs == nil ? .logVanished : .otherLog, .incarnation, &turn)
    }

    /// A probe is confirmed as soon as everything up to its position is applied.
    mutating func confirm() {
        let (applied, isComplete) = (tail.applied, !tail.hasGap)
        let sentAt = session.whileFollowing { state in
            if isComplete { state.gapDeadline = nil }
            return state.confirm(applied)
        }
        if let sentAt = sentAt ?? nil { attachment.confirm(vouching(sentAt)) }
    }

    /// The log had this position at `sentAt` or later: an append shows what a probe does, if nothing is missing up to it.
    mutating func proved(_ position: LogPosition, sentAt: BootTime, _ turn: inout Turn<LogEffect>) {
        guard tail.applied >= position || breaks(.appendNotCovered) else { return }
        attachment.confirm(vouching(sentAt))
        let interval = limits.probeNanoseconds
        session.whileFollowing { $0.proved(sentAt: sentAt, now: turn.now, interval: interval) }
    }

    /// Workers trust an answer for 2 s after this time: a shorter time is kept by an earlier one.
    func vouching(_ sentAt: BootTime) -> BootTime {
        let less = mode == .redis ? TrustTiming.upstreamTrustNanoseconds - limits.upstreamTrustNanoseconds : 0
        return sentAt.saturatingSubtract(less)
    }

    private var trustEnds: BootTime? {
        guard session.isIdle else { return attachment.trustEnds(expectedSince: vouching(inUseSince)) }
        guard let sentAt = session.probeSentAt else { return nil }
        return attachment.trustEnds(expectedSince: vouching(sentAt))
    }

    // MARK: Time

    /// The next time at which ``wake(_:)`` has something to do.
    mutating func nextDeadline() -> BootTime? {
        guard mode == .redis else { return nil }
        return earlier(appends.nextDeadline(), earlier(session.nextDeadline, trustEnds))
    }

    /// Does everything that is due.
    mutating func wake(_ turn: inout Turn<LogEffect>) {
        guard mode == .redis else { return }
        if appends.takeLate(turn.now) {
            isolate(attachment.loss ?? .lateAppend(nanoseconds: limits.appendNanoseconds), &turn)
            // The server is not asked again until it answers: pending appends would only be sent again and again.
            if isSynced { inspect(&turn) }
        }
        if let end = trustEnds, turn.now >= end {
            isolate(attachment.loss ?? .lateProbe(nanoseconds: limits.upstreamTrustNanoseconds), &turn)
        }
        if session.isRetryDue(turn.now) { inspect(&turn) }
        if session.whileFollowing({ $0.takeDueGap(turn.now) }) == true, tail.hasGap { readPage(&turn) }
        sendDueProbe(&turn)
    }

    private mutating func sendDueProbe(_ turn: inout Turn<LogEffect>) {
        let (applied, unknown) = (tail.applied, logs.unknown)
        let isDue = session.whileFollowing { $0.probe == nil && $0.nextProbe <= turn.now }
        guard isDue == true else { return }
        let id = makeID()
        let isIdle = becomesIdle(turn.now)
        let interval = isIdle ? limits.idleProbeNanoseconds : limits.probeNanoseconds
        session.whileFollowing { state in
            state.probe = LogSession.Probe(id: id, sentAt: turn.now, applied: applied, unknown: unknown)
            state.nextProbe = turn.now + interval
            state.isIdle = isIdle
        }
        ask(.probe(id, feeds: watchedFeeds), &turn)
    }

    /// The caches are not used, and nothing else needs probes: no gap, no entry of an unknown log.
    private func becomesIdle(_ now: BootTime) -> Bool {
        guard limits.idleNanoseconds > 0, now >= lastUse + limits.idleNanoseconds, state == .attached else {
            return false
        }
        return !tail.hasGap && logs.unknown == nil
    }
}
