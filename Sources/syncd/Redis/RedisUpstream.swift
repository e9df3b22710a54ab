import IPCWire
import Logging
import NIOCore
import SyncCore

/// The server that holds the shared log, on a real Redis or Valkey: two connections, one for commands and one for
/// subscriptions, each kept up by itself (``RedisLink``). Takes the engine's commands, delivers its events, decides nothing:
/// ``CommandEncoding`` has the words of commands, ``ReplyDecoding`` what replies mean.
final class RedisUpstream {
    private var encoding: CommandEncoding
    private let bridgedChannels: [ByteBuffer]
    private let endpoint: RedisEndpoint
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let deliver: (UpstreamEvent) -> Void
    private let commands: RedisLink
    private let subscription: RedisLink
    private var watch: PrimaryWatch?
    /// The endpoint is a cluster, where the log's channel is sharded if the server allows it.
    private let isCluster: Bool
    /// Called when all received data have been delivered: the turn may end.
    var onChunkEnd: () -> Void = {}
    /// The last INFO of the connected server.
    private var info: ServerInfo? { didSet { encoding.use(info?.identity) } }
    private var scripts = ScriptNames()
    private var longValues = LongValues()
    private var roundTrips = LatencyRing()
    private var probes = 0
    /// The times of the last two commands.
    private var askedAt = (previous: NIODeadline.uptimeNanoseconds(0), last: NIODeadline.uptimeNanoseconds(0))
    /// ROLE was refused: the server's role shows only at inspections and when it refuses to write.
    private var isRoleForbidden = false
    /// Maximum number of entries of one page: lower after a page that was too long for the reader.
    private var longestPage = Int.max
    /// The server refuses to let this host listen to the sharded channel of the log.
    private var isPartial = false
    /// Channels that the server refuses, and the consequence of each.
    private var refusedChannels: [String: String] = [:]

    /// Values are sent only while at most this many bytes wait for the server.
    private static let maximumUnsentBeforeSet = 2 << 20
    /// One in N probes reads the role, too, and each that follows a pause.
    private static let probesPerRole = 4
    private static let pause = TimeAmount.milliseconds(1500)
    private static let maximumRefusedShown = 16

    init(
        endpoint: RedisEndpoint, tls: TLSSettings? = nil, keys: RedisKeys, bridgedChannels: [ByteBuffer],
        eventLoop: any EventLoop, logger: Logger, deliver: @escaping (UpstreamEvent) -> Void
    ) {
        self.endpoint = endpoint
        if case .cluster = endpoint.address { isCluster = true } else { isCluster = false }
        encoding = CommandEncoding(keys: keys)
        self.bridgedChannels = bridgedChannels
        self.eventLoop = eventLoop
        self.logger = logger
        self.deliver = deliver
        let connector = RedisConnector(for: endpoint, tls: tls, eventLoop: eventLoop, logger: logger)
        let source = endpoint.primarySource(slot: keys.slot)
        func link(_ name: String) -> RedisLink {
            RedisLink(endpoint: endpoint, source: source, connector: connector, clientName: name, logger: logger)
        }
        commands = link("syncd")
        subscription = link("syncd-subscriptions")
        commands.onReady = { [weak self] _, info in self?.commandsReady(info) }
        commands.onLost = { [weak self] loss in self?.commandsLost(loss) }
        subscription.onReady = { [weak self] connection, _ in self?.subscribeToLog(connection) }
        subscription.onLost = { [weak self] loss in self?.deliver(.subscriptionDisconnected(reason: loss.reason)) }
        subscription.onMessage = { [weak self] parts in
            guard let self else { return }
            let identity = self.subscription.info?.identity
            guard let event = ReplyDecoding.message(parts, keys: keys, identity: identity) else { return }
            self.deliver(event)
            if case .subscriptionConnected = event, self.isPartial { self.deliver(.subscriptionIsPartial) }
        }
        for link in [commands, subscription] { link.onChunkEnd = { [weak self] in self?.onChunkEnd() } }
        if let source {
            watch = PrimaryWatch(
                source, connector: connector, present: { [weak self] in self?.commands.primary },
                isInUse: { [weak self] in self?.isInUse ?? false },
                onMoved: { [weak self] answer in self?.primaryMoved(answer, source.movedMessage) })
        }
    }

    func start() {
        commands.start()
        subscription.start()
        watch?.start()
    }

    /// Further events may follow at once; `onChunkEnd` follows the last one.
    var isDelivering: Bool { commands.connection?.isReading == true || subscription.connection?.isReading == true }

    /// Whether output is queued.
    var hasOutput: Bool { commands.connection?.hasOutput == true || subscription.connection?.hasOutput == true }

    /// Sends the output of this tick of the event loop.
    func flush() {
        commands.connection?.flush()
        subscription.connection?.flush()
    }

    func shutdown() -> EventLoopFuture<Void> {
        watch?.stop()
        commands.stop()
        subscription.stop()
        return eventLoop.makeSucceededVoidFuture()
    }

    /// The section `redis` of STATUS.
    var statusFields: [StatusField] {
        let latency = roundTrips.microseconds([0.5, 0.99])
        let connects = max(0, commands.connects - 1) + max(0, subscription.connects - 1)
        return [
            StatusField("endpoint", .text(endpoint.redacted)),
            StatusField("primary", .text(commands.isReady ? commands.target : "")),
            StatusField("server-version", .text(info?.version ?? "")),
            StatusField("round-trip-p50-us", .number(latency[0])),
            StatusField("round-trip-p99-us", .number(latency[1])),
            StatusField("round-trip-histogram-us", .fields(roundTrips.histogram.statusFields)),
            StatusField("reconnects", .number(UInt64(connects))),
            StatusField("last-error", (commands.lastLoss ?? subscription.lastLoss).map { .text($0.reason) } ?? .null),
            StatusField("warnings", .list(warnings.map { .text($0) })),
            StatusField("connections", .number(UInt64([commands, subscription].filter(\.isReady).count))),
        ]
    }

    /// Warnings about the server's settings, or syncd's permissions.
    private var warnings: [String] {
        var warnings = commands.warnings + (info?.warnings ?? [])
        if commands.isReady, info == nil {
            warnings.append("INFO is forbidden: every reconnect costs a cold cache, and the role is not checked")
        } else if commands.isReady, info?.identity == nil {
            warnings.append("INFO shows no run_id: every reconnect costs a cold cache")
        }
        if info?.isClusterNode == true, case .tcp = endpoint.address {
            warnings.append(
                "the server is a node of a cluster: if the log moves, this host is isolated: use redis+cluster://")
        }
        if isRoleForbidden {
            warnings.append("ROLE is forbidden: a demoted primary is noticed when it refuses to write")
        }
        let refused = refusedChannels.sorted { $0.key < $1.key }.prefix(Self.maximumRefusedShown)
        return warnings + refused.map { "channel \($0.key) is refused: \($0.value)" }
    }

    private func commandsLost(_ loss: ConnectionLoss) {
        // The next server may know other scripts and allow other commands.
        scripts = ScriptNames()
        longValues = LongValues()
        isRoleForbidden = false
        if loss.isTooLong { longestPage = max(1, min(longestPage, 512) / 2) }
        deliver(.commandsDisconnected(reason: loss.reason))
    }

    private func primaryMoved(_ answer: PrimaryAnswer, _ message: String) {
        logger.notice("\(message)", metadata: ["primary": "\(answer.address.text)"])
        for link in [commands, subscription] { link.reconnect(reason: message) }
    }

    /// The meaning of an error. Both connections follow a node of a cluster that names another one.
    private func failure(_ text: ByteBuffer) -> UpstreamFailure {
        if isCluster { for link in [commands, subscription] { link.follow(moved: text) } }
        return UpstreamFailure(redisError: text)
    }

    /// Whether the last two commands were sent a short while ago: an idle host sends one at a time, and another one a
    /// second apart at most.
    private var isInUse: Bool { NIODeadline.now() - askedAt.previous < .seconds(3) }

    // MARK: Commands

    private func commandsReady(_ info: ServerInfo?) {
        subscription.tryNow()
        self.info = info
        deliver(.commandsConnected)
    }

    func send(_ command: UpstreamCommand) {
        let now = NIODeadline.now()
        subscription.connection?.askedElsewhere(now: now)
        askedAt = (askedAt.last, now)
        switch command {
        case .inspect(let id, let last): inspect(id, lastApplied: last)
        case .append(let id, let append): self.append(id, append)
        case .probe(let id, let feeds): probe(id, feeds)
        case .read(let id, let after, let count): read(id, after: after, count: count)
        case .replace(let id, let replace):
            let script: RedisScript = isCluster ? .shardedReplace : .replace
            run(id, script, encoding.replace(replace), ReplyDecoding.replace)
        case .feed(let id, let feed): run(id, .feed, encoding.feed(feed), ReplyDecoding.feed)
        case .publish(let id, let event): ask(id, encoding.publish(event), ReplyDecoding.publish)
        case .get(let id, let key): get(id, key)
        case .set(let key, let entry, let ttl):
            // Appends must not wait for a value, and a value that is not stored is no error.
            guard let connection, connection.unsentBytes < Self.maximumUnsentBeforeSet else { return }
            connection.send(encoding.set(key, entry, ttlMilliseconds: ttl), handler: { _ in })
        case .subscribe(let channels): changeSubscription("SUBSCRIBE", channels)
        case .unsubscribe(let channels): changeSubscription("UNSUBSCRIBE", channels)
        case .patternSubscribe(let patterns): changeSubscription("PSUBSCRIBE", patterns)
        case .patternUnsubscribe(let patterns): changeSubscription("PUNSUBSCRIBE", patterns)
        case .reconnect(let reason):
            commands.reconnect(reason: reason)
            subscription.reconnect(reason: reason)
        }
    }

    /// The command connection, while commands can be sent.
    private var connection: RedisConnection? {
        guard commands.isReady, let connection = commands.connection, !connection.isClosed else { return nil }
        return connection
    }

    /// Sends a command, and answers with the result of `read` for its reply. `nil` from `read` means that the reply
    /// violates Redis' documentation, and ends the connection. Without `answer`, the engine gets the answer.
    private func ask(
        _ id: UpstreamID, _ arguments: [ByteBuffer], _ read: @escaping (RESPValue) -> UpstreamReply?,
        answer: ((UpstreamReply) -> Void)? = nil
    ) {
        guard let connection else { return }
        let isTaken = connection.send(arguments) { [self] reply in
            if case .error(let text) = reply {
                self.answer(id, .failed(failure(text)), answer)
            } else if let result = read(reply) {
                self.answer(id, result, answer)
            } else {
                connection.close(reason: "an unexpected reply to \(arguments[0].escaped)")
            }
        }
        if !isTaken { refuse(id, answer) }
    }

    private func answer(_ id: UpstreamID, _ reply: UpstreamReply, _ answer: ((UpstreamReply) -> Void)?) {
        if let answer { answer(reply) } else { deliver(.reply(id, reply)) }
    }

    /// Answers later, as Redis would: the engine is in the middle of performing its effects.
    private func refuse(_ id: UpstreamID, _ answer: ((UpstreamReply) -> Void)?) {
        eventLoop.assumeIsolated().execute { [weak self] in
            self?.answer(id, .failed(.refused("too many commands wait for Redis")), answer)
        }
    }

    /// Runs a script by its name where the server knows it.
    private func run(
        _ id: UpstreamID, _ script: RedisScript, _ call: CommandEncoding.ScriptCall,
        _ read: @escaping (RESPValue) -> UpstreamReply?, answer: ((UpstreamReply) -> Void)? = nil
    ) {
        guard let connection else { return }
        guard let name = scripts.name(of: script) else {
            learnName(of: script, connection)
            return ask(id, Self.whole(script, call), read, answer: answer)
        }
        var call = call
        call[1] = name
        let isTaken = connection.send(call) { [self, call] reply in
            if case .error(let text) = reply {
                if scripts.refused(script, text) {
                    // Nothing has been run. EVAL works wherever scripts do.
                    ask(id, Self.whole(script, call), read, answer: answer)
                    connection.flush()
                } else {
                    self.answer(id, .failed(failure(text)), answer)
                }
            } else if let result = read(reply) {
                self.answer(id, result, answer)
            } else {
                connection.close(reason: "an unexpected reply of a script")
            }
        }
        if !isTaken { refuse(id, answer) }
    }

    /// The call with the script's source.
    private static func whole(_ script: RedisScript, _ call: CommandEncoding.ScriptCall) -> [ByteBuffer] {
        [.word("EVAL"), script.source] + call[2...]
    }

    // MARK: Values

    private func get(_ id: UpstreamID, _ key: ByteBuffer) {
        get(id, key, longest: LongValues.shortBytes) { [weak self] reply in
            guard let self else { return }
            if case .long(let bytes) = reply, self.longValues.add(LongValues.Query(id: id, key: key, bytes: bytes)) {
                self.getLongValues()
            } else {
                self.deliver(.reply(id, reply))
            }
        }
    }

    private func getLongValues() {
        while let query = longValues.next() {
            get(query.id, query.key, longest: .max) { [weak self] reply in
                self?.longValues.answered(query.id)
                self?.deliver(.reply(query.id, reply))
                self?.getLongValues()
            }
            connection?.flush()
        }
    }

    private func get(
        _ id: UpstreamID, _ key: ByteBuffer, longest: Int, answer: @escaping (UpstreamReply) -> Void
    ) {
        run(id, .get, encoding.get(key, longest: longest), ReplyDecoding.get, answer: answer)
    }

    private func learnName(of script: RedisScript, _ connection: RedisConnection) {
        guard scripts.shouldLearn(script) else { return }
        connection.send([.word("SCRIPT"), .word("LOAD"), script.source]) { [weak self] reply in
            self?.scripts.learnt(script, reply)
        }
    }

    private func append(_ id: UpstreamID, _ append: AppendCommand) {
        let channel = append.body.eventChannel
        run(id, isCluster ? .shardedAppend : .append, encoding.append(append)) { [self] reply in
            guard let (answer, refusal) = ReplyDecoding.append(reply) else { return nil }
            if let refusal, let channel {
                channelRefused(channel, refusal, "its events reach nobody")
            }
            return answer
        }
    }

    /// Reads incarnation and position, and from time to time the role: a demoted primary continues to answer, possibly
    /// with old data.
    private func probe(_ id: UpstreamID, _ feeds: [ByteBuffer]) {
        let sentAt = NIODeadline.now()
        var isReplica = false
        probes += 1
        let isAfterPause = NIODeadline.now() - askedAt.previous > Self.pause
        if isAfterPause || probes % Self.probesPerRole == 0, !isRoleForbidden {
            connection?.send([.word("ROLE")]) { [weak self] reply in
                switch reply {
                case .error(let text): if ForbiddenCommand.isRefusal(text) { self?.isRoleForbidden = true }
                default: isReplica = ReplyDecoding.isReplica(reply)
                }
            }
        }
        ask(id, encoding.probe(feeds: feeds)) { [weak self] reply in
            if isReplica { return .failed(.wrongRole("Redis has become a replica")) }
            let answer = ReplyDecoding.probe(reply, feeds: feeds)
            if answer != nil { self?.roundTrips.add(UInt64(clamping: (NIODeadline.now() - sentAt).nanoseconds)) }
            return answer
        }
    }

    /// Reads entries between two readings of the record: if both name the same log, the entries are of that log. A
    /// replaced record never comes back. (A script would see one instant, but takes ten times as long to make Lua
    /// tables of the entries.)
    private func read(_ id: UpstreamID, after: LogPosition, count: Int) {
        guard let connection else { return }
        var before: Incarnation?
        var entries: RESPValue?
        let count = min(count, longestPage)
        connection.send(encoding.readRecord) { before = ReplyDecoding.incarnation($0) }
        connection.send(encoding.readEntries(after: after, count: count)) { entries = $0 }
        ask(id, encoding.readRecord) { ReplyDecoding.page(entries, count: count, before: before, after: $0) }
    }

    private func inspect(_ id: UpstreamID, lastApplied: LogPosition) {
        guard let connection else { return }
        // INFO is read again: the role may have changed since the connection was made.
        connection.send([.word("INFO")]) { [weak self] reply in
            if case .bulkString(let text) = reply { self?.info = ServerInfo(text) }
        }
        run(id, .inspect, encoding.inspect(lastApplied: lastApplied)) { [weak self] reply in
            ReplyDecoding.inspect(reply, lastApplied: lastApplied, info: self?.info)
        }
    }

    // MARK: Subscriptions

    /// The log is subscribed last: a subscriber that receives one of its entries also receives the event that directly
    /// follows it.
    private func subscribeToLog(_ connection: RedisConnection) {
        commands.tryNow()
        connection.becomeSubscriber()
        refusedChannels.removeAll()
        isPartial = false
        changeSubscription("SUBSCRIBE", bridgedChannels)
        if isCluster || subscription.info?.isClusterNode == true { subscribeToShard(connection) }
        connection.sendSubscription([.word("SUBSCRIBE"), encoding.keys.logChannel]) { [weak connection] text in
            connection?.close(ConnectionLoss(redisError: text))
        }
    }

    /// The sharded channel of the log, in addition to the classic one: hosts that may not publish on it publish there. A
    /// server before 7.0 has none.
    private func subscribeToShard(_ connection: RedisConnection) {
        let channel = encoding.keys.logChannel
        connection.sendSubscription([.word("SSUBSCRIBE"), channel]) { [weak self, weak connection] text in
            guard let self else { return }
            if String(buffer: text).hasPrefix("NOPERM") {
                isPartial = true
                channelRefused(channel, text, "entries of other hosts come by probes only: +ssubscribe")
            } else if isCluster, !ForbiddenCommand.isRefusal(text) {
                for link in [commands, subscription] { link.follow(moved: text) }
                connection?.close(ConnectionLoss(redisError: text))
            }
        }
    }

    /// One command for each name: Redis refuses a forbidden channel together with all others of the command.
    private func changeSubscription(_ command: StaticString, _ names: [ByteBuffer]) {
        guard subscription.isReady else { return }
        for name in names {
            subscription.connection?.sendSubscription([.word(command), name]) { [weak self] text in
                self?.channelRefused(name, text, "only events of this host will come")
            }
        }
    }

    private func channelRefused(_ name: ByteBuffer, _ text: ByteBuffer, _ consequence: String) {
        let channel = name.escaped
        guard refusedChannels.count < Self.maximumRefusedShown, refusedChannels[channel] == nil else { return }
        refusedChannels[channel] = consequence
        logger.warning(
            "Redis refuses a channel",
            metadata: [
                "channel": "\(channel)", "consequence": "\(consequence)", "error": "\(text.escaped)",
            ])
    }
}
