import IPCWire
import Logging
import NIOCore
import SyncCore

/// The server that holds the shared log, on a real Redis or Valkey: two connections, one for commands and one for
/// subscriptions, each kept up by itself. Carries out the engine's commands, delivers its events, decides nothing.
final class RedisUpstream {
    private let keys: RedisKeys
    private let bridgedChannels: [ByteBuffer]
    private let endpoint: RedisEndpoint
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let deliver: (UpstreamEvent) -> Void
    private let commands: RedisLink
    private let subscription: RedisLink
    private var watch: SentinelWatch?
    /// Called when all received data have been delivered: the turn may end.
    var onChunkEnd: () -> Void = {}
    /// The last INFO of the connected server.
    private var info: ServerInfo? {
        didSet {
            let identity = info?.identity
            identityArguments = [identity?.runID ?? "-", identity?.replicationID ?? "-"].map { ByteBuffer(string: $0) }
        }
    }
    /// The identity of the process, in the form of the scripts' arguments.
    private var identityArguments: [ByteBuffer] = [.word("-"), .word("-")]
    private var scripts = ScriptNames()
    private var roundTrips = LatencyRing()
    private var probes = 0
    /// ROLE was refused: the server's role shows only at inspections and when it refuses to write.
    private var isRoleForbidden = false
    /// Maximum number of entries of one page: lower after a page that was too long for the reader.
    private var longestPage = Int.max
    /// Channels that the server refuses, and the consequence of each.
    private var refusedChannels: [String: String] = [:]

    /// Approximate number of entries in the stream.
    private static let retainedEntries = ByteBuffer(string: "100000")
    /// Time for which an event of another program is remembered. A host that is further behind than this appends once
    /// more, which is harmless.
    private static let bridgedMilliseconds = "10000"
    /// Values are sent only while at most this many bytes wait for the server.
    private static let maximumUnsentBeforeSet = 2 << 20
    /// One in N probes reads the role, too.
    private static let probesPerRole = 4
    private static let maximumRefusedShown = 16
    private static let evalWord = ByteBuffer.word("EVALSHA")
    private static let keyCounts = (0...4).map { ByteBuffer.number(UInt64($0)) }

    init(
        endpoint: RedisEndpoint, tls: TLSSettings? = nil, keys: RedisKeys, bridgedChannels: [ByteBuffer],
        eventLoop: any EventLoop, logger: Logger, deliver: @escaping (UpstreamEvent) -> Void
    ) {
        self.endpoint = endpoint
        self.keys = keys
        self.bridgedChannels = bridgedChannels
        self.eventLoop = eventLoop
        self.logger = logger
        self.deliver = deliver
        let connector = RedisConnector(for: endpoint, tls: tls, eventLoop: eventLoop, logger: logger)
        func link(_ name: String) -> RedisLink {
            RedisLink(endpoint: endpoint, connector: connector, clientName: name, logger: logger)
        }
        commands = link("syncd")
        subscription = link("syncd-subscriptions")
        commands.onReady = { [weak self] _, info in self?.commandsReady(info) }
        commands.onLost = { [weak self] loss in self?.commandsLost(loss) }
        subscription.onReady = { [weak self] connection, _ in self?.subscribeToLog(connection) }
        subscription.onLost = { [weak self] loss in self?.deliver(.subscriptionDisconnected(reason: loss.reason)) }
        subscription.onMessage = { [weak self] parts in self?.message(parts) }
        for link in [commands, subscription] { link.onChunkEnd = { [weak self] in self?.onChunkEnd() } }
        if case .sentinel(let group) = endpoint.address {
            watch = SentinelWatch(
                group, connector: connector, present: { [weak self] in self?.commands.primary },
                onMoved: { [weak self] answer in self?.primaryMoved(answer) })
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
        if isRoleForbidden {
            warnings.append("ROLE is forbidden: a demoted primary is noticed when it refuses to write")
        }
        let refused = refusedChannels.sorted { $0.key < $1.key }.prefix(Self.maximumRefusedShown)
        return warnings + refused.map { "channel \($0.key) is refused: \($0.value)" }
    }

    private func commandsLost(_ loss: ConnectionLoss) {
        // The next server may know other scripts and allow other commands.
        scripts = ScriptNames()
        isRoleForbidden = false
        if loss.isTooLong { longestPage = max(1, min(longestPage, 512) / 2) }
        deliver(.commandsDisconnected(reason: loss.reason))
    }

    private func primaryMoved(_ answer: SentinelAnswer) {
        let address = RedisEndpoint.text(host: answer.host, port: answer.port)
        logger.notice("the sentinels name another primary", metadata: ["primary": "\(address)"])
        for link in [commands, subscription] { link.reconnect(reason: "the sentinels name another primary") }
    }

    // MARK: Commands

    private func commandsReady(_ info: ServerInfo?) {
        subscription.tryNow()
        self.info = info
        deliver(.commandsConnected)
    }

    func send(_ command: UpstreamCommand) {
        switch command {
        case .inspect(let id, let last): inspect(id, lastApplied: last)
        case .append(let id, let append): self.append(id, append)
        case .probe(let id): probe(id)
        case .read(let id, let after, let count): read(id, after: after, count: count)
        case .replace(let id, let replace): self.replace(id, replace)
        case .publish(let id, let event):
            ask(id, [.word("PUBLISH"), event.channel, event.payload]) { reply in
                guard case .integer(let count) = reply else { return nil }
                return .published(receivers: UInt64(clamping: count))
            }
        case .get(let id, let key): get(id, key)
        case .set(let key, let entry, let ttl):
            // Appends must not wait for a value, and a value that is not stored is no error.
            guard let connection, connection.unsentBytes < Self.maximumUnsentBeforeSet else { return }
            connection.send(
                [.word("SET"), keys.value(key), entry, .word("PX"), .number(ttl)], handler: { _ in })
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

    /// Sends a command and delivers the result of `read` for its reply. `nil` from `read` means that the reply violates
    /// Redis' documentation, and ends the connection.
    private func ask(
        _ id: UpstreamID, _ arguments: [ByteBuffer], _ read: @escaping (RESPValue) -> UpstreamReply?
    ) {
        guard let connection else { return }
        let isTaken = connection.send(arguments) { [weak self] reply in
            guard let self else { return }
            if case .error(let text) = reply {
                self.deliver(.reply(id, .failed(UpstreamFailure(redisError: text))))
            } else if let answer = read(reply) {
                self.deliver(.reply(id, answer))
            } else {
                connection.close(reason: "an unexpected reply to \(arguments[0].escaped)")
            }
        }
        if !isTaken { refuse(id, "too many commands wait for Redis") }
    }

    /// Answers later, as Redis would: the engine is in the middle of performing its effects.
    private func refuse(_ id: UpstreamID, _ why: String) {
        eventLoop.assumeIsolated().execute { [weak self] in self?.deliver(.reply(id, .failed(.refused(why)))) }
    }

    /// Runs a script by its name where the server knows it.
    private func run(
        _ id: UpstreamID, _ script: RedisScript, on keys: [ByteBuffer], _ arguments: [ByteBuffer] = [],
        _ read: @escaping (RESPValue) -> UpstreamReply?
    ) {
        var tail = [Self.keyCounts[keys.count]]
        tail.reserveCapacity(1 + keys.count + arguments.count)
        tail += keys
        tail += arguments
        guard let connection else { return }
        guard let name = scripts.name(of: script) else {
            learnName(of: script, connection)
            return ask(id, [.word("EVAL"), script.source] + tail, read)
        }
        let isTaken = connection.send([Self.evalWord, name] + tail) { [weak self] reply in
            guard let self else { return }
            if case .error(let text) = reply {
                if self.scripts.refused(script, text) {
                    // Nothing has been run. EVAL works wherever scripts do.
                    self.ask(id, [.word("EVAL"), script.source] + tail, read)
                    connection.flush()
                } else {
                    self.deliver(.reply(id, .failed(UpstreamFailure(redisError: text))))
                }
            } else if let answer = read(reply) {
                self.deliver(.reply(id, answer))
            } else {
                connection.close(reason: "an unexpected reply of a script")
            }
        }
        if !isTaken { refuse(id, "too many commands wait for Redis") }
    }

    private func learnName(of script: RedisScript, _ connection: RedisConnection) {
        guard scripts.shouldLearn(script) else { return }
        connection.send([.word("SCRIPT"), .word("LOAD"), script.source]) { [weak self] reply in
            self?.scripts.learnt(script, reply)
        }
    }

    private func append(_ id: UpstreamID, _ append: AppendCommand) {
        var arguments = [append.incarnation.text, append.fresh.text]
        arguments.reserveCapacity(9)
        arguments += identityArguments
        arguments += [append.body.encoded(), keys.logChannel, Self.retainedEntries]
        if let channel = append.body.eventChannel, let payload = append.eventPayload {
            arguments += [channel, payload]
        } else if append.bridged != nil {
            arguments += [append.body.encodedTags(), ByteBuffer(string: Self.bridgedMilliseconds)]
        }
        run(id, .append, on: keys.log + [append.bridged].compactMap { $0.map(keys.bridged) }, arguments) {
            [weak self] reply in
            guard case .array(let parts) = reply, parts.count >= 2, case .integer(let isAppended) = parts[0],
                case .bulkString(let text) = parts[1]
            else { return nil }
            let incarnation = Incarnation(text)
            if isAppended == 2, let incarnation { return .alreadyBridged(incarnation) }
            guard isAppended == 1 else { return .otherIncarnation(incarnation) }
            guard let incarnation, (3...4).contains(parts.count), case .bulkString(let digits) = parts[2],
                let position = RedisNumber.position(digits)
            else { return nil }
            if parts.count == 4, let channel = append.body.eventChannel, let error = Self.bulk(parts[3]) {
                self?.channelRefused(channel, error, "its events reach nobody")
            }
            return .appended(incarnation, position: position)
        }
    }

    /// Reads incarnation and position, and from time to time the role: a demoted primary continues to answer, possibly
    /// with old data.
    private func probe(_ id: UpstreamID) {
        let sentAt = NIODeadline.now()
        var isReplica = false
        probes += 1
        if probes % Self.probesPerRole == 0, !isRoleForbidden {
            connection?.send([.word("ROLE")]) { [weak self] reply in
                switch reply {
                case .array(let parts): isReplica = parts.first.flatMap(Self.bulk).map(String.init(buffer:)) == "slave"
                case .error(let text): if ForbiddenCommand.isRefusal(text) { self?.isRoleForbidden = true }
                default: break
                }
            }
        }
        ask(id, [.word("MGET"), keys.incarnation, keys.position]) { [weak self] reply in
            if isReplica { return .failed(.wrongRole("Redis has become a replica")) }
            guard case .array(let parts) = reply, parts.count == 2 else { return nil }
            self?.roundTrips.add(UInt64(clamping: (NIODeadline.now() - sentAt).nanoseconds))
            // Without a readable position there is no log: 0 could be the applied position of a host.
            guard let position = Self.position(parts[1]) else { return .probed(nil, position: 0) }
            return .probed(LogRecord(parts[0])?.incarnation, position: position)
        }
    }

    /// Reads entries between two readings of the record: if both name the same log, the entries are of that log. A
    /// replaced record never comes back. (A script would see one instant, but takes ten times as long to make Lua
    /// tables of the entries.)
    private func read(_ id: UpstreamID, after: UInt64, count: Int) {
        guard let connection else { return }
        var before: Incarnation?
        var entries: RESPValue?
        let count = min(count, longestPage)
        // MGET finds nothing in a key of another type, where GET would fail.
        let readRecord = [ByteBuffer.word("MGET"), keys.incarnation]
        connection.send(readRecord) { before = Self.incarnation($0) }
        connection.send([
            .word("XRANGE"), keys.stream, ByteBuffer(string: "\(after + 1)-0"), .word("+"), .word("COUNT"),
            .number(UInt64(count)),
        ]) { entries = $0 }
        ask(id, readRecord) { reply in
            if case .error(let text) = entries { return .failed(UpstreamFailure(redisError: text)) }
            guard case .array(let items) = entries, items.count <= count else { return nil }
            guard let entries = Self.entries(items) else {
                return .failed(.damaged("an entry of the stream is unreadable"))
            }
            let incarnation = Self.incarnation(reply)
            return incarnation == before ? .entries(incarnation, entries) : .entries(nil, [])
        }
    }

    /// The incarnation in a reply to MGET of the record.
    private static func incarnation(_ reply: RESPValue) -> Incarnation? {
        guard case .array(let parts) = reply, parts.count == 1 else { return nil }
        return LogRecord(parts[0])?.incarnation
    }

    private static func entries(_ items: [RESPValue]) -> [LogEntry]? {
        var entries: [LogEntry] = []
        entries.reserveCapacity(items.count)
        for item in items {
            guard case .array(let parts) = item, parts.count == 2, case .bulkString(let idText) = parts[0],
                let position = RedisNumber.streamID(idText), case .array(let fields) = parts[1],
                fields.count >= 2, case .bulkString(let bytes) = fields[1],
                let body = LogEntryBody(encoded: bytes)
            else { return nil }
            entries.append(LogEntry(position: position, body: body))
        }
        return entries
    }

    private func inspect(_ id: UpstreamID, lastApplied: UInt64) {
        guard let connection else { return }
        // INFO is read again: the role may have changed since the connection was made.
        connection.send([.word("INFO")]) { [weak self] reply in
            if case .bulkString(let text) = reply { self?.info = ServerInfo(text) }
        }
        run(id, .inspect, on: keys.log, [.number(lastApplied)]) { [weak self] reply in
            let info = self?.info
            guard case .array(let parts) = reply, parts.count == 6, case .integer(let damaged) = parts[5] else {
                return nil
            }
            let record = LogRecord(parts[0])
            let raw: ByteBuffer? = if case .bulkString(let bytes) = parts[0] { bytes } else { nil }
            var entry: LogEntry?
            if case .bulkString(let bytes) = parts[4], let body = LogEntryBody(encoded: bytes) {
                entry = LogEntry(position: lastApplied, body: body)
            }
            // A stream with ids of another form holds no log, and neither does one without a position.
            let first = Self.bulk(parts[2]), last = Self.bulk(parts[3])
            let position = Self.position(parts[1])
            let isReadable =
                damaged == 0 && position != nil
                && [first, last].allSatisfy { $0 == nil || $0.flatMap(RedisNumber.streamID) != nil }
            return .inspected(
                Inspection(
                    identity: info?.identity, serverVersion: info?.version ?? "", isPrimary: info?.isPrimary ?? true,
                    rawRecord: raw, incarnation: isReadable ? record?.incarnation : nil,
                    recordedIdentity: record?.identity, position: position ?? 0,
                    firstEntry: first.flatMap(RedisNumber.streamID), lastEntry: last.flatMap(RedisNumber.streamID),
                    entryAtLastApplied: entry, warnings: info?.warnings ?? []))
        }
    }

    private static func bulk(_ value: RESPValue) -> ByteBuffer? {
        if case .bulkString(let bytes) = value { bytes } else { nil }
    }

    private static func position(_ value: RESPValue) -> UInt64? { bulk(value).flatMap(RedisNumber.position) }

    private func replace(_ id: UpstreamID, _ replace: ReplaceCommand) {
        var arguments = [ByteBuffer(string: replace.expected == nil ? "0" : "1"), replace.expected ?? ByteBuffer()]
        arguments.append(replace.fresh.text)
        arguments += identityArguments
        arguments += [.number(replace.floor), keys.logChannel]
        run(id, .replace, on: keys.log, arguments) { reply in
            guard case .array(let parts) = reply, parts.count == 2, case .bulkString(let text) = parts[0] else {
                return nil
            }
            return .replaced(
                Incarnation(text) ?? .none, position: Self.position(parts[1]) ?? 0)
        }
    }

    private func get(_ id: UpstreamID, _ key: ByteBuffer) {
        run(id, .get, on: [keys.value(key)]) { reply in
            guard case .array(let parts) = reply, parts.count == 2, case .integer(let ttl) = parts[0] else {
                return nil
            }
            return .got(
                entry: ttl > 0 ? Self.bulk(parts[1]) : nil, ttlMilliseconds: UInt64(clamping: ttl))
        }
    }

    // MARK: Subscriptions

    /// The log is subscribed last: a subscriber that receives one of its entries also receives the event that directly
    /// follows it.
    private func subscribeToLog(_ connection: RedisConnection) {
        commands.tryNow()
        connection.becomeSubscriber()
        refusedChannels.removeAll()
        changeSubscription("SUBSCRIBE", bridgedChannels)
        connection.sendSubscription([.word("SUBSCRIBE"), keys.logChannel]) { [weak connection] text in
            connection?.close(ConnectionLoss(redisError: text))
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

    private func message(_ parts: [RESPValue]) {
        let words = parts.map(Self.bulk)
        guard let kind = words.first ?? nil else { return }
        switch String(buffer: kind) {
        case "message":
            guard words.count == 3, let channel = words[1], let payload = words[2] else { return }
            guard channel == keys.logChannel else {
                if LogChannel.isOne(channel) { return }
                return deliver(.message(Event(channel: channel, payload: payload)))
            }
            if let (incarnation, entry) = LogEntry.decode(published: payload) {
                deliver(.published(incarnation, entry))
            } else {
                deliver(.publishedUnreadable)
            }
        case "pmessage":
            guard words.count == 4, let pattern = words[1], let channel = words[2], let payload = words[3] else {
                return
            }
            // A pattern that matches everything matches the channels of logs, which clients must not see.
            if LogChannel.isOne(channel) { return }
            deliver(.patternMessage(pattern: pattern, Event(channel: channel, payload: payload)))
        case "subscribe":
            if words.count == 3, words[1] == keys.logChannel {
                deliver(.subscriptionConnected(subscription.info?.identity))
            }
        default: break  // Confirmations, and the answers to PING.
        }
    }
}
