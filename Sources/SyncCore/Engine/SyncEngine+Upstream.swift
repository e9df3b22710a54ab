import IPCWire

extension SyncEngine {
    /// Handles an event of the server that holds the shared log, or of the connections to it.
    package mutating func upstream(_ event: UpstreamEvent, _ turn: inout Turn<Effect>) {
        switch event {
        case .commandsConnected:
            isUpstreamConnected = true
            isSyncedTold = false
            withLog(&turn) { log, turn in log.commandsConnected(&turn) }
        case .commandsDisconnected(let reason):
            isUpstreamConnected = false
            log.commandsDisconnected(reason: reason)
            endLookups(&turn)
            endPublishes(&turn)
            endFeedQuestions(&turn)
        case .subscriptionConnected(let identity):
            feed.connected(last: log.lastID)
            let channels = subscriptions.allChannels.filter { !isBridged($0) }
            let patterns = subscriptions.allPatterns
            if !channels.isEmpty { turn.add(.upstream(.subscribe(channels))) }
            if !patterns.isEmpty { turn.add(.upstream(.patternSubscribe(patterns))) }
            withLog(&turn) { log, turn in log.subscriptionConnected(identity, &turn) }
        // An event cannot be told from one that is in the log already, so each is appended, without a name.
        case .subscriptionIsPartial: feed.disconnected(last: log.lastID)
        case .subscriptionDisconnected:
            // Probes show the entries that are missed meanwhile.
            log.subscriptionDisconnected()
            feed.disconnected(last: log.lastID)
        case .published(let incarnation, let entry):
            if log.logs.isForeign(incarnation) { return }
            feed.entryCame(entry, isOurs: incarnation == log.incarnation, last: log.lastID)
            withLog(&turn) { log, turn in log.published(incarnation, entry, &turn) }
        case .publishedUnreadable:
            feed.interrupted(last: log.lastID)
            withLog(&turn) { log, turn in log.publishedUnreadable(&turn) }
        case .message(let event):
            // The invalidation is sent before any client of this host receives the event.
            bridge(event, &turn)
            guard isHandedOn(event, &turn) else { return }
            for client in subscriptions.listeners(event.channel) { turn.add(.push(client, .message(event))) }
        case .patternMessage(let pattern, let event):
            guard isHandedOn(event, &turn) else { return }
            for client in subscriptions.listeners(pattern: pattern) {
                turn.add(.push(client, .patternMessage(pattern: pattern, event)))
            }
        case .reply(let id, let reply): upstreamReply(id, reply, &turn)
        }
    }

    /// Whether the event fits into a frame. A longer one would cost every subscriber its connection. The first one is
    /// reported.
    private mutating func isHandedOn(_ event: Event, _ turn: inout Turn<Effect>) -> Bool {
        let (bytes, limit) = (event.payload.readableBytes, limits.wire.valueBytes)
        if bytes <= limit { return true }
        if !hasDroppedEvent {
            let text = "an event of \(bytes) bytes on \(event.channel.escaped) is not handed on: the limit is \(limit)"
            turn.add(.notice(.upstreamWarning(text)))
        }
        hasDroppedEvent = true
        return false
    }

    private mutating func upstreamReply(
        _ id: UpstreamID, _ reply: UpstreamReply, _ turn: inout Turn<Effect>
    ) {
        if lookups[id] != nil {
            switch reply {
            case .got(let entry?, let ttl): lookupEnded(id, found: (entry, ttl), &turn)
            case .long: lookupEnded(id, found: nil, isThere: true, &turn)
            default: lookupEnded(id, found: nil, &turn)
            }
            return
        }
        if let publish = publishes.removeValue(forKey: id) {
            if case .failed = reply {
                turn.add(
                    .reply(publish.client, publish.request, .integer(relay(publish.event, &turn))))
            } else {
                let count = receivers(publish.event.channel)
                turn.add(.reply(publish.client, publish.request, .integer(count)))
            }
            return
        }
        if feedQuestions[id] != nil { return feedAnswered(id, reply, &turn) }
        if case .probed(let incarnation, let position, let holders) = reply, incarnation == log.incarnation {
            feed.probed(id, position: position)
            feedsProbed(holders, now: turn.now)
        }
        withLog(&turn) { log, turn in log.replied(id, reply, &turn) }
    }

    private mutating func endPublishes(_ turn: inout Turn<Effect>) {
        for id in publishes.keys.sorted() {
            guard let publish = publishes.removeValue(forKey: id) else { continue }
            turn.add(.reply(publish.client, publish.request, .integer(0)))
        }
    }
}
