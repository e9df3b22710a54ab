import NIOCore

/// A reply that is well-formed RESP but violates the protocol. The connection cannot be trusted any more.
package struct MalformedReply: Error, Sendable, Hashable, CustomStringConvertible {
    /// The expected reply.
    package var expected: String

    /// An error that names the expected reply.
    package init(_ expected: String) { self.expected = expected }

    /// The text for a log.
    package var description: String { "malformed reply: expected \(expected)" }
}

/// The reply to FETCH, as a client receives it.
package enum FetchReply: Sendable, Hashable {
    case outcome(FetchOutcome)
    /// The outcome comes as a push with this ticket.
    case wait(ticket: UInt64)
    case error(ReplyError)

    /// Decodes the reply to FETCH.
    package init(_ value: RESPValue) throws(MalformedReply) {
        if case .error(let text) = value {
            self = .error(ReplyError(text))
            return
        }
        guard case .array(let parts) = value else { throw MalformedReply("an array for FETCH") }
        if parts.first?.bytes?.isWord("wait") == true {
            var reader = PartReader(parts.dropFirst())
            self = .wait(ticket: try reader.number("ticket"))
            return
        }
        var reader = PartReader(parts[...])
        self = .outcome(try FetchOutcome(&reader))
    }
}

extension FetchOutcome {
    init(_ reader: inout PartReader) throws(MalformedReply) {
        let kind = try reader.bytes("an outcome")
        if kind.isWord("hit") {
            let value = try reader.optionalBytes("value")
            self = .hit(
                Hit(
                    value: value, asOf: LogPosition(try reader.number("asOf")),
                    ttlMilliseconds: try reader.number("ttl"),
                    tags: try reader.list("tags"), epoch: Epoch(try reader.number("epoch"))))
        } else if kind.isWord("lease") {
            self = .lease(
                Lease(
                    id: LeaseID(try reader.number("lease")), asOf: LogPosition(try reader.number("asOf")),
                    epoch: Epoch(try reader.number("epoch"))))
        } else if kind.isWord("miss") {
            self = .miss
        } else {
            throw MalformedReply("hit, lease or miss")
        }
    }
}

extension ReportedMetrics {
    /// Decodes the reply to `METRICS GET`. Further parts of an element are ignored.
    package static func decode(_ value: RESPValue) throws(MalformedReply) -> [ReportedMetrics] {
        guard case .array(let items) = value else { throw MalformedReply("an array for METRICS GET") }
        var reports: [ReportedMetrics] = []
        for item in items {
            guard case .array(let parts) = item else { throw MalformedReply("arrays in the reply to METRICS GET") }
            var reader = PartReader(parts[...])
            reports.append(
                ReportedMetrics(
                    worker: try reader.bytes("worker"), ageMilliseconds: try reader.number("age"),
                    text: try reader.bytes("text")))
        }
        return reports
    }
}

extension FeedRole {
    /// The reply to `FEED CLAIM`.
    package var reply: Reply {
        switch self {
        case .tail(let token): .array([.bulk(.word("tail")), token.map { .bulk($0) } ?? .null])
        case .wait: .array([.bulk(.word("wait"))])
        }
    }

    /// Decodes the reply to `FEED CLAIM`.
    package init(_ value: RESPValue) throws(MalformedReply) {
        guard case .array(let parts) = value else { throw MalformedReply("an array for FEED CLAIM") }
        var reader = PartReader(parts[...])
        let kind = try reader.bytes("a role")
        if kind.isWord("tail") {
            self = .tail(token: try reader.optionalBytes("token"))
        } else if kind.isWord("wait") {
            self = .wait
        } else {
            throw MalformedReply("tail or wait")
        }
    }
}

extension ReplyError {
    /// Decodes the text of an error reply: the first word is the code. An unknown code is a general error.
    package init(_ text: ByteBuffer) {
        let words = String(buffer: text).split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = words.first, let code = ErrorCode(rawValue: String(first)) else {
            self.init(.generic, String(buffer: text))
            return
        }
        self.init(code, words.count > 1 ? String(words[1]) : "")
    }
}

extension Greeting {
    /// Decodes the reply to HELLO, in either protocol version. Unknown fields are ignored.
    package init(_ value: RESPValue) throws(MalformedReply) {
        let fields = try StatusField.decode(value)
        func find(_ name: String) throws(MalformedReply) -> StatusValue {
            guard let field = fields.first(where: { $0.name == name }) else { throw MalformedReply("\(name) in HELLO") }
            return field.value
        }
        func text(_ name: String) throws(MalformedReply) -> String {
            guard case .bytes(let bytes) = try find(name) else { throw MalformedReply("text as \(name) in HELLO") }
            return String(buffer: bytes)
        }
        func number(_ name: String) throws(MalformedReply) -> UInt64 {
            guard case .number(let number) = try find(name) else {
                throw MalformedReply("a number as \(name) in HELLO")
            }
            return number
        }
        guard try text("server") == "syncd" else { throw MalformedReply("syncd as server in HELLO") }
        guard let proto = RESPVersion(rawValue: Int(clamping: try number("proto"))) else {
            throw MalformedReply("protocol 2 or 3 in HELLO")
        }
        guard let logMode = LogMode(rawValue: try text("log")) else {
            throw MalformedReply("a known log mode in HELLO")
        }
        self.init(
            version: try text("version"), proto: proto, clientID: try number("id"), epoch: Epoch(try number("epoch")),
            incarnation: try text("incarnation"), applied: LogPosition(try number("applied")),
            state: try text("state") == SyncState.attached.label ? .attached : .isolated, logMode: logMode,
            table: try text("table"), journal: try text("journal"),
            arena: fields.contains { $0.name == "arena" } ? try text("arena") : nil,
            hasFeeds: fields.contains { $0.name == "feeds" }, trustWindowMilliseconds: try number("trust-window-ms"))
    }
}

extension StatusField {
    /// The fields of a map, in either protocol version. Nested maps are recognized in RESP3 only.
    package static func decode(_ value: RESPValue) throws(MalformedReply) -> [StatusField] {
        let parts: [RESPValue]
        switch value {
        case .map(let items), .array(let items): parts = items
        default: throw MalformedReply("a map")
        }
        guard parts.count % 2 == 0 else { throw MalformedReply("pairs in a map") }
        var fields: [StatusField] = []
        for index in stride(from: 0, to: parts.count, by: 2) {
            guard let name = parts[index].bytes else { throw MalformedReply("a name in a map") }
            fields.append(StatusField(String(buffer: name), try StatusValue(parts[index + 1])))
        }
        return fields
    }
}

extension StatusValue {
    init(_ value: RESPValue) throws(MalformedReply) {
        switch value {
        case .simpleString(let bytes), .bulkString(let bytes), .verbatim(let bytes), .bigNumber(let bytes):
            self = .bytes(bytes)
        case .integer(let number):
            guard let number = UInt64(exactly: number) else { throw MalformedReply("a number that is not negative") }
            self = .number(number)
        case .boolean(let flag): self = .flag(flag)
        case .null: self = .null
        case .map: self = .fields(try StatusField.decode(value))
        case .array(let items), .set(let items), .push(let items):
            var list: [StatusValue] = []
            for item in items { list.append(try StatusValue(item)) }
            self = .list(list)
        case .double(let number): self = .text(String(number))
        case .error: throw MalformedReply("a value")
        }
    }
}

extension RESPValue {
    /// The bytes of a string of any kind.
    var bytes: ByteBuffer? {
        switch self {
        case .bulkString(let bytes), .simpleString(let bytes): bytes
        default: nil
        }
    }
}

/// Reads the parts of an array or push one by one.
struct PartReader {
    private var parts: ArraySlice<RESPValue>

    init(_ parts: ArraySlice<RESPValue>) { self.parts = parts }

    private mutating func next(_ what: String) throws(MalformedReply) -> RESPValue {
        guard let part = parts.popFirst() else { throw MalformedReply(what) }
        return part
    }

    mutating func bytes(_ what: String) throws(MalformedReply) -> ByteBuffer {
        guard let bytes = try next(what).bytes else { throw MalformedReply("\(what) as a string") }
        return bytes
    }

    mutating func optionalBytes(_ what: String) throws(MalformedReply) -> ByteBuffer? {
        let part = try next(what)
        if part == .null { return nil }
        guard let bytes = part.bytes else { throw MalformedReply("\(what) as a string") }
        return bytes
    }

    mutating func text(_ what: String) throws(MalformedReply) -> String { String(buffer: try bytes(what)) }

    mutating func number(_ what: String) throws(MalformedReply) -> UInt64 {
        guard case .integer(let number) = try next(what), let value = UInt64(exactly: number) else {
            throw MalformedReply("\(what) as a number")
        }
        return value
    }

    mutating func state() throws(MalformedReply) -> SyncState {
        try text("state") == SyncState.attached.label ? .attached : .isolated
    }

    mutating func list(_ what: String) throws(MalformedReply) -> [ByteBuffer] {
        guard case .array(let items) = try next(what) else { throw MalformedReply("\(what) as an array") }
        var list: [ByteBuffer] = []
        list.reserveCapacity(items.count)
        for item in items {
            guard let bytes = item.bytes else { throw MalformedReply("\(what) as strings") }
            list.append(bytes)
        }
        return list
    }
}
