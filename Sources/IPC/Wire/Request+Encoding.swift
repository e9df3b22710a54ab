import NIOCore

extension Request {
    /// Writes the request as a client sends it.
    package func encode(into writer: inout RESPWriter) {
        switch self {
        case .fetch(let key, nil): writer.command("FETCH", [key])
        case .fetch(let key, let wait?): writer.command("FETCH", [key, .word("WAIT"), .number(wait)])
        case .fetchAfter(let position, let key, let wait):
            let waiting: [ByteBuffer] = wait.map { [.word("WAIT"), .number($0)] } ?? []
            writer.command("FETCH", [key] + waiting + [.word("AFTER"), ByteBuffer(string: position.description)])
        case .renew(let key, let ttl): writer.command("FETCH", [key, .word("RENEW"), .number(ttl)])
        case .fill(let fill):
            let head = [
                fill.key, .number(fill.lease.number), .number(fill.ttlMilliseconds), .number(UInt64(fill.tags.count)),
            ]
            writer.command("FILL", head + fill.tags + (fill.value.map { [$0] } ?? []))
        case .abandon(let key, let lease): writer.command("ABANDON", [key, .number(lease.number)])
        case .invalidate(let tags, let event, let time):
            var words: [ByteBuffer] = []
            if let event { words += [.word("EVENT"), event.channel, event.payload] }
            if let time {
                words.append(.word("AT"))
                words += time.words
            }
            words.append(.word("TAGS"))
            writer.command("INVALIDATE", words + tags)
        case .feed(let request): writer.command("FEED", request.words)
        case .publish(let event): writer.command("PUBLISH", [event.channel, event.payload])
        case .subscribe(let channels): writer.command("SUBSCRIBE", channels)
        case .unsubscribe(let channels): writer.command("UNSUBSCRIBE", channels)
        case .patternSubscribe(let patterns): writer.command("PSUBSCRIBE", patterns)
        case .patternUnsubscribe(let patterns): writer.command("PUNSUBSCRIBE", patterns)
        case .track(let isOn): writer.command("TRACK", [.word(isOn ? "ON" : "OFF")])
        case .explain(let key): writer.command("EXPLAIN", [key])
        case .report(let fields): writer.command("REPORT", fields.flatMap { [$0.name, $0.value] })
        case .setMetrics(let worker, let text): writer.command("METRICS", [.word("SET"), worker, text])
        case .metrics: writer.command("METRICS", [.word("GET")])
        case .status(let section): writer.command("STATUS", section.map { [ByteBuffer(string: $0)] } ?? [])
        case .info(let sections): writer.command("INFO", sections.map { ByteBuffer(string: $0) })
        case .shutdown: writer.command("SHUTDOWN", [])
        case .hello, .ping, .echo, .quit, .reset, .select, .client, .command, .configGet:
            encodeConnectionCommand(into: &writer)
        }
    }

    private func encodeConnectionCommand(into writer: inout RESPWriter) {
        switch self {
        case .hello(let version, let name):
            var arguments: [ByteBuffer] = []
            if let version { arguments.append(.number(UInt64(version.rawValue))) }
            if let name { arguments += [.word("SETNAME"), name] }
            writer.command("HELLO", arguments)
        case .ping(let text): writer.command("PING", text.map { [$0] } ?? [])
        case .echo(let text): writer.command("ECHO", [text])
        case .quit: writer.command("QUIT", [])
        case .reset: writer.command("RESET", [])
        case .select: writer.command("SELECT", [.number(0)])
        case .client(let subcommand):
            switch subcommand {
            case .id: writer.command("CLIENT", [.word("ID")])
            case .getName: writer.command("CLIENT", [.word("GETNAME")])
            case .setName(let name): writer.command("CLIENT", [.word("SETNAME"), name])
            case .accepted: writer.command("CLIENT", [.word("NO-EVICT"), .word("ON")])
            case .info: writer.command("CLIENT", [.word("INFO")])
            case .list: writer.command("CLIENT", [.word("LIST")])
            }
        case .command(let subcommand):
            switch subcommand {
            case .all: writer.command("COMMAND", [])
            case .count: writer.command("COMMAND", [.word("COUNT")])
            case .docs: writer.command("COMMAND", [.word("DOCS")])
            case .other: writer.command("COMMAND", [.word("LIST")])
            }
        case .configGet: writer.command("CONFIG", [.word("GET"), .word("*")])
        default: break
        }
    }
}

extension OperationTime {
    fileprivate var words: [ByteBuffer] { [.number(UInt64(seconds)), .number(UInt64(increment))] }
}

extension FeedRequest {
    fileprivate var words: [ByteBuffer] {
        switch self {
        case .claim(let name): return [.word("CLAIM"), name]
        case .save(let save):
            var words: [ByteBuffer] = [.word("SAVE"), save.name, save.token, .number(save.lagMilliseconds)]
            for change in save.changes {
                words.append(change.collection)
                words += change.time.words
                words.append(.number(UInt64(change.tags.count)))
                words += change.tags
            }
            return words
        case .reset(let name, let token): return [.word("RESET"), name, token]
        case .leave(let name): return [.word("LEAVE"), name]
        }
    }
}

extension RESPWriter {
    /// An array of bulk strings: a command and its arguments.
    package mutating func command(_ name: StaticString, _ arguments: [ByteBuffer]) {
        arrayHeader(arguments.count + 1)
        bulkString(.word(name))
        for argument in arguments { bulkString(argument) }
    }
}

extension ByteBuffer {
    /// A fixed word of the protocol.
    package static func word(_ word: StaticString) -> ByteBuffer { ByteBuffer(staticString: word) }
    /// A number as plain decimal digits.
    package static func number(_ number: UInt64) -> ByteBuffer { ByteBuffer(string: String(number)) }
}
