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

    var probe: [ByteBuffer] { [.word("MGET"), keys.incarnation, keys.position] }

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

    /// The keys and the other arguments of a script.
    typealias Arguments = (keys: [ByteBuffer], rest: [ByteBuffer])

    func append(_ append: AppendCommand) -> Arguments {
        var arguments = [append.incarnation.text, append.fresh.text]
        arguments.reserveCapacity(9)
        arguments += identity
        let body = append.body.encoded()
        arguments += [body, keys.logChannel, Self.retainedEntries(beside: body.readableBytes)]
        if let channel = append.body.eventChannel, let payload = append.eventPayload {
            arguments += [channel, payload]
        } else if append.bridged != nil {
            arguments += [append.body.encodedTags(), Self.bridgedMilliseconds]
        }
        return (keys.log + [append.bridged].compactMap { $0.map(keys.bridged) }, arguments)
    }

    func replace(_ replace: ReplaceCommand) -> Arguments {
        var arguments = [ByteBuffer(string: replace.expected == nil ? "0" : "1"), replace.expected ?? ByteBuffer()]
        arguments.append(replace.fresh.text)
        arguments += identity
        arguments += [.number(replace.floor.number), keys.logChannel]
        return (keys.log, arguments)
    }

    func inspect(lastApplied: LogPosition) -> Arguments { (keys.log, [.number(lastApplied.number)]) }

    func get(_ key: ByteBuffer, longest: Int) -> Arguments { ([keys.value(key)], [.number(UInt64(longest))]) }
}
