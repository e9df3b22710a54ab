import IPCWire
import NIOCore
import SyncCore

/// The words of Redis commands, and the keys and arguments of scripts.
struct CommandEncoding {
    let keys: RedisKeys
    /// Which process the server is, as the scripts take it.
    private var identity: [ByteBuffer] = [.word("-"), .word("-")]

    /// Approximate number of entries in the stream, if they are short.
    private static let mostRetained = 100_000
    /// Memory of as many entries as are retained beside a long one, in bytes: a client that invalidates with many long
    /// tags must not fill Redis.
    private static let retainedBytes = 64 << 20
    private static let evalWord = ByteBuffer.word("EVALSHA")
    private static let keyCounts = (0...5).map { ByteBuffer.number(UInt64($0)) }
    private static let usuallyRetained = ByteBuffer(string: "\(mostRetained)")

    /// Approximate number of entries in the stream beside an entry of this size.
    static func retainedEntries(beside bytes: Int) -> ByteBuffer {
        let fitting = retainedBytes / max(1, bytes)
        return fitting >= mostRetained ? usuallyRetained : ByteBuffer(string: "\(fitting)")
    }

    /// Time for which an event of another program is remembered. A host that is further behind than this appends once
    /// more, which is harmless.
    private static let bridgedMilliseconds = ByteBuffer(string: "10000")

    init(keys: RedisKeys) { self.keys = keys }

    mutating func use(_ identity: ServerIdentity?) {
        self.identity = [identity?.runID ?? "-", identity?.replicationID ?? "-"].map { ByteBuffer(string: $0) }
    }

    // MARK: Commands

    func probe(feeds: [ByteBuffer] = []) -> [ByteBuffer] {
        [.word("MGET"), keys.incarnation, keys.position] + feeds.map(keys.feedHolder)
    }

    /// MGET finds nothing in a key of another type, where GET would fail.
    var readRecord: [ByteBuffer] { [.word("MGET"), keys.incarnation] }

    func readEntries(after position: LogPosition, count: Int) -> [ByteBuffer] {
        [
            .word("XRANGE"), keys.stream, ByteBuffer(string: "\(position + 1)-0"), .word("+"), .word("COUNT"),
            .number(UInt64(count)),
        ]
    }

    func publish(_ event: Event) -> [ByteBuffer] { [.word("PUBLISH"), event.channel, event.payload] }

    func set(_ key: ByteBuffer, _ entry: ByteBuffer, ttlMilliseconds: UInt64) -> [ByteBuffer] {
        [.word("SET"), keys.value(key), entry, .word("PX"), .number(ttlMilliseconds)]
    }

    // MARK: Scripts

    /// The words of a script's command. The first two, EVALSHA and the script's name, are for its sender to set.
    typealias ScriptCall = [ByteBuffer]

    /// The call of a script with these keys, and room for arguments.
    private static func call(_ keys: [ByteBuffer]) -> ScriptCall {
        var words: ScriptCall = []
        words.reserveCapacity(16)
        words.append(evalWord)
        words.append(evalWord)
        words.append(keyCounts[keys.count])
        words.append(contentsOf: keys)
        return words
    }

    func append(_ append: AppendCommand) -> ScriptCall {
        var names = keys.log
        if let feed = append.feed {
            names += [keys.feedHolder(feed.name), keys.feedToken(feed.name)]
        } else if let bridged = append.bridged {
            names.append(keys.bridged(bridged))
        }
        var words = Self.call(names)
        words.append(append.incarnation.text)
        words.append(append.fresh.text)
        words.append(contentsOf: identity)
        let body = append.body.encoded()
        words.append(body)
        words.append(keys.logChannel)
        words.append(Self.retainedEntries(beside: body.readableBytes))
        if let feed = append.feed, let token = feed.token {
            words += [feed.holder, .number(feed.ttlMilliseconds), token]
        } else if let channel = append.body.eventChannel, let payload = append.eventPayload {
            words += [channel, payload]
        } else if append.bridged != nil {
            words += [append.body.encodedTags(), Self.bridgedMilliseconds]
        }
        return words
    }

    func feed(_ feed: FeedCommand) -> ScriptCall {
        Self.call([keys.feedHolder(feed.name), keys.feedToken(feed.name)])
            + [feed.holder, .number(feed.ttlMilliseconds)] + (feed.token.map { [$0] } ?? [])
    }

    func replace(_ replace: ReplaceCommand) -> ScriptCall {
        let record = [ByteBuffer(string: replace.expected == nil ? "0" : "1"), replace.expected ?? ByteBuffer()]
        return Self.call(keys.log) + record + [replace.fresh.text] + identity
            + [.number(replace.floor.number), keys.logChannel]
    }

    func inspect(lastApplied: LogPosition) -> ScriptCall { Self.call(keys.log) + [.number(lastApplied.number)] }

    func get(_ key: ByteBuffer, longest: Int) -> ScriptCall {
        Self.call([keys.value(key)]) + [.number(UInt64(longest))]
    }
}
