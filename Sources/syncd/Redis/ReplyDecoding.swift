import IPCWire
import NIOCore
import SyncCore

/// The meaning of Redis' replies. `nil` everywhere: the reply is not what Redis' documentation, or our script, says.
enum ReplyDecoding {
    static let messageWord = ByteBuffer.word("message")
    private static let patternMessageWord = ByteBuffer.word("pmessage")
    static let shardMessageWord = ByteBuffer.word("smessage")
    static let shardUnsubscribeWord = ByteBuffer.word("sunsubscribe")
    /// The host of a node whose name is unknown to the others.
    private static let unknownHost = ByteBuffer.word("?")
    private static let subscribeWord = ByteBuffer.word("subscribe")

    /// A host and a port that a server names; `nil`: they are unusable. The host has 1 to 255 printable ASCII bytes.
    static func address(host: ByteBuffer, port: UInt64) -> ServerAddress? {
        guard (1...255).contains(host.readableBytes), host != unknownHost,
            host.readableBytesView.allSatisfy({ (0x21...0x7e).contains($0) }), (1...65_535).contains(port)
        else { return nil }
        return ServerAddress(host: String(buffer: host), port: Int(port))
    }

    static func bulk(_ value: RESPValue) -> ByteBuffer? {
        if case .bulkString(let bytes) = value { bytes } else { nil }
    }

    static func position(_ value: RESPValue) -> LogPosition? { bulk(value).flatMap(RedisNumber.position) }

    static func isReplica(_ role: RESPValue) -> Bool {
        guard case .array(let parts) = role else { return false }
        return parts.first.flatMap(bulk).map(String.init(buffer:)) == "slave"
    }

    static func publish(_ reply: RESPValue) -> UpstreamReply? {
        guard case .integer(let count) = reply else { return nil }
        return .published(receivers: UInt64(clamping: count))
    }

    static func get(_ reply: RESPValue) -> UpstreamReply? {
        guard case .array(let parts) = reply, parts.count == 2, case .integer(let ttl) = parts[0] else { return nil }
        if case .integer(let bytes) = parts[1] { return .long(bytes: Int(clamping: bytes)) }
        return .got(entry: ttl > 0 ? bulk(parts[1]) : nil, ttlMilliseconds: UInt64(clamping: ttl))
    }

    static func replace(_ reply: RESPValue) -> UpstreamReply? {
        guard case .array(let parts) = reply, parts.count == 2, let text = bulk(parts[0]) else { return nil }
        return .replaced(Incarnation(text) ?? .none, position: position(parts[1]) ?? 0)
    }

    /// `refusal`: why the event could not be published.
    static func append(_ reply: RESPValue) -> (reply: UpstreamReply, refusal: ByteBuffer?)? {
        guard case .array(let parts) = reply, parts.count >= 2, case .integer(let isAppended) = parts[0],
            let text = bulk(parts[1])
        else { return nil }
        let incarnation = Incarnation(text)
        if isAppended == 2, let incarnation { return (.alreadyBridged(incarnation), nil) }
        if isAppended == 3, let incarnation { return (.feedRoleLost(incarnation), nil) }
        guard isAppended == 1 else { return (.otherIncarnation(incarnation), nil) }
        guard let incarnation, (3...4).contains(parts.count), let position = position(parts[2]) else { return nil }
        return (.appended(incarnation, position: position), parts.count == 4 ? bulk(parts[3]) : nil)
    }

    static func probe(_ reply: RESPValue, feeds: [ByteBuffer] = []) -> UpstreamReply? {
        guard case .array(let parts) = reply, parts.count == 2 + feeds.count else { return nil }
        let holders = zip(feeds, parts[2...]).map { FeedHolder(name: $0, holder: bulk($1)) }
        // Without a readable position there is no log: 0 could be the applied position of a host.
        guard let position = position(parts[1]) else { return .probed(nil, position: 0, feeds: holders) }
        return .probed(LogRecord(parts[0])?.incarnation, position: position, feeds: holders)
    }

    static func feed(_ reply: RESPValue) -> UpstreamReply? {
        guard case .array(let parts) = reply, case .integer(let isHolder)? = parts.first else { return nil }
        return .feed(isHolder: isHolder == 1, token: parts.count > 1 ? bulk(parts[1]) : nil)
    }

    /// The incarnation in an answer to MGET of the record.
    static func incarnation(_ reply: RESPValue) -> Incarnation? {
        guard case .array(let parts) = reply, parts.count == 1 else { return nil }
        return LogRecord(parts[0])?.incarnation
    }

    /// A page of at most `count` entries, read between two readings of the record.
    static func page(
        _ entries: RESPValue?, count: Int, before: Incarnation?, after reply: RESPValue
    ) -> UpstreamReply? {
        if case .error(let text) = entries { return .failed(UpstreamFailure(redisError: text)) }
        guard case .array(let items) = entries, items.count <= count else { return nil }
        guard let entries = self.entries(items) else {
            return .failed(.damaged("an entry of the stream is unreadable"))
        }
        let incarnation = incarnation(reply)
        return incarnation == before ? .entries(incarnation, entries) : .entries(nil, [])
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

    static func inspect(_ reply: RESPValue, lastApplied: LogPosition, info: ServerInfo?) -> UpstreamReply? {
        guard case .array(let parts) = reply, parts.count == 6, case .integer(let damaged) = parts[5] else {
            return nil
        }
        let record = LogRecord(parts[0])
        var entry: LogEntry?
        if let bytes = bulk(parts[4]), let body = LogEntryBody(encoded: bytes) {
            entry = LogEntry(position: lastApplied, body: body)
        }
        // A stream with ids of another form holds no log, and neither does one without a position.
        let first = bulk(parts[2]), last = bulk(parts[3])
        let position = position(parts[1])
        let isReadable =
            damaged == 0 && position != nil
            && [first, last].allSatisfy { $0 == nil || $0.flatMap(RedisNumber.streamID) != nil }
        return .inspected(
            Inspection(
                identity: info?.identity, serverVersion: info?.version ?? "", isPrimary: info?.isPrimary ?? true,
                rawRecord: bulk(parts[0]), incarnation: isReadable ? record?.incarnation : nil,
                recordedIdentity: record?.identity, position: position ?? 0,
                firstEntry: first.flatMap(RedisNumber.streamID), lastEntry: last.flatMap(RedisNumber.streamID),
                entryAtLastApplied: entry, warnings: info?.warnings ?? []))
    }

    /// Whether a kind of message is not a confirmation.
    static func isMessage(_ kind: ByteBuffer) -> Bool {
        kind == messageWord || kind == patternMessageWord || kind == shardMessageWord
    }

    /// The event in a subscription's message; `nil`: nothing that matters. Its confirmation stands for the log's channel
    /// with the identity of the process at the other end.
    static func message(_ parts: [RESPValue], keys: RedisKeys, identity: ServerIdentity?) -> UpstreamEvent? {
        guard let kind = parts.first.flatMap(bulk) else { return nil }
        switch kind {
        case messageWord, shardMessageWord:
            guard parts.count == 3, let channel = bulk(parts[1]), let payload = bulk(parts[2]) else { return nil }
            guard channel == keys.logChannel else {
                return LogChannel.isOne(channel) ? nil : .message(Event(channel: channel, payload: payload))
            }
            guard let (incarnation, entry) = LogEntry.decode(published: payload) else { return .publishedUnreadable }
            return .published(incarnation, entry)
        case patternMessageWord:
            guard parts.count == 4, let pattern = bulk(parts[1]), let channel = bulk(parts[2]),
                let payload = bulk(parts[3]),
                // A pattern that matches everything matches the channels of logs, which clients must not see.
                !LogChannel.isOne(channel)
            else { return nil }
            return .patternMessage(pattern: pattern, Event(channel: channel, payload: payload))
        case subscribeWord:
            return parts.count == 3 && bulk(parts[1]) == keys.logChannel ? .subscriptionConnected(identity) : nil
        default: return nil  // Confirmations, and the answers to PING.
        }
    }
}
