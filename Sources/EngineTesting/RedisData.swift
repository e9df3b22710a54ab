import IPCWire
import NIOCore
import SyncCore

/// A model of syncd's data on a Redis server, with the operations of the scripts in
/// Sources/syncd/Redis/RedisScripts.swift. Tests compare the model with a real server, command by command.
package struct RedisData {
    /// A key that should hold a string.
    package enum Text: Equatable {
        case missing
        case text(String)
        /// A key of another type.
        case other
    }

    package enum Stream: Equatable {
        case missing
        /// Entries, and the greatest id ever used: it stays when entries are deleted.
        case entries([LogEntry], lastID: LogPosition)
        case other
    }

    package struct Value: Equatable {
        package var entry: ByteBuffer
        /// Milliseconds are counted from some fixed instant.
        package var expiresAt: UInt64

        package init(entry: ByteBuffer, expiresAt: UInt64) {
            self.entry = entry
            self.expiresAt = expiresAt
        }
    }

    package var record = Text.missing
    package var position = Text.missing
    package var stream = Stream.missing
    package var values: [ByteBuffer: Value] = [:]
    /// Events of other programs whose append was accepted a short while ago, and the tags of that append.
    private var bridged: [BridgedEvent: (tags: [ByteBuffer], expiresAt: UInt64)] = [:]
    private static let bridgedMilliseconds: UInt64 = 10_000

    /// Who reads a change feed.
    private var feedHolders: [ByteBuffer: (holder: ByteBuffer, expiresAt: UInt64)] = [:]
    /// The tokens of a feed, each with the position of the log when it was stored: the last one counts.
    private var feedTokens: [ByteBuffer: [(position: LogPosition, token: ByteBuffer)]] = [:]

    package init() {}

    // MARK: Content

    /// The incarnation in the record, if the record is sound.
    package var incarnation: Incarnation? {
        if case .text(let text) = record { Self.soundIncarnation(text) } else { nil }
    }

    /// The position, if it is a number.
    package var readablePosition: LogPosition? {
        if case .text(let text) = position { Self.position(text) } else { nil }
    }

    package var entries: [LogEntry] { if case .entries(let entries, _) = stream { entries } else { [] } }

    // MARK: The record

    /// `^(%x+) ` of the record, where that is an incarnation.
    private static func incarnation(_ record: String) -> Incarnation? {
        guard let space = record.firstIndex(of: " ") else { return nil }
        return Incarnation(String(record[..<space]))
    }

    private static func identity(_ record: String) -> ServerIdentity? {
        let words = record.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[1] != "-", words[2] != "-" else { return nil }
        return ServerIdentity(runID: String(words[1]), replicationID: String(words[2]))
    }

    /// A record is used only if it has three words.
    private static func soundIncarnation(_ record: String) -> Incarnation? {
        record.split(separator: " ", omittingEmptySubsequences: false).count == 3 ? incarnation(record) : nil
    }

    private static func record(_ incarnation: Incarnation, _ identity: ServerIdentity?) -> String {
        "\(incarnation.description) \(identity?.runID ?? "-") \(identity?.replicationID ?? "-")"
    }

    private static func position(_ text: String) -> LogPosition? {
        guard (1...16).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = UInt64(text), number <= WireLimits.maximumNumber
        else { return nil }
        return LogPosition(number)
    }

    // MARK: Commands

    /// The result of a command.
    package struct Execution {
        /// `nil`: the command has no reply.
        package var reply: UpstreamReply?
        /// The message on the log channel.
        package var published: UpstreamEvent?
        /// The event that is published directly after that message.
        package var event: Event?

        package init(reply: UpstreamReply? = nil, published: UpstreamEvent? = nil, event: Event? = nil) {
            self.reply = reply
            self.published = published
            self.event = event
        }
    }

    /// Executes a command of a syncd.
    ///
    /// - Parameters:
    ///   - identity: the server's identity as that syncd knows it.
    ///   - info: identity and role in the INFO that precedes an inspection.
    ///   - now: milliseconds since some fixed instant.
    package mutating func execute(
        _ command: UpstreamCommand, identity: ServerIdentity?, info: (identity: ServerIdentity?, isPrimary: Bool),
        now: UInt64
    ) -> Execution {
        switch command {
        case .inspect(_, let last): return Execution(reply: .inspected(inspection(lastApplied: last, info)))
        case .append(_, let append): return self.append(append, identity: identity, now: now)
        case .probe(_, let feeds): return Execution(reply: probe(feeds, now: now))
        case .feed(_, let feed): return Execution(reply: self.feed(feed, now: now))
        case .read(_, let after, let count): return Execution(reply: read(after: after, count: count))
        case .replace(_, let replace): return self.replace(replace, identity: identity)
        case .publish(_, let event): return Execution(reply: .published(receivers: 1), event: event)
        case .get(_, let key): return Execution(reply: get(key, now: now))
        case .set(let key, let entry, let ttl):
            values[key] = Value(entry: entry, expiresAt: now + ttl)
            return Execution()
        case .subscribe, .unsubscribe, .patternSubscribe, .patternUnsubscribe, .reconnect: return Execution()
        }
    }

    // MARK: Scripts

    private mutating func append(_ append: AppendCommand, identity: ServerIdentity?, now: UInt64) -> Execution {
        func damaged(_ why: String) -> Execution { Execution(reply: .failed(.damaged("DAMAGED " + why))) }
        if record == .other { return damaged("incarnation") }
        if position == .other { return damaged("position") }
        var current: LogPosition = 0
        if case .text(let text) = position {
            guard let readable = Self.position(text) else { return damaged("position is no number") }
            current = readable
        }
        let incarnation: Incarnation
        if case .text(let text) = record {
            guard Self.incarnation(text) == append.incarnation else {
                return Execution(reply: .otherIncarnation(Self.incarnation(text)))
            }
            incarnation = append.incarnation
            if let known = append.bridged.flatMap({ bridged[$0] }), known.expiresAt > now,
                known.tags == append.body.tags
            {
                return Execution(reply: .alreadyBridged(incarnation))
            }
            if let feed = append.feed {
                let isHolder = holder(of: feed.name, now: now).map { FeedCommand.isSame($0, feed.holder) } ?? false
                if !isHolder { return Execution(reply: .feedRoleLost(incarnation)) }
            }
        } else {
            incarnation = append.fresh
        }
        // The type of the stream shows when the entry is added.
        if stream == .other { return damaged("stream") }
        var (entries, lastID): ([LogEntry], LogPosition) = ([], 0)
        if case .entries(let present, let last) = stream { (entries, lastID) = (present, last) }
        stream = .missing
        defer {
            if case .missing = stream, lastID > 0 || !entries.isEmpty { stream = .entries(entries, lastID: lastID) }
        }
        if record == .missing { current = max(current, entries.last?.position ?? 0) }
        current += 1
        guard current > lastID else { return damaged("the stream is ahead of the position") }
        let entry = LogEntry(position: current, body: append.body)
        entries.append(entry)
        lastID = current
        stream = .entries(entries, lastID: lastID)
        position = .text(current.description)
        if record == .missing { record = .text(Self.record(incarnation, identity)) }
        if let feed = append.feed { keep(feed, now: now) }
        if let name = append.bridged { bridged[name] = (append.body.tags, now + Self.bridgedMilliseconds) }
        var event: Event?
        if let channel = append.body.eventChannel, let payload = append.eventPayload {
            event = Event(channel: channel, payload: payload)
        }
        return Execution(
            reply: .appended(incarnation, position: current), published: .published(incarnation, entry), event: event)
    }

    private func inspection(
        lastApplied: LogPosition, _ info: (identity: ServerIdentity?, isPrimary: Bool)
    ) -> Inspection {
        var raw: ByteBuffer?
        var recorded: ServerIdentity?
        if case .text(let text) = record {
            raw = ByteBuffer(string: text)
            if incarnation != nil { recorded = Self.identity(text) }
        }
        return Inspection(
            identity: info.identity, serverVersion: "model", isPrimary: info.isPrimary, rawRecord: raw,
            incarnation: isSound ? incarnation : nil, recordedIdentity: recorded, position: readablePosition ?? 0,
            firstEntry: entries.first?.position, lastEntry: entries.last?.position,
            entryAtLastApplied: Self.find(lastApplied, in: entries), warnings: [])
    }

    /// Whether entries can be appended: without a readable position there is no log.
    private var isSound: Bool { record != .other && stream != .other && readablePosition != nil }

    private static func find(_ position: LogPosition, in entries: [LogEntry]) -> LogEntry? {
        let index = position == 0 ? 0 : Self.firstIndex(after: position - 1, in: entries)
        return index < entries.count && entries[index].position == position ? entries[index] : nil
    }

    private static func firstIndex(after position: LogPosition, in entries: [LogEntry]) -> Int {
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].position > position { high = middle } else { low = middle + 1 }
        }
        return low
    }

    private mutating func replace(_ replace: ReplaceCommand, identity: ServerIdentity?) -> Execution {
        var present: String?
        if case .text(let text) = record { present = text }
        var current = readablePosition ?? 0
        guard present == replace.expected.map({ String(buffer: $0) }) else {
            let incarnation = present.flatMap(Self.incarnation) ?? .none
            return Execution(reply: .replaced(incarnation, position: current))
        }
        current = max(current, entries.last?.position ?? 0, replace.floor)
        stream = .missing
        position = .text(current.description)
        record = .text(Self.record(replace.fresh, identity))
        return Execution(reply: .replaced(replace.fresh, position: current), published: .publishedUnreadable)
    }

    // MARK: Plain commands

    private func probe(_ feeds: [ByteBuffer], now: UInt64) -> UpstreamReply {
        .probed(
            readablePosition == nil ? nil : incarnation, position: readablePosition ?? 0,
            feeds: feeds.map { FeedHolder(name: $0, holder: holder(of: $0, now: now)) })
    }

    private func holder(of feed: ByteBuffer, now: UInt64) -> ByteBuffer? {
        feedHolders[feed].flatMap { $0.expiresAt > now ? $0.holder : nil }
    }

    package func feedToken(_ feed: ByteBuffer) -> ByteBuffer? { feedTokens[feed]?.last?.token }

    private mutating func feed(_ feed: FeedCommand, now: UInt64) -> UpstreamReply {
        let holder = holder(of: feed.name, now: now)
        if !(holder.map { FeedCommand.isSame($0, feed.holder) } ?? false) {
            if feed.token != nil { return .feed(isHolder: false, token: nil) }
            if let holder, !FeedCommand.isIdle(holder) || FeedCommand.isIdle(feed.holder) {
                return .feed(isHolder: false, token: nil)
            }
        }
        keep(feed, now: now)
        return .feed(isHolder: true, token: feed.token == nil ? feedToken(feed.name) : nil)
    }

    private mutating func keep(_ feed: FeedCommand, now: UInt64) {
        feedHolders[feed.name] = (feed.holder, now + feed.ttlMilliseconds)
        guard let token = feed.token else { return }
        let position = readablePosition ?? 0
        feedTokens[feed.name, default: []].removeAll { $0.position >= position }
        feedTokens[feed.name]?.append((position, token))
    }

    private func read(after: LogPosition, count: Int) -> UpstreamReply {
        switch stream {
        case .missing: return .entries(incarnation, [])
        case .other: return .failed(.damaged("DAMAGED stream"))
        case .entries(let entries, _):
            let start = Self.firstIndex(after: after, in: entries)
            return .entries(incarnation, Array(entries[start..<min(entries.count, start + count)]))
        }
    }

    private func get(_ key: ByteBuffer, now: UInt64) -> UpstreamReply {
        guard let value = values[key], value.expiresAt > now else { return .got(entry: nil, ttlMilliseconds: 0) }
        return .got(entry: value.entry, ttlMilliseconds: value.expiresAt - now)
    }

    // MARK: Faults

    /// The reader of a feed was silent for too long.
    package mutating func expireFeedHolder(_ feed: ByteBuffer) { feedHolders[feed] = nil }

    package mutating func flushAll() { self = RedisData() }

    package mutating func trim(to count: Int) {
        guard case .entries(let entries, let last) = stream else { return }
        stream = .entries(Array(entries.suffix(count)), lastID: last)
    }

    package mutating func deleteEntry(at index: Int) {
        guard case .entries(var entries, let last) = stream, entries.indices.contains(index) else { return }
        entries.remove(at: index)
        stream = .entries(entries, lastID: last)
    }

    /// The data before the last entry, without values and names of events, which may be younger.
    package var withoutLastEntry: RedisData? {
        guard case .entries(var entries, let last) = stream, entries.popLast()?.position == last else { return nil }
        var data = self
        data.stream = .entries(entries, lastID: last - 1)
        data.position = .text((last - 1).description)
        (data.values, data.bridged, data.feedHolders) = ([:], [:], [:])
        for name in data.feedTokens.keys { data.feedTokens[name]?.removeAll { $0.position >= last } }
        return data
    }
}

extension UpstreamCommand {
    /// The id in the command's reply; `nil`: there is no reply.
    package var id: UpstreamID? {
        switch self {
        case .inspect(let id, _), .append(let id, _), .probe(let id, _), .feed(let id, _), .read(let id, _, _),
            .replace(let id, _),
            .publish(let id, _), .get(let id, _):
            id
        case .set, .subscribe, .unsubscribe, .patternSubscribe, .patternUnsubscribe, .reconnect: nil
        }
    }
}
