import DequeModule
import IPCWire
import NIOCore

// Change feeds: writes of programs that do not say what they change (docs/change-feed.md).
extension SyncEngine {
    mutating func changeFeed(_ client: ClientID, _ id: RequestID, _ request: FeedRequest, _ turn: inout Turn<Effect>) {
        switch request {
        case .claim(let name): claim(client, id, name.compacted, &turn)
        case .leave(let name):
            if feeds[name]?.reader?.client == client { leave(name, &turn) }
            turn.add(.reply(client, id, .ok))
        case .save(let save):
            let lag = save.lagMilliseconds.multipliedReportingOverflow(by: 1_000_000)
            var held = ChangeFeed.HeldSave(
                client: client, request: id, token: save.token.compacted, uncovered: save.changes,
                currentAt: turn.now.saturatingSubtract(lag.overflow ? .max : lag.partialValue))
            held.changes = UInt64(save.changes.count)
            guard take(held, of: save.name, &turn) else { return }
            settle(save.name, &turn)
            if feeds[save.name]?.save?.isSent == false {
                deadlines.add(.feed(save.name.compacted, client, id), at: turn.now + limits.feedHoldNanoseconds)
            }
        case .reset(let name, let token):
            let held = ChangeFeed.HeldSave(
                client: client, request: id, token: token.compacted, uncovered: [], isReset: true, currentAt: turn.now)
            guard take(held, of: name, &turn) else { return }
            appendSave(name, &turn)
        }
    }

    // MARK: The role

    private mutating func claim(
        _ client: ClientID, _ id: RequestID, _ name: ByteBuffer, _ turn: inout Turn<Effect>
    ) {
        if feeds[name] == nil, feeds.count >= limits.feeds { dropUnusedFeed(&turn) }
        guard feeds[name] != nil || feeds.count < limits.feeds else {
            return turn.add(
                .reply(client, id, .error(ReplyError(.busy, "no room for more feeds: the limit is \(limits.feeds)"))))
        }
        var feed = feeds[name, default: ChangeFeed(now: turn.now)]
        feed.claimedAt = turn.now
        feeds[name] = feed
        log.watchedFeeds = feeds.keys.sorted { $0.readableBytesView.lexicographicallyPrecedes($1.readableBytesView) }
        let isReader = feed.reader?.client == client
        guard isReader || feed.isFree(turn.now, limits: limits) || breaks(.twoFeedReaders) else {
            return turn.add(.reply(client, id, FeedRole.wait.reply))
        }
        guard configuration.mode == .redis else {
            feeds[name]?.reader = (client, turn.now)
            return turn.add(.answerFeedClaim(client, id, name))
        }
        let mayAsk =
            switch feed.holder {
            case .unknown, .none: true
            // A host that appends all the time sends no probe, which would show that the role is free.
            case .idle: !log.isIdle
            case .busy: isReader || !log.isIdle && turn.now >= feed.holderShownAt + limits.feedHolderNanoseconds
            }
        let hasLeft = feed.leftAt.map { turn.now < $0 + limits.feedLeaveNanoseconds } ?? false
        guard log.isSynced, isUpstreamConnected, mayAsk, !hasLeft else {
            return turn.add(.reply(client, id, FeedRole.wait.reply))
        }
        ask(.claim(client, id), name, token: nil, &turn)
    }

    /// The reader cannot read its source. Other hosts are to try: this one keeps out of their way for a while.
    private mutating func leave(_ name: ByteBuffer, _ turn: inout Turn<Effect>) {
        feeds[name]?.reader = nil
        guard configuration.mode == .redis else { return }
        feeds[name]?.leftAt = turn.now
        guard isUpstreamConnected else { return }
        var command = feedCommand(name, token: nil, isIdle: log.isIdle)
        command.ttlMilliseconds = 1
        turn.add(.upstream(.feed(log.makeID(), command)))
    }

    /// Makes room for another feed: one that nobody reads goes, the one that was asked for longest ago.
    private mutating func dropUnusedFeed(_ turn: inout Turn<Effect>) {
        let unused = log.watchedFeeds.filter { feeds[$0]?.isUnused == true }
        guard let oldest = unused.min(by: { feeds[$0]?.claimedAt ?? 0 < feeds[$1]?.claimedAt ?? 0 }) else { return }
        feeds[oldest] = nil
        if configuration.mode == .embedded { turn.add(.storeFeedToken(oldest, nil)) }
    }

    /// A question about a feed that Redis has not answered.
    enum FeedQuestion: Sendable {
        case claim(ClientID, RequestID)
        case store(ClientID, RequestID)
    }

    private mutating func ask(
        _ question: FeedQuestion, _ name: ByteBuffer, token: ByteBuffer?, _ turn: inout Turn<Effect>
    ) {
        let command = log.makeID()
        feedQuestions[command] = (question, name)
        deadlines.add(.feedQuestion(command), at: turn.now + limits.appendNanoseconds)
        let isIdle = log.isIdle
        if token != nil { feeds[name]?.stored = (turn.now, isIdle) }
        turn.add(.upstream(.feed(command, feedCommand(name, token: token, isIdle: isIdle))))
    }

    private func feedCommand(_ name: ByteBuffer, token: ByteBuffer?, isIdle: Bool) -> FeedCommand {
        let role = isIdle ? limits.idleFeedRoleNanoseconds : limits.feedRoleNanoseconds
        return FeedCommand(
            name: name, holder: FeedCommand.holder(log.origin, isIdle: isIdle), ttlMilliseconds: role / 1_000_000,
            token: token)
    }

    /// Redis has answered, or does not answer (`nil`).
    mutating func feedAnswered(_ id: UpstreamID, _ reply: UpstreamReply?, _ turn: inout Turn<Effect>) {
        guard let (question, name) = feedQuestions.removeValue(forKey: id) else { return }
        switch (question, reply) {
        case (.claim(let client, let request), .feed(isHolder: true, let token)):
            // Another client of this host may have been faster, and this one may be gone.
            let isFree = feeds[name]?.isFree(turn.now, limits: limits) ?? false
            guard clients[client] != nil, isFree || feeds[name]?.reader?.client == client else {
                return turn.add(.reply(client, request, FeedRole.wait.reply))
            }
            isFeedFailureTold = false
            feeds[name]?.reader = (client, turn.now)
            feeds[name]?.stored = nil
            turn.add(.reply(client, request, FeedRole.tail(token: token).reply))
        case (.claim(let client, let request), let reply):
            if case .feed(isHolder: false, _) = reply {
                feeds[name]?.shown(.busy, name: nil, at: turn.now)
            }
            if case .failed(let failure) = reply, !isFeedFailureTold {
                isFeedFailureTold = true
                turn.add(.notice(.upstreamWarning("change feeds: \(failure.message)")))
            }
            turn.add(.reply(client, request, FeedRole.wait.reply))
        case (.store(let client, let request), .feed(isHolder: true, _)):
            ended(name, client, request, .ok, &turn)
        case (.store(let client, let request), .feed(isHolder: false, _)):
            feeds[name]?.reader = nil
            ended(name, client, request, .error(Self.noRole), &turn)
        case (.store(let client, let request), _):
            ended(name, client, request, .error(Self.isolated), &turn)
        }
    }

    /// The command connection is lost: nothing of this will be answered.
    mutating func endFeedQuestions(_ turn: inout Turn<Effect>) {
        for id in feedQuestions.keys.sorted() { feedAnswered(id, nil, &turn) }
        for name in feeds.keys { feeds[name]?.holder = .unknown }
    }

    /// A probe has shown the holders of roles.
    mutating func feedsProbed(_ holders: [FeedHolder], now: BootTime) {
        let own = FeedCommand.holder(log.origin, isIdle: false)
        for holder in holders {
            feeds[holder.name]?.shown(ChangeFeed.Holder(holder.holder, own: own), name: holder.holder, at: now)
        }
    }

    /// A save of the client that is held or under way goes on: its changes are known.
    mutating func feedReaderClosed(_ client: ClientID) {
        for name in feeds.keys where feeds[name]?.reader?.client == client { feeds[name]?.reader = nil }
    }

    private static let noRole = ReplyError(.noRole, "another client reads this feed: FEED CLAIM")
    private static let isolated = ReplyError(.isolated, "the log does not accept anything now: save the same again")

    // MARK: Saves

    /// Returns whether the client may save.
    private mutating func take(
        _ save: ChangeFeed.HeldSave, of name: ByteBuffer, _ turn: inout Turn<Effect>
    ) -> Bool {
        func refuse(_ error: ReplyError) -> Bool {
            turn.add(.reply(save.client, save.request, .error(error)))
            return false
        }
        let isReader = feeds[name]?.reader?.client == save.client || breaks(.twoFeedReaders)
        guard feeds[name] != nil, isReader else { return refuse(Self.noRole) }
        guard feeds[name]?.save == nil else {
            return refuse(ReplyError(.busy, "one save at a time: wait for the reply to the one before"))
        }
        feeds[name]?.reader?.heardAt = turn.now
        feeds[name]?.save = save
        return true
    }

    /// Drops the changes of a held save that are covered. If none is left, the save ends.
    private mutating func settle(_ name: ByteBuffer, _ turn: inout Turn<Effect>) {
        guard var save = feeds[name]?.save, !save.isSent, !save.isReset else { return }
        let before = save.uncovered.count
        save.uncovered.removeAll { coveredWrites.covers($0) }
        save.covered += UInt64(before - save.uncovered.count)
        feeds[name]?.save = save
        if save.uncovered.isEmpty { storeToken(name, save, &turn) }
    }

    /// An entry of the log was applied: changes may be covered by now.
    mutating func feedEntryApplied(_ body: LogEntryBody, _ turn: inout Turn<Effect>) {
        // With Redis, a feed may begin with changes of before this syncd, and their entries are read again at its start.
        guard !feeds.isEmpty || configuration.mode == .redis, let write = CoveredWrites.Write(body) else { return }
        coveredWrites.add(write, bytes: body.memoryBytes)
        for name in log.watchedFeeds {
            if feeds[name]?.save != nil { settle(name, &turn) }
            guard let suspects = feeds[name]?.suspects, !suspects.isEmpty else { continue }
            let left = suspects.filter { !write.covers($0.change) }
            if left.count == suspects.count { continue }
            feeds[name]?.late += UInt64(suspects.count - left.count)
            feeds[name]?.suspects = .init(left)
        }
    }

    /// A save without uncovered changes: its token is stored from time to time.
    private mutating func storeToken(_ name: ByteBuffer, _ save: ChangeFeed.HeldSave, _ turn: inout Turn<Effect>) {
        feeds[name]?.save?.isSent = true
        report.uncoveredWrites(0)
        guard feeds[name]?.isStoreDue(turn.now, isIdle: log.isIdle, limits: limits) == true else {
            return ended(name, save.client, save.request, .ok, &turn)
        }
        guard configuration.mode == .redis else {
            feeds[name]?.stored = (turn.now, false)
            turn.add(.storeFeedToken(name, save.token))
            return ended(name, save.client, save.request, .ok, &turn)
        }
        guard log.isSynced, isUpstreamConnected else {
            return ended(name, save.client, save.request, .error(Self.isolated), &turn)
        }
        ask(.store(save.client, save.request), name, token: save.token, &turn)
    }

    /// The time for the save's own invalidations is over: what is not covered by now was written by a program that does
    /// not invalidate.
    mutating func feedHoldEnded(
        _ name: ByteBuffer, _ client: ClientID, _ request: RequestID, _ turn: inout Turn<Effect>
    ) {
        if feeds[name]?.holds(client, request) == true { appendSave(name, &turn) }
    }

    /// Appends the uncovered changes of a held save, and stores its token with them: never before them.
    private mutating func appendSave(_ name: ByteBuffer, _ turn: inout Turn<Effect>) {
        guard let save = feeds[name]?.save else { return }
        feeds[name]?.save?.isSent = true
        var tags: [ByteBuffer] = []
        var known: Set<ByteBuffer> = []
        for tag in save.uncovered.flatMap(\.tags) where known.insert(tag).inserted { tags.append(tag) }
        if save.isReset || tags.count > limits.wire.tagsPerInvalidation { tags = [ByteBuffer(string: "*")] }
        let isIdle = log.isIdle
        feeds[name]?.save?.isIdle = isIdle
        let command = feedCommand(name, token: save.token, isIdle: isIdle)
        if breaks(.feedTokenFirst) { storeEarly(command, &turn) }
        withLog(&turn) { log, turn in
            log.append(
                tags: tags, event: nil, with: command,
                for: .feed(name, save.client, save.request), &turn)
        }
    }

    /// The behaviour of ``Mutant/feedTokenFirst``.
    private mutating func storeEarly(_ command: FeedCommand, _ turn: inout Turn<Effect>) {
        guard let token = command.token else { return }
        turn.add(
            configuration.mode == .redis
                ? .upstream(.feed(log.makeID(), command)) : .storeFeedToken(command.name, token))
    }

    /// The invalidations of a save are in the log.
    mutating func feedCommitted(
        _ name: ByteBuffer, _ client: ClientID, _ request: RequestID, _ turn: inout Turn<Effect>
    ) {
        guard let save = feeds[name]?.save, save.client == client, save.request == request else { return }
        if configuration.mode == .embedded { turn.add(.storeFeedToken(name, save.token)) }
        feeds[name]?.stored = (turn.now, save.isIdle)
        if save.isReset {
            feeds[name]?.resets += 1
            turn.add(.notice(.feedReset(name)))
        }
        let until = turn.now + limits.feedSuspicionNanoseconds
        var suspects = save.uncovered.filter { isWriteKnown($0) }
        // Some own invalidations came before this one was in the log.
        let count = suspects.count
        suspects.removeAll { coveredWrites.covers($0) }
        feeds[name]?.late += UInt64(count - suspects.count)
        for change in suspects where feeds[name]?.suspect(change, until: until) == false {
            accuse(change, count: 1, name, &turn)
        }
        if !suspects.isEmpty { deadlines.add(.feedSuspects(name), at: until) }
        ended(name, client, request, .ok, &turn)
    }

    /// Whether this syncd would know the write of a change, if the writer had told it: without Redis, nobody has told it of
    /// what was written before its start.
    private func isWriteKnown(_ change: FeedChange) -> Bool {
        configuration.mode == .redis || UInt64(change.time.seconds) >= startedAt / 1000
    }

    /// Counts the changes whose own invalidation has not come in time, however late.
    mutating func countSuspects(_ name: ByteBuffer, _ turn: inout Turn<Effect>) {
        var (first, count): (FeedChange?, Int) = (nil, 0)
        while let suspect = feeds[name]?.suspects.first, suspect.until <= turn.now {
            feeds[name]?.suspects.removeFirst()
            if first != nil { feeds[name]?.count(suspect.change) }
            first = first ?? suspect.change
            count += 1
        }
        if let first { accuse(first, count: count, name, &turn) }
    }

    /// Tells of uncovered writes, of which this one is not counted yet.
    private mutating func accuse(_ first: FeedChange, count: Int, _ name: ByteBuffer, _ turn: inout Turn<Effect>) {
        feeds[name]?.count(first)
        report.uncoveredWrites(UInt64(count))
        turn.add(.notice(.uncoveredWrites(feed: name, count: count, first)))
    }

    /// The log has not taken them: the same save comes again.
    mutating func feedDeferred(
        _ name: ByteBuffer, _ client: ClientID, _ request: RequestID, isRoleLost: Bool, _ turn: inout Turn<Effect>
    ) {
        if isRoleLost, feeds[name]?.reader?.client == client { feeds[name]?.reader = nil }
        ended(name, client, request, .error(isRoleLost ? Self.noRole : Self.isolated), &turn)
    }

    private mutating func ended(
        _ name: ByteBuffer, _ client: ClientID, _ request: RequestID, _ reply: Reply, _ turn: inout Turn<Effect>
    ) {
        if let save = feeds[name]?.save, save.client == client, save.request == request {
            feeds[name]?.save = nil
            // The same save comes again otherwise.
            if reply == .ok {
                feeds[name]?.changes += save.changes
                feeds[name]?.covered += save.covered
                feeds[name]?.currentAt = save.currentAt
            }
        }
        turn.add(.reply(client, request, reply))
    }
}
