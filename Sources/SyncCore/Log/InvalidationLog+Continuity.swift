import IPCWire
import NIOCore

// The continuity check: is this server's log the one that was applied so far, and is nothing missing?
extension InvalidationLog {
    mutating func commandsConnected(_ turn: inout Turn<LogEffect>) {
        attachment.connected()
        let id = makeID()
        session.connected(id: id, expected: expected)
        ask(.inspect(id, lastApplied: tail.lastApplied), &turn)
    }

    mutating func commandsDisconnected(reason: String) {
        session.disconnected()
        attachment.disconnected(reason)
        tail.forgetKept()
        appends.connectionLost()
    }

    private var expected: LogSession.Expected { LogSession.Expected(lastEntry: tail.lastEntry, floor: tail.floor) }

    func ask(_ command: UpstreamCommand, _ turn: inout Turn<LogEffect>) { turn.add(.upstream(command)) }

    /// Inspects the server if there is a connection.
    mutating func inspect(_ turn: inout Turn<LogEffect>) {
        endIdleness(turn.now)
        let id = makeID()
        if session.inspect(id: id, expected: expected) { ask(.inspect(id, lastApplied: tail.lastApplied), &turn) }
    }

    mutating func reconnect(_ reason: String, _ turn: inout Turn<LogEffect>) {
        session.disconnected()
        ask(.reconnect(reason: reason), &turn)
    }

    /// Inspects again after a pause: a short one if the server refuses for now, a long one if it refuses the user.
    mutating func retry(after failure: UpstreamFailure, _ turn: inout Turn<LogEffect>) {
        guard let server = session.server else { return }
        endIdleness(turn.now)
        attachment.explain(.failed(failure))
        switch failure {
        case .wrongRole(let why): reconnect(why, &turn)
        case .denied(let why):
            session.wait(until: turn.now + limits.deniedNanoseconds, server)
            if lastDenial != why { turn.add(.denied(why)) }
            lastDenial = why
        case .refused, .damaged: session.wait(until: turn.now + limits.retryNanoseconds, server)
        }
    }

    /// The failure that a reply of the wrong kind means.
    private static func failure(_ reply: UpstreamReply) -> UpstreamFailure {
        if case .failed(let failure) = reply { failure } else { .refused("an unexpected answer of Redis") }
    }

    mutating func inspectionAnswered(
        _ inspection: LogSession.Inspecting, _ reply: UpstreamReply, _ turn: inout Turn<LogEffect>
    ) {
        guard case .inspected(let found) = reply else {
            let failure = Self.failure(reply)
            if case .wrongRole = failure { isolate(.failed(failure), &turn) }
            return retry(after: failure, &turn)
        }
        logs.saw(found.incarnation)
        for warning in found.warnings where !warnings.contains(warning) { turn.add(.warning(warning)) }
        warnings = found.warnings
        guard found.isPrimary else {
            isolate(.replica, &turn)
            attachment.explain(.replica)
            return reconnect("\(IsolationReason.replica)", &turn)
        }
        guard isSameServer(found.identity, &turn) else { return }
        var server = inspection.server
        server.identity = found.identity
        server.version = found.serverVersion
        server.rawRecord = found.rawRecord
        let wasReplaced = server.isReplacementUnconfirmed
        server.isReplacementUnconfirmed = false
        let verdict = ContinuityVerdict(
            on: found, expected: inspection.expected, floor: tail.floor, earlier: tail.earlier,
            hasReplaced: server.hasReplaced, logs: logs)
        switch verdict {
        case .replace(let reason, let epochReason):
            distrust(reason, epochReason, &turn)
            attachment.explain(reason)
            // If a replacement did not help, another one right now would not help either.
            if wasReplaced { return session.wait(until: turn.now + limits.retryNanoseconds, server) }
            replace(server, reason, &turn)
        case .switchLog:
            distrust(.otherLog, .incarnation, &turn)
            switchLog(found, &turn)
            catchUp(to: found.position, server, &turn)
        case .proceed(let isContinuous):
            // The next probe shows an entry that came in between.
            tail.trust(found.position)
            if !isContinuous { missed(upTo: max(found.firstEntry ?? 0, tail.applied + 1) - 1, &turn) }
            catchUp(to: found.position, server, &turn)
        }
    }

    /// Switches to the server's log: all entries that it retains are applied again.
    private mutating func switchLog(_ found: Inspection, _ turn: inout Turn<LogEffect>) {
        let isNamed = found.incarnation == logs.current
        if let theirs = found.incarnation, logs.switchTo(theirs) { turn.add(.switched) }
        subscription.lastPosition = 0
        let isSame = tail.restart(
            after: (found.firstEntry ?? found.position + 1) - 1, highestSeen: found.position,
            entry: isNamed ? found.entryAtLastApplied : nil)
        if !isSame { turn.add(.historyUnknown) }
    }

    /// Whether both connections lead to the same process, if it shows an identity; if not, both are made again.
    mutating func isSameServer(_ identity: ServerIdentity?, _ turn: inout Turn<LogEffect>) -> Bool {
        guard let identity, let other = subscription.identity, identity != other else { return true }
        reconnect("both connections must lead to the same server", &turn)
        return false
    }

    // MARK: Replacing

    private mutating func replace(
        _ server: LogSession.Server, _ reason: IsolationReason, _ turn: inout Turn<LogEffect>
    ) {
        turn.add(.replacing(reason))
        let id = makeID()
        session.replace(id: id, server)
        let fresh = freshIncarnation()
        logs.askedFor(fresh)
        ask(.replace(id, ReplaceCommand(expected: server.rawRecord, fresh: fresh, floor: tail.floor)), &turn)
    }

    /// Replaces the log because too many invalidations are pending. Returns the requested log; `nil`: there is no
    /// connection.
    mutating func replaceBecauseOfPending(_ turn: inout Turn<LogEffect>) -> Incarnation? {
        guard let server = session.server else { return nil }
        distrust(.tooMuchPending, .incarnation, &turn)
        replace(server, .tooMuchPending, &turn)
        return logs.lastReplacement
    }

    mutating func replacementAnswered(_ reply: UpstreamReply, _ turn: inout Turn<LogEffect>) {
        guard case .replaced(let incarnation, _) = reply else { return retry(after: Self.failure(reply), &turn) }
        logs.saw(incarnation)
        let id = makeID()
        session.replaced(id: id, expected: expected)
        ask(.inspect(id, lastApplied: tail.lastApplied), &turn)
    }

    // MARK: Catching up

    private mutating func catchUp(
        to position: LogPosition, _ server: LogSession.Server, _ turn: inout Turn<LogEffect>
    ) {
        tail.saw(position)
        session.catchUp(to: position, server)
        proceed(to: position, &turn)
    }

    /// Reads the next page, or ends catching up.
    private mutating func proceed(to target: LogPosition, _ turn: inout Turn<LogEffect>) {
        applyKept(&turn)
        guard tail.applied < target else {
            if let server = session.server { follow(server, &turn) }
            return
        }
        readPage(&turn)
        if case let after?? = session.withPages({ $0.pageAhead(of: limits.entriesPerPage, to: target) }) {
            read(after: after, &turn)
        }
    }

    /// Requests the entries after the applied position, unless they are requested already.
    mutating func readPage(_ turn: inout Turn<LogEffect>) {
        let applied = tail.applied
        if session.withPages({ $0.needsPage(after: applied) }) == true { read(after: applied, &turn) }
    }

    private mutating func read(after position: LogPosition, _ turn: inout Turn<LogEffect>) {
        let page = PageReads.Page(id: makeID(), after: position, highestSeen: tail.highestSeen)
        session.withPages { $0.asked(page) }
        ask(.read(page.id, after: position, count: limits.entriesPerPage), &turn)
    }

    mutating func pageAnswered(_ id: UpstreamID, _ reply: UpstreamReply, _ turn: inout Turn<LogEffect>) {
        guard case let page?? = session.withPages({ $0.take(id) }) else { return }
        switch reply {
        case .entries(incarnation, let entries):
            if let target = session.target {
                caughtUp(entries, target: target, &turn)
            } else {
                followed(entries, page, &turn)
            }
        case .entries(let theirs, _): isOfAnotherLog(theirs, &turn)
        case .failed(.damaged(let why)): damaged(why, &turn)
        default: retry(after: Self.failure(reply), &turn)
        }
    }

    /// Entries of a page while catching up. A hole means that entries were trimmed before this host could read them.
    private mutating func caughtUp(_ entries: [LogEntry], target: LogPosition, _ turn: inout Turn<LogEffect>) {
        for entry in entries where entry.position > tail.applied {
            if entry.position > tail.applied + 1 { missed(upTo: entry.position - 1, &turn) }
            apply(entry, &turn)
        }
        if entries.isEmpty && tail.applied < target { missed(upTo: target, &turn) }
        proceed(to: target, &turn)
    }

    /// Entries of a page that fills a gap. A hole means that the log lost entries.
    private mutating func followed(
        _ entries: [LogEntry], _ page: PageReads.Page, _ turn: inout Turn<LogEffect>
    ) {
        for entry in entries where entry.position > tail.applied {
            guard entry.position == tail.applied + 1 else {
                return requireResync(.entriesMissing, .trimmed, &turn)
            }
            apply(entry, &turn)
        }
        if breaks(.gapIgnored), entries.isEmpty { tail.ignoreTrim(to: page.highestSeen) }
        guard !entries.isEmpty || tail.applied >= page.highestSeen else {
            return requireResync(.entriesMissing, .trimmed, &turn)
        }
        applyKept(&turn)
        confirm()
        if tail.hasGap { readPage(&turn) }
    }

    /// Entries up to `position` were deleted before they were applied.
    private mutating func missed(upTo position: LogPosition, _ turn: inout Turn<LogEffect>) {
        if breaks(.trimIgnored) { return tail.ignoreTrim(to: position) }
        if !attachment.needsResync {
            attachment.raiseEpoch(.trimmed)
            turn.add(.epochRaised(.trimmed))
        }
        tail.skip(to: position)
    }
}
