import NIOCore

// Conversion of a command's arguments to a checked request. Every error names the argument and the expected value.
extension Request {
    /// Checks a command. `arguments` has at least the command's name.
    package static func parse(_ arguments: [ByteBuffer], limits: WireLimits) throws(ReplyError) -> Request {
        var reader = ArgumentReader(arguments, limits: limits)
        let name = try reader.next("command")
        // The commands of the hot path first.
        if name.isWord("FETCH") { return try fetch(&reader) }
        if name.isWord("FILL") { return try fill(&reader) }
        if name.isWord("INVALIDATE") { return try invalidate(&reader) }
        if name.isWord("ABANDON") {
            let request = try Request.abandon(key: reader.key(), lease: LeaseID(reader.number("lease")))
            return try reader.finish(request)
        }
        if name.isWord("PUBLISH") {
            let request = try Request.publish(reader.event())
            return try reader.finish(request)
        }
        if name.isWord("SUBSCRIBE") { return .subscribe(try reader.channels(atLeast: 1)) }
        if name.isWord("UNSUBSCRIBE") { return .unsubscribe(try reader.channels(atLeast: 0)) }
        if name.isWord("PSUBSCRIBE") { return .patternSubscribe(try reader.channels(atLeast: 1)) }
        if name.isWord("PUNSUBSCRIBE") { return .patternUnsubscribe(try reader.channels(atLeast: 0)) }
        if name.isWord("TRACK") { return try track(&reader) }
        if name.isWord("FEED") { return .feed(try feed(&reader)) }
        if name.isWord("EXPLAIN") {
            return try reader.last { (reader) throws(ReplyError) in .explain(key: try reader.key()) }
        }
        if name.isWord("REPORT") { return try report(&reader) }
        if name.isWord("METRICS") {
            return try reader.last { (reader) throws(ReplyError) in try metrics(&reader) }
        }
        if name.isWord("STATUS") {
            return try reader.last { (reader) throws(ReplyError) in .status(section: reader.section()) }
        }
        if name.isWord("INFO") { return .info(sections: reader.sections()) }
        if name.isWord("SHUTDOWN") { return try shutdown(&reader) }
        return try connectionCommand(name, &reader)
    }

    /// syncd has nothing to save: the words that Redis knows mean nothing here, and a slip of the pen ends nothing.
    private static func shutdown(_ reader: inout ArgumentReader) throws(ReplyError) -> Request {
        let words: [StaticString] = ["NOSAVE", "SAVE", "NOW", "FORCE"]
        while let word = reader.optional() {
            guard words.contains(where: word.isWord) else {
                throw ReplyError(.generic, "syntax error: SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE]")
            }
        }
        return try reader.finish(.shutdown)
    }

    /// Commands that every Redis client may send.
    private static func connectionCommand(
        _ name: ByteBuffer, _ reader: inout ArgumentReader
    ) throws(ReplyError) -> Request {
        if name.isWord("HELLO") { return try hello(&reader) }
        if name.isWord("PING") { return try reader.last { (reader) throws(ReplyError) in .ping(reader.optional()) } }
        if name.isWord("ECHO") {
            return try reader.last { (reader) throws(ReplyError) in .echo(try reader.next("message")) }
        }
        if name.isWord("AUTH") {
            // The socket's permissions decide who may connect. Any password is accepted.
            _ = try reader.next("password")
            _ = reader.optional()
            return try reader.finish(.client(.accepted))
        }
        if name.isWord("QUIT") { return .quit }
        if name.isWord("RESET") { return try reader.finish(.reset) }
        if name.isWord("SELECT") {
            guard try reader.number("index") == 0 else {
                throw ReplyError(.generic, "DB index is out of range: syncd has database 0 only")
            }
            return try reader.finish(.select)
        }
        if name.isWord("CLIENT") {
            return try reader.last { (reader) throws(ReplyError) in .client(try client(&reader)) }
        }
        if name.isWord("COMMAND") {
            guard let subcommand = reader.optional() else { return .command(.all) }
            if subcommand.isWord("COUNT") { return .command(.count) }
            return .command(subcommand.isWord("DOCS") ? .docs : .other)
        }
        if name.isWord("CONFIG") {
            let subcommand = try reader.next("subcommand")
            guard subcommand.isWord("GET") else {
                throw ReplyError(.generic, "CONFIG has GET only; syncd is configured by its environment")
            }
            _ = try reader.next("parameter")
            return .configGet
        }
        throw ReplyError(.generic, "unknown command '\(name.shown)'\(reader.shownRest)")
    }

    private static func hello(_ reader: inout ArgumentReader) throws(ReplyError) -> Request {
        var version: RESPVersion?
        var name: ByteBuffer?
        if let text = reader.optional() {
            guard let number = PlainNumber.parse(text.readableBytesView),
                let known = RESPVersion(rawValue: Int(number))
            else { throw ReplyError(.noProtocol, "unsupported protocol version: 2 and 3 are known") }
            version = known
        }
        while let option = reader.optional() {
            if option.isWord("AUTH") {
                _ = try reader.next("user")
                _ = try reader.next("password")
            } else if option.isWord("SETNAME") {
                name = try reader.clientName()
            } else {
                throw ReplyError(
                    .generic, "syntax error in HELLO option '\(option.shown)': AUTH or SETNAME is expected")
            }
        }
        return .hello(version: version, name: name)
    }

    private static func client(_ reader: inout ArgumentReader) throws(ReplyError) -> ClientSubcommand {
        let name = try reader.next("subcommand")
        if name.isWord("ID") { return .id }
        if name.isWord("GETNAME") { return .getName }
        if name.isWord("SETNAME") { return .setName(try reader.clientName()) }
        if name.isWord("INFO") { return .info }
        if name.isWord("LIST") { return .list }
        if name.isWord("SETINFO") {
            _ = try reader.next("attribute")
            _ = try reader.next("value")
            return .accepted
        }
        if name.isWord("NO-EVICT") || name.isWord("NO-TOUCH") {
            let option = try reader.next("ON or OFF")
            guard option.isWord("ON") || option.isWord("OFF") else {
                throw ReplyError(.generic, "CLIENT \(name.shown) takes ON or OFF")
            }
            return .accepted
        }
        throw ReplyError(.generic, "unknown subcommand '\(name.shown)' of CLIENT")
    }

    private static func fetch(_ reader: inout ArgumentReader) throws(ReplyError) -> Request {
        let key = try reader.key()
        if reader.remaining == 0 { return .fetch(key: key, waitMilliseconds: nil) }
        if reader.skip("RENEW") {
            let ttl = try reader.number("ttl-ms")
            guard ttl <= reader.limits.maximumTTLMilliseconds else {
                throw ReplyError(.generic, "RENEW is at most \(reader.limits.maximumTTLMilliseconds) ms")
            }
            return try reader.finish(.renew(key: key, ttlMilliseconds: ttl))
        }
        var wait: UInt64?
        if reader.skip("WAIT") {
            let milliseconds = try reader.number("ms")
            guard milliseconds <= reader.limits.maximumWaitMilliseconds else {
                throw ReplyError(.generic, "WAIT is at most \(reader.limits.maximumWaitMilliseconds) ms")
            }
            wait = milliseconds
        }
        if reader.skip("AFTER") {
            let position = SyncPosition(try reader.next("position"))
            return try reader.finish(.fetchAfter(position, key: key, waitMilliseconds: wait))
        }
        if wait == nil, let option = reader.optional() {
            throw ReplyError(.generic, "syntax error in FETCH at '\(option.shown)': WAIT, RENEW or AFTER is expected")
        }
        return try reader.finish(.fetch(key: key, waitMilliseconds: wait))
    }

    private static func fill(_ reader: inout ArgumentReader) throws(ReplyError) -> Request {
        let key = try reader.key()
        let lease = LeaseID(try reader.number("lease"))
        let ttl = try reader.number("ttl-ms")
        guard ttl >= 1, ttl <= reader.limits.maximumTTLMilliseconds else {
            throw ReplyError(.generic, "ttl-ms is 1 to \(reader.limits.maximumTTLMilliseconds)")
        }
        let count = try reader.number("tag-count")
        guard count <= UInt64(reader.limits.tagsPerEntry) else {
            throw ReplyError(.tooBig, "an entry has at most \(reader.limits.tagsPerEntry) tags")
        }
        var tags: [ByteBuffer] = []
        tags.reserveCapacity(Int(count))
        for _ in 0..<count { tags.append(try reader.tag()) }
        let value = reader.optional()
        if let value, value.readableBytes > reader.limits.valueBytes {
            throw ReplyError(.tooBig, "a value has at most \(reader.limits.valueBytes) bytes")
        }
        return try reader.finish(
            .fill(Fill(key: key, lease: lease, ttlMilliseconds: ttl, tags: tags, value: value)))
    }

    private static func invalidate(_ reader: inout ArgumentReader) throws(ReplyError) -> Request {
        var event: Event?
        var option = try reader.next("TAGS")
        if option.isWord("EVENT") {
            event = try reader.event()
            option = try reader.next("TAGS")
        }
        var time: OperationTime?
        if option.isWord("AT") {
            time = try reader.operationTime()
            option = try reader.next("TAGS")
        }
        guard option.isWord("TAGS") else {
            throw ReplyError(
                .generic, "syntax error in INVALIDATE at '\(option.shown)': EVENT, AT or TAGS is expected")
        }
        guard reader.remaining > 0 else { throw ReplyError(.generic, "INVALIDATE needs at least one tag") }
        guard reader.remaining <= reader.limits.tagsPerInvalidation else {
            throw ReplyError(.tooBig, "an invalidation has at most \(reader.limits.tagsPerInvalidation) tags")
        }
        var tags: [ByteBuffer] = []
        tags.reserveCapacity(reader.remaining)
        while reader.remaining > 0 { tags.append(try reader.invalidatedTag()) }
        return .invalidate(tags: tags, event: event, at: time)
    }

    private static func feed(_ reader: inout ArgumentReader) throws(ReplyError) -> FeedRequest {
        let subcommand = try reader.next("CLAIM, SAVE, RESET or LEAVE")
        let request: FeedRequest
        if subcommand.isWord("CLAIM") {
            request = .claim(name: try reader.feedName())
        } else if subcommand.isWord("SAVE") {
            var save = FeedSave(
                name: try reader.feedName(), token: try reader.feedToken(),
                lagMilliseconds: try reader.number("lag-ms"), changes: [])
            while reader.remaining > 0 {
                guard save.changes.count < WireLimits.feedChanges else {
                    throw ReplyError(.tooBig, "a save has at most \(WireLimits.feedChanges) changes")
                }
                save.changes.append(try reader.feedChange())
            }
            request = .save(save)
        } else if subcommand.isWord("RESET") {
            request = .reset(name: try reader.feedName(), token: try reader.feedToken())
        } else if subcommand.isWord("LEAVE") {
            request = .leave(name: try reader.feedName())
        } else {
            throw ReplyError(
                .generic,
                "syntax error in FEED at '\(subcommand.shown)': CLAIM, SAVE, RESET or LEAVE is expected")
        }
        _ = try reader.finish(.feed(request))
        return request
    }

    private static func track(_ reader: inout ArgumentReader) throws(ReplyError) -> Request {
        let option = try reader.next("ON or OFF")
        guard option.isWord("ON") || option.isWord("OFF") else {
            throw ReplyError(.generic, "TRACK takes ON or OFF")
        }
        return try reader.finish(.track(option.isWord("ON")))
    }

    private static func report(_ reader: inout ArgumentReader) throws(ReplyError) -> Request {
        guard reader.remaining > 0, reader.remaining % 2 == 0 else {
            throw ReplyError(.generic, "REPORT takes pairs of field and value")
        }
        var fields: [ReportField] = []
        while reader.remaining > 0 {
            let field = try ReportField(name: reader.next("field"), value: reader.next("value"))
            guard field.name.readableBytes <= reader.limits.tagBytes,
                field.value.readableBytes <= reader.limits.tagBytes
            else { throw ReplyError(.tooBig, "a reported field has at most \(reader.limits.tagBytes) bytes") }
            fields.append(field)
        }
        return .report(fields)
    }

    private static func metrics(_ reader: inout ArgumentReader) throws(ReplyError) -> Request {
        let subcommand = try reader.next("SET or GET")
        if subcommand.isWord("GET") { return .metrics }
        guard subcommand.isWord("SET") else {
            throw ReplyError(.generic, "syntax error in METRICS at '\(subcommand.shown)': SET or GET is expected")
        }
        let (worker, text) = (try reader.next("worker"), try reader.next("text"))
        guard worker.readableBytes <= WireLimits.workerNameBytes, worker.isPlainName else {
            throw ReplyError(
                .generic,
                "worker is at most \(WireLimits.workerNameBytes) ASCII letters, digits, '-', '.' and '_', or empty")
        }
        guard text.readableBytes <= WireLimits.metricsBytes else {
            throw ReplyError(.tooBig, "a report of metrics has at most \(WireLimits.metricsBytes) bytes")
        }
        return .setMetrics(worker: worker, text: text)
    }
}

/// Reads the arguments of a command one by one.
private struct ArgumentReader {
    private let arguments: [ByteBuffer]
    private var index = 0
    let limits: WireLimits

    init(_ arguments: [ByteBuffer], limits: WireLimits) {
        self.arguments = arguments
        self.limits = limits
    }

    var remaining: Int { arguments.count - index }

    mutating func optional() -> ByteBuffer? {
        guard index < arguments.count else { return nil }
        index += 1
        return arguments[index - 1]
    }

    /// Takes the next argument if it is this word.
    mutating func skip(_ word: StaticString) -> Bool {
        guard index < arguments.count, arguments[index].isWord(word) else { return false }
        index += 1
        return true
    }

    mutating func next(_ what: String) throws(ReplyError) -> ByteBuffer {
        guard let argument = optional() else {
            let command = arguments.first?.shown ?? ""
            throw ReplyError(.generic, "wrong number of arguments for '\(command)': \(what) is missing")
        }
        return argument
    }

    func finish(_ request: Request) throws(ReplyError) -> Request {
        guard remaining == 0 else {
            let command = arguments.first?.shown ?? ""
            throw ReplyError(.generic, "wrong number of arguments for '\(command)': \(remaining) too many")
        }
        return request
    }

    /// Reads a request whose last arguments `read` takes. (`finish` alone would look at the reader from before.)
    mutating func last(
        _ read: (inout ArgumentReader) throws(ReplyError) -> Request
    ) throws(ReplyError) -> Request {
        let request = try read(&self)
        return try finish(request)
    }

    mutating func number(_ what: String) throws(ReplyError) -> UInt64 {
        guard let number = PlainNumber.parse(try next(what).readableBytesView) else {
            throw ReplyError(.generic, "\(what) is not a number: plain decimal digits, at most 2^53, are expected")
        }
        return number
    }

    private mutating func bytes(_ what: String, limit: Int) throws(ReplyError) -> ByteBuffer {
        let bytes = try next(what)
        guard bytes.readableBytes > 0 else { throw ReplyError(.generic, "\(what) is empty") }
        guard bytes.readableBytes <= limit else { throw ReplyError(.tooBig, "\(what) has at most \(limit) bytes") }
        return bytes
    }

    mutating func key() throws(ReplyError) -> ByteBuffer { try bytes("key", limit: limits.keyBytes) }
    mutating func tag() throws(ReplyError) -> ByteBuffer { try bytes("tag", limit: limits.tagBytes) }
    mutating func channel() throws(ReplyError) -> ByteBuffer { try bytes("channel", limit: limits.channelBytes) }

    /// An event may be as long as a value: in a push it has to fit into a frame together with channel and pattern.
    mutating func event() throws(ReplyError) -> Event {
        let event = try Event(channel: channel(), payload: next("payload"))
        guard event.payload.readableBytes <= limits.valueBytes else {
            throw ReplyError(.tooBig, "payload has at most \(limits.valueBytes) bytes")
        }
        return event
    }

    /// A declared tag, or `=` and a key, which may be longer.
    mutating func invalidatedTag() throws(ReplyError) -> ByteBuffer {
        let tag = try bytes("tag", limit: max(limits.tagBytes, limits.keyBytes + 1))
        let isKey = tag.getInteger(at: tag.readerIndex, as: UInt8.self) == UInt8(ascii: "=")
        guard isKey || tag.readableBytes <= limits.tagBytes else {
            throw ReplyError(.tooBig, "tag has at most \(limits.tagBytes) bytes")
        }
        return tag
    }

    mutating func operationTime() throws(ReplyError) -> OperationTime {
        let (seconds, increment) = (try number("seconds"), try number("increment"))
        guard let seconds = UInt32(exactly: seconds), let increment = UInt32(exactly: increment) else {
            throw ReplyError(.generic, "a time has two numbers of 32 bits: seconds since 1970, and an increment")
        }
        return OperationTime(seconds: seconds, increment: increment)
    }

    mutating func feedName() throws(ReplyError) -> ByteBuffer {
        let name = try next("name")
        guard (1...WireLimits.feedNameBytes).contains(name.readableBytes), name.isPlainName else {
            throw ReplyError(
                .generic,
                "the name of a feed is 1 to \(WireLimits.feedNameBytes) ASCII letters, digits, '-', '.' and '_'")
        }
        return name
    }

    mutating func feedToken() throws(ReplyError) -> ByteBuffer {
        try bytes("token", limit: WireLimits.feedTokenBytes)
    }

    mutating func feedChange() throws(ReplyError) -> FeedChange {
        let collection = try bytes("collection", limit: limits.channelBytes)
        let time = try operationTime()
        let count = try number("tag-count")
        guard (1...UInt64(limits.tagsPerEntry)).contains(count) else {
            throw ReplyError(.generic, "a change has 1 to \(limits.tagsPerEntry) tags")
        }
        var tags: [ByteBuffer] = []
        tags.reserveCapacity(Int(count))
        for _ in 0..<count { tags.append(try invalidatedTag()) }
        return FeedChange(collection: collection, time: time, tags: tags)
    }

    mutating func channels(atLeast minimum: Int) throws(ReplyError) -> [ByteBuffer] {
        var channels: [ByteBuffer] = []
        repeat {
            if remaining == 0, channels.count >= minimum { break }
            channels.append(try channel())
        } while remaining > 0
        return channels
    }

    mutating func clientName() throws(ReplyError) -> ByteBuffer {
        let name = try next("name")
        guard name.readableBytes <= limits.tagBytes else {
            throw ReplyError(.tooBig, "name has at most \(limits.tagBytes) bytes")
        }
        return name
    }

    mutating func section() -> String? { optional().map { String(buffer: $0) } }

    mutating func sections() -> [String] {
        var sections: [String] = []
        while let section = section() { sections.append(section) }
        return sections
    }

    /// The arguments after the first, shortened, as Redis shows them.
    var shownRest: String {
        let rest = arguments.dropFirst()
        guard !rest.isEmpty else { return "" }
        return ", with args beginning with: " + rest.prefix(4).map { "'\($0.shown)'" }.joined(separator: " ")
    }
}

extension ByteBuffer {
    /// Whether all bytes may be in the name of a worker or a feed, which becomes a label of metrics.
    fileprivate var isPlainName: Bool {
        readableBytesView.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
                true
            default: false
            }
        }
    }

    /// The text escaped and shortened, for an error message.
    fileprivate var shown: String {
        guard readableBytes > 64, let part = getSlice(at: readerIndex, length: 64) else { return escaped }
        return part.escaped + "..."
    }
}
