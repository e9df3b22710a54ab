import IPCWire
import NIOCore
import SyncCore

/// The complete path of an embedded syncd between the socket's bytes in and out, with a clock that stands still.
struct EmbeddedHost: ~Copyable {
    private var brain: Brain
    private var decoder = CommandDecoder(limits: WireLimits())
    private let output = ClientOutput(limits: Limits())
    private var effects: [Effect] = []
    private let client: ClientID = 1
    private static let now: UInt64 = 1_000_000_000_000

    static let fetch = command(["FETCH", "user:000000000001"])
    static let invalidate = command(["INVALIDATE", "TAGS", "user:7", "users"])

    init() {
        brain = Brain(
            configuration: BrainConfiguration(mode: .embedded, version: "costs", tablePath: "/t", journalPath: "/j"),
            table: .inMemory(), random: SystemRandomNumberGenerator(), now: Self.now)
        brain.beatDue(now: Self.now, effects: &effects)
        brain.journalScanned([], sampledAt: Self.now, now: Self.now, effects: &effects)
        effects.removeAll()
        precondition(brain.state == .attached, "the brain is \(brain.shownState(now: Self.now))")
        brain.clientConnected(client, peer: Peer(pid: 1, uid: 0), now: Self.now)
    }

    private static func command(_ words: [String]) -> ByteBuffer {
        command(words.map { ByteBuffer(string: $0) })
    }

    private static func command(_ words: [ByteBuffer]) -> ByteBuffer {
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(words.count)
        for word in words { writer.bulkString(word) }
        return writer.buffer
    }

    /// Loads the key of ``fetch``.
    mutating func fill() {
        let lease = answer(Self.fetch).split(separator: ":")[1].prefix { $0.isNumber }
        let words = ["FILL", "user:000000000001", String(lease), "60000", "3"].map { ByteBuffer(string: $0) }
        precondition(answer(Self.command(words + Work.tags + [Work.value])) == "+OK\r\n", "not filled")
        precondition(answer(Self.fetch).contains("hit"), "no hit")
    }

    private mutating func answer(_ bytes: ByteBuffer) -> String {
        turn(bytes)
        guard case .write(let buffer) = output.flush().action else { preconditionFailure("no answer") }
        _ = output.sent(buffer.readableBytes)
        return String(buffer: buffer)
    }

    /// Sends the same request `count` times, one turn each.
    mutating func ask(_ bytes: ByteBuffer, _ count: Int) {
        for _ in 0..<count {
            turn(bytes)
            guard case .write(let buffer) = output.flush().action else { preconditionFailure("no answer") }
            _ = output.sent(buffer.readableBytes)
        }
    }

    private mutating func turn(_ bytes: ByteBuffer) {
        decoder.feed(bytes)
        while let arguments = try? decoder.next() {
            let id = output.open()
            guard let request = try? Request.parse(arguments, limits: WireLimits()) else {
                preconditionFailure("no request")
            }
            brain.request(client, id, request, now: Self.now, effects: &effects)
            for effect in effects {
                if case .reply(_, let id, let reply) = effect { output.reply(id, reply) }
            }
            effects.removeAll(keepingCapacity: true)
        }
    }
}
