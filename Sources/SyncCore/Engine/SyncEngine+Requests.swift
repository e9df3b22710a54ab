import IPCWire
import NIOCore

extension SyncEngine {
    /// Answers one request, now or later, by exactly one ``Effect/reply(_:_:_:)``.
    package mutating func request(
        _ client: ClientID, _ id: RequestID, _ request: Request, _ turn: inout Turn<Effect>
    ) {
        if let refusal = refusalWhileSubscribed(client, request) ?? refusalOfLogChannel(request) {
            turn.add(.reply(client, id, .error(refusal)))
            return
        }
        func reply(_ reply: Reply) { turn.add(.reply(client, id, reply)) }
        switch request {
        case .fetch(let key, let wait):
            cachesAreUsed(&turn)
            fetch(client, id, key: key, wait: wait, &turn)
        case .fetchAfter(let position, let key, let wait):
            cachesAreUsed(&turn)
            fetchAfter(position, client, id, key: key, wait: wait, &turn)
        case .renew(let key, let ttl):
            cachesAreUsed(&turn)
            renew(client, id, key: key, ttlMilliseconds: ttl, &turn)
        case .fill(let fill):
            cachesAreUsed(&turn)
            self.fill(client, id, fill, &turn)
        case .abandon(let key, let lease):
            if loads.isValid(lease, key: key, client: client, epoch: log.epoch, now: turn.now) != nil {
                regrant(key, &turn)
            }
            reply(.ok)
        case .invalidate(let tags, let event, let time):
            figures.invalidationsIn += 1
            withLog(&turn) { log, turn in
                log.append(tags: tags, event: event, at: time, for: .client(client, id), &turn)
            }
            if configuration.mode == .embedded, let event { _ = relay(event, &turn) }
        case .feed(let request): changeFeed(client, id, request, &turn)
        case .publish(let event): publish(client, id, event, &turn)
        case .subscribe(let names): subscribe(client, id, names, .channel, &turn)
        case .patternSubscribe(let names): subscribe(client, id, names, .pattern, &turn)
        case .unsubscribe(let names): unsubscribe(client, id, names, .channel, &turn)
        case .patternUnsubscribe(let names): unsubscribe(client, id, names, .pattern, &turn)
        case .track(let isOn): track(client, id, isOn, &turn)
        case .explain(let key):
            cachesAreUsed(&turn)
            explain(client, id, key, &turn)
        case .report(let fields):
            if report(client, fields) { cachesAreUsed(&turn) }
            reply(.ok)
        case .setMetrics(let worker, let text): reply(setMetrics(client, worker: worker, text: text, now: turn.now))
        case .metrics: reply(allMetrics(now: turn.now))
        case .status(let section):
            turn.add(.answerStatus(client, id, sections: section.map { [$0] } ?? [], asText: false))
        case .info(let sections): turn.add(.answerStatus(client, id, sections: sections, asText: true))
        case .shutdown: turn.add(.shutdownAsked(client, id))
        case .hello, .ping, .echo, .quit, .reset, .select, .client, .command, .configGet:
            connectionRequest(client, id, request, &turn)
        }
    }

    /// Commands that every Redis client expects a server to answer.
    private mutating func connectionRequest(
        _ client: ClientID, _ id: RequestID, _ request: Request, _ turn: inout Turn<Effect>
    ) {
        func reply(_ reply: Reply) { turn.add(.reply(client, id, reply)) }
        switch request {
        case .hello(let version, let name):
            if let version { clients[client]?.version = version }
            if let name { clients[client]?.name = name.compacted }
            reply(.greeting(greeting(client)))
        case .ping(let text):
            if isRestricted(client) {
                reply(.array([.bulk(ByteBuffer(string: "pong")), .bulk(text ?? ByteBuffer())]))
            } else {
                reply(text.map { .bulk($0) } ?? .simple(.pong))
            }
        case .echo(let text): reply(.bulk(text))
        case .quit:
            reply(.ok)
            turn.add(.close(client, reason: "QUIT"))
        case .reset:
            unsubscribeAll(client, &turn)
            trackers.removeAll { $0 == client }
            clients[client]?.isTracking = false
            clients[client]?.version = .v2
            clients[client]?.name = nil
            reply(.simple(.reset))
        case .select: reply(.ok)
        case .client(.id): reply(.integer(client.number))
        case .client(.getName): reply(clients[client]?.name.map { .bulk($0) } ?? .null)
        case .client(.setName(let name)):
            clients[client]?.name = name.readableBytes == 0 ? nil : name.compacted
            reply(.ok)
        case .client(.accepted): reply(.ok)
        case .client(.info): turn.add(.answerClients(client, id, [client]))
        case .client(.list): turn.add(.answerClients(client, id, clients.keys.sorted()))
        case .command(.count): reply(.integer(0))
        case .command(.docs): reply(.emptyMap)
        case .command: reply(.emptyArray)
        case .configGet: reply(.emptyMap)
        default: reply(.error(ReplyError(.generic, "unknown command")))
        }
    }

    private func greeting(_ client: ClientID) -> Greeting {
        Greeting(
            version: configuration.version, proto: clients[client]?.version ?? .v2, clientID: client.number,
            epoch: log.epoch, incarnation: log.incarnation.description, applied: log.applied, state: log.state,
            logMode: configuration.mode, table: configuration.tablePath, journal: configuration.journalPath,
            arena: arena == nil ? nil : configuration.arenaPath,
            trustWindowMilliseconds: TrustTiming.trustWindowNanoseconds / 1_000_000)
    }

    /// Whether the client may use few commands only: in RESP2, a subscribed client cannot tell a reply from a message.
    private func isRestricted(_ client: ClientID) -> Bool {
        subscriptions.count > 0 && clients[client]?.version == .v2 && subscriptions.count(of: client) > 0
    }

    private func refusalWhileSubscribed(_ client: ClientID, _ request: Request) -> ReplyError? {
        guard isRestricted(client) else { return nil }
        switch request {
        case .subscribe, .unsubscribe, .patternSubscribe, .patternUnsubscribe, .ping, .quit, .reset, .hello:
            return nil
        default:
            return ReplyError(
                .generic,
                "only (P)SUBSCRIBE, (P)UNSUBSCRIBE, PING, QUIT and RESET are allowed while subscribed in RESP2; HELLO 3 lifts this"
            )
        }
    }

    private func refusalOfLogChannel(_ request: Request) -> ReplyError? {
        let isMeant =
            switch request {
            case .publish(let event): LogChannel.isOne(event.channel)
            case .invalidate(_, let event, _): event.map { LogChannel.isOne($0.channel) } ?? false
            case .subscribe(let names): names.contains(where: LogChannel.isOne)
            default: false
            }
        return isMeant ? ReplyError(.denied, "this is the channel of a log: TRACK ON shows the entries of ours") : nil
    }

    /// The reported counters of hits without a request.
    private static let hitFields = [ByteBuffer(string: "l1-hits"), ByteBuffer(string: "shared-hits")]

    /// Returns whether the client has had hits since its last report: no other sign of them reaches syncd.
    private mutating func report(_ client: ClientID, _ fields: [ReportField]) -> Bool {
        guard var reported = clients[client]?.reported else { return false }
        var hasHits = false
        for field in fields {
            let kept = ReportField(name: field.name.compacted, value: field.value.compacted)
            if let index = reported.firstIndex(where: { $0.name == field.name }) {
                if reported[index].value != kept.value, Self.hitFields.contains(field.name) { hasHits = true }
                reported[index] = kept
            } else if reported.count < limits.reportedFields {
                reported.append(kept)
            }
        }
        clients[client]?.reported = reported
        noteAudits(client, reported)
        return hasHits
    }

    private mutating func track(_ client: ClientID, _ id: RequestID, _ isOn: Bool, _ turn: inout Turn<Effect>) {
        guard clients[client]?.version == .v3 || !isOn else {
            turn.add(.reply(client, id, .error(ReplyError(.generic, "TRACK ON needs RESP3: say HELLO 3 first"))))
            return
        }
        trackers.removeAll { $0 == client }
        clients[client]?.isTracking = isOn
        turn.add(.reply(client, id, .ok))
        guard isOn else { return }
        trackers.append(client)
        trackers.sort()
        cachesAreUsed(&turn)
        turn.add(.push(client, .epoch(log.epoch, reason: .tracking)))
        turn.add(.push(client, .heartbeat(heartbeat)))
    }

    // MARK: Events

    private mutating func publish(
        _ client: ClientID, _ id: RequestID, _ event: Event, _ turn: inout Turn<Effect>
    ) {
        if publishBridged(client, id, event, &turn) { return }
        guard configuration.mode == .redis, log.state == .attached, isUpstreamConnected else {
            turn.add(.reply(client, id, .integer(relay(event, &turn))))
            return
        }
        let command = log.makeID()
        publishes[command] = PendingPublish(client: client, request: id, event: event)
        deadlines.add(.publish(command), at: turn.now + limits.appendNanoseconds)
        turn.add(.upstream(.publish(command, event)))
    }

    /// The server's work for a request in addition to that for its bytes, as a number of bytes: it compares a published
    /// event with all patterns. A step takes some ns, and a byte of a long request some tens.
    func serverWork(of request: Request) -> Int {
        switch request {
        case .publish(let event), .invalidate(_, let event?, _): subscriptions.matchingSteps(event.channel) / 8
        default: 0
        }
    }

    /// Number of clients on this host that get an event.
    func receivers(_ channel: ByteBuffer) -> UInt64 {
        let byPattern = subscriptions.matches(channel).reduce(0) { $0 + $1.listeners.count }
        return UInt64(subscriptions.listeners(channel).count + byPattern)
    }

    /// Sends an event to the subscribers on this host. Returns their number.
    func relay(_ event: Event, _ turn: inout Turn<Effect>) -> UInt64 {
        var count: UInt64 = 0
        for client in subscriptions.listeners(event.channel) {
            turn.add(.push(client, .message(event)))
            count += 1
        }
        for (pattern, listeners) in subscriptions.matches(event.channel) {
            for client in listeners {
                turn.add(.push(client, .patternMessage(pattern: pattern, event)))
                count += 1
            }
        }
        return count
    }

    private mutating func subscribe(
        _ client: ClientID, _ id: RequestID, _ names: [ByteBuffer], _ kind: Subscriptions.Kind,
        _ turn: inout Turn<Effect>
    ) {
        func hasRoom(total: Int, limit: Int, count: (ClientID) -> Int) -> Bool {
            total + names.count <= limit
                && isWithinShare(client, total: total, more: names.count, limit: limit, count: count)
        }
        func refuse(_ what: String, limit: Int) {
            let text = "no room for more \(what): the limit is \(limit), half of it for one process"
            turn.add(.reply(client, id, .error(ReplyError(.busy, text))))
        }
        let isWithinLimit = hasRoom(total: subscriptions.count, limit: limits.subscriptions) {
            subscriptions.count(of: $0)
        }
        guard isWithinLimit else { return refuse("subscriptions", limit: limits.subscriptions) }
        let mayAddPatterns =
            kind == .channel
            || hasRoom(total: subscriptions.patternCount, limit: limits.patterns) {
                subscriptions.count(of: $0, .pattern)
            }
        guard mayAddPatterns else { return refuse("patterns", limit: limits.patterns) }
        var changes: [SubscriptionChange] = []
        var first: [ByteBuffer] = []
        for name in names {
            if subscriptions.add(name, kind, client: client) { first.append(name.compacted) }
            changes.append(SubscriptionChange(channel: name, count: subscriptions.count(of: client)))
        }
        turn.add(
            .reply(client, id, .subscriptions(kind == .channel ? .subscribe : .patternSubscribe, changes)))
        if kind == .channel { first.removeAll { isBridged($0) } }
        if !first.isEmpty, configuration.mode == .redis {
            turn.add(.upstream(kind == .channel ? .subscribe(first) : .patternSubscribe(first)))
        }
    }

    private mutating func unsubscribe(
        _ client: ClientID, _ id: RequestID, _ names: [ByteBuffer], _ kind: Subscriptions.Kind,
        _ turn: inout Turn<Effect>
    ) {
        let names = names.isEmpty ? subscriptions.names(of: client, kind) : names
        var changes: [SubscriptionChange] = []
        var last: [ByteBuffer] = []
        for name in names {
            if subscriptions.remove(name, kind, client: client) { last.append(name.compacted) }
            changes.append(SubscriptionChange(channel: name, count: subscriptions.count(of: client)))
        }
        if changes.isEmpty {
            changes.append(SubscriptionChange(channel: nil, count: subscriptions.count(of: client)))
        }
        turn.add(
            .reply(client, id, .subscriptions(kind == .channel ? .unsubscribe : .patternUnsubscribe, changes)))
        unsubscribeUpstream(last, kind, &turn)
    }

    mutating func unsubscribeAll(_ client: ClientID, _ turn: inout Turn<Effect>) {
        for kind in [Subscriptions.Kind.channel, .pattern] {
            let last = subscriptions.names(of: client, kind).filter {
                subscriptions.remove($0, kind, client: client)
            }
            unsubscribeUpstream(last, kind, &turn)
        }
    }

    private func unsubscribeUpstream(
        _ names: [ByteBuffer], _ kind: Subscriptions.Kind, _ turn: inout Turn<Effect>
    ) {
        let names = kind == .channel ? names.filter { !isBridged($0) } : names
        guard !names.isEmpty, configuration.mode == .redis else { return }
        turn.add(.upstream(kind == .channel ? .unsubscribe(names) : .patternUnsubscribe(names)))
    }
}
