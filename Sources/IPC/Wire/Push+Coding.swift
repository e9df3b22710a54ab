import NIOCore

extension Push {
    /// Writes the push; in RESP2 as an array, like Redis' messages.
    package func encode(into writer: inout RESPWriter) {
        switch self {
        case .invalidate(let position, let tags):
            writer.pushHeader(3)
            writer.word("invalidate")
            writer.integer(position.number)
            writer.arrayHeader(tags.count)
            for tag in tags { writer.bulkString(tag) }
        case .epoch(let epoch, let reason):
            writer.pushHeader(3)
            writer.word("epoch")
            writer.integer(epoch.number)
            writer.bulkString(reason.rawValue)
        case .heartbeat(let heartbeat):
            writer.pushHeader(6)
            writer.word("heartbeat")
            writer.integer(heartbeat.epoch.number)
            writer.integer(heartbeat.applied.number)
            writer.bulkString(heartbeat.state.label)
            writer.integer(heartbeat.heartbeat.number)
            writer.integer(heartbeat.freshAsOf.number)
        case .fetched(let ticket, let outcome):
            writer.pushHeader(2 + outcome.elementCount)
            writer.word("fetched")
            writer.integer(ticket)
            outcome.encode(into: &writer)
        case .message(let event):
            writer.pushHeader(3)
            writer.word("message")
            writer.bulkString(event.channel)
            writer.bulkString(event.payload)
        case .patternMessage(let pattern, let event):
            writer.pushHeader(4)
            writer.word("pmessage")
            writer.bulkString(pattern)
            writer.bulkString(event.channel)
            writer.bulkString(event.payload)
        }
    }

    private static let kinds: [StaticString] = [
        "fetched", "invalidate", "heartbeat", "epoch", "message", "pmessage", "subscribe", "unsubscribe", "psubscribe",
        "punsubscribe",
    ]

    /// Whether a push is of a kind that this version does not know. A client skips it: a later syncd may have more
    /// kinds.
    package static func isOfUnknownKind(_ value: RESPValue) -> Bool {
        guard case .push(let parts) = value, let kind = parts.first?.bytes else { return false }
        return !kinds.contains { kind.isWord($0) }
    }

    /// Decodes a received push. `nil`: the confirmation of a subscription, which RESP3 sends as a push as well.
    package static func decode(_ value: RESPValue) throws(MalformedReply) -> Push? {
        guard case .push(let parts) = value, let kind = parts.first?.bytes else { throw MalformedReply("a push") }
        var reader = PartReader(parts.dropFirst())
        if kind.isWord("fetched") {
            let ticket = try reader.number("ticket")
            return .fetched(ticket: ticket, try FetchOutcome(&reader))
        }
        if kind.isWord("invalidate") {
            return .invalidate(position: LogPosition(try reader.number("position")), tags: try reader.list("tags"))
        }
        if kind.isWord("heartbeat") {
            return .heartbeat(
                Heartbeat(
                    epoch: Epoch(try reader.number("epoch")), applied: LogPosition(try reader.number("applied")),
                    state: try reader.state(), heartbeat: BootTime(try reader.number("heartbeat")),
                    freshAsOf: BootTime(try reader.number("freshAsOf"))))
        }
        if kind.isWord("epoch") {
            let epoch = Epoch(try reader.number("epoch"))
            // A reason of a later version means the same: drop everything.
            return .epoch(epoch, reason: EpochReason(rawValue: try reader.text("reason")) ?? .discontinuous)
        }
        if kind.isWord("message") {
            return .message(Event(channel: try reader.bytes("channel"), payload: try reader.bytes("payload")))
        }
        if kind.isWord("pmessage") {
            let pattern = try reader.bytes("pattern")
            return .patternMessage(
                pattern: pattern, Event(channel: try reader.bytes("channel"), payload: try reader.bytes("payload")))
        }
        if SubscriptionKind(rawValue: String(buffer: kind)) != nil { return nil }
        throw MalformedReply("a push of a known kind")
    }
}
