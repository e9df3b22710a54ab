import IPCWire
import NIOCore
import SyncCore

/// The log's data on a Redis server, with the operations of the scripts in Sources/syncd/Redis/RedisScripts.swift.
/// Tests compare it with a real server, command by command.
struct RedisData {
    /// A key that should hold a string.
    enum Text: Equatable {
        case missing
        case text(String)
        /// A key of another type.
        case other
    }

    enum Stream: Equatable {
        case missing
        /// Entries, and the greatest id ever used: it stays when entries are deleted.
        case entries([LogEntry], lastID: UInt64)
        case other
    }

    struct Value: Equatable {
        var entry: ByteBuffer
        /// Milliseconds are counted from some fixed instant.
        var expiresAt: UInt64
    }

    var record = Text.missing
    var position = Text.missing
    var stream = Stream.missing
    var values: [ByteBuffer: Value] = [:]

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

    private static func number(_ text: String) -> UInt64? {
        guard (1...16).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = UInt64(text), number <= WireLimits.maximumNumber
        else { return nil }
        return number
    }

    // MARK: Scripts

    struct Appended {
        var reply: UpstreamReply
        /// The message on the log channel.
        var published: (Incarnation, LogEntry)?
    }

    /// `identity`: the server's identity as the calling syncd knows it.
    mutating func append(_ append: AppendCommand, identity: ServerIdentity?) -> Appended {
        func damaged(_ why: String) -> Appended { Appended(reply: .failed(.damaged("DAMAGED " + why))) }
        if record == .other { return damaged("incarnation") }
        if position == .other { return damaged("position") }
        var current: UInt64 = 0
        if case .text(let text) = position {
            guard let number = Self.number(text) else { return damaged("position is no number") }
            current = number
        }
        let incarnation: Incarnation
        if case .text(let text) = record {
            guard Self.incarnation(text) == append.incarnation else {
                return Appended(reply: .otherIncarnation(Self.incarnation(text)))
            }
            incarnation = append.incarnation
        } else {
            incarnation = append.fresh
        }
        // The type of the stream shows when the entry is added.
        if stream == .other { return damaged("stream") }
        var (entries, lastID): ([LogEntry], UInt64) = ([], 0)
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
        position = .text(String(current))
        if record == .missing { record = .text(Self.record(incarnation, identity)) }
        return Appended(reply: .appended(incarnation, position: current), published: (incarnation, entry))
    }

    func inspection(
        lastApplied: UInt64, identity: ServerIdentity?, isPrimary: Bool, version: String, warnings: [String]
    ) -> Inspection {
        var raw: ByteBuffer?
        var incarnation: Incarnation?
        var recorded: ServerIdentity?
        if case .text(let text) = record {
            raw = ByteBuffer(string: text)
            incarnation = isSound ? Self.soundIncarnation(text) : nil
            if Self.soundIncarnation(text) != nil { recorded = Self.identity(text) }
        }
        var entries: [LogEntry] = []
        if case .entries(let present, _) = stream { entries = present }
        return Inspection(
            identity: identity, serverVersion: version, isPrimary: isPrimary, rawRecord: raw,
            incarnation: incarnation, recordedIdentity: recorded, position: visiblePosition ?? 0,
            firstEntry: entries.first?.position, lastEntry: entries.last?.position,
            entryAtLastApplied: Self.find(lastApplied, in: entries), warnings: warnings)
    }

    /// Whether entries can be appended: without a readable position there is no log.
    private var isSound: Bool { record != .other && stream != .other && visiblePosition != nil }

    private static func find(_ position: UInt64, in entries: [LogEntry]) -> LogEntry? {
        let index = Self.firstIndex(after: position &- 1, in: entries)
        return index < entries.count && entries[index].position == position ? entries[index] : nil
    }

    private static func firstIndex(after position: UInt64, in entries: [LogEntry]) -> Int {
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].position > position || position == .max { high = middle } else { low = middle + 1 }
        }
        return low
    }

    private var visiblePosition: UInt64? {
        if case .text(let text) = position { Self.number(text) } else { nil }
    }

    /// The log's incarnation and position after the attempt. `published`: the other hosts are told to check.
    mutating func replace(_ replace: ReplaceCommand, identity: ServerIdentity?) -> (UpstreamReply, published: Bool) {
        var present: String?
        if case .text(let text) = record { present = text }
        var current = visiblePosition ?? 0
        guard present == replace.expected.map({ String(buffer: $0) }) else {
            let incarnation = present.flatMap(Self.incarnation) ?? .none
            return (.replaced(incarnation, position: current), false)
        }
        if case .entries(let entries, _) = stream { current = max(current, entries.last?.position ?? 0) }
        current = max(current, replace.floor)
        stream = .missing
        position = .text(String(current))
        record = .text(Self.record(replace.fresh, identity))
        return (.replaced(replace.fresh, position: current), true)
    }

    // MARK: Plain commands

    func probe() -> UpstreamReply {
        var incarnation: Incarnation?
        if case .text(let text) = record, visiblePosition != nil { incarnation = Self.soundIncarnation(text) }
        return .probed(incarnation, position: visiblePosition ?? 0)
    }

    func read(after: UInt64, count: Int) -> UpstreamReply {
        let incarnation: Incarnation? = if case .text(let text) = record { Self.soundIncarnation(text) } else { nil }
        switch stream {
        case .missing: return .entries(incarnation, [])
        case .other: return .failed(.damaged("DAMAGED stream"))
        case .entries(let entries, _):
            let start = Self.firstIndex(after: after, in: entries)
            return .entries(incarnation, Array(entries[start..<min(entries.count, start + count)]))
        }
    }

    func get(_ key: ByteBuffer, now: UInt64) -> UpstreamReply {
        guard let value = values[key], value.expiresAt > now else { return .got(entry: nil, ttlMilliseconds: 0) }
        return .got(entry: value.entry, ttlMilliseconds: value.expiresAt - now)
    }

    mutating func set(_ key: ByteBuffer, _ entry: ByteBuffer, ttlMilliseconds: UInt64, now: UInt64) {
        values[key] = Value(entry: entry, expiresAt: now + ttlMilliseconds)
    }

    // MARK: Faults

    mutating func flushAll() { self = RedisData() }

    mutating func trim(to count: Int) {
        guard case .entries(let entries, let last) = stream else { return }
        stream = .entries(Array(entries.suffix(count)), lastID: last)
    }

    mutating func deleteEntry(at index: Int) {
        guard case .entries(var entries, let last) = stream, entries.indices.contains(index) else { return }
        entries.remove(at: index)
        stream = .entries(entries, lastID: last)
    }

    /// The data before the last entry, without values, which may be younger.
    var withoutLastEntry: RedisData? {
        guard case .entries(var entries, let last) = stream, entries.popLast()?.position == last else { return nil }
        var data = self
        data.stream = .entries(entries, lastID: last - 1)
        data.position = .text(String(last - 1))
        data.values = [:]
        return data
    }

    var entryCount: Int { if case .entries(let entries, _) = stream { entries.count } else { 0 } }
}
