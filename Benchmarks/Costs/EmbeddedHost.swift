import EngineTesting
import IPCWire
import NIOCore
import SyncCore

/// The complete path of an embedded syncd between the socket's bytes in and out, with a clock that stands still.
final class EmbeddedHost: EngineHost {
    private var loop: EngineLoop?
    private var client: ClientID = 0
    private let socket = PromptClient()
    let journalDirectory: any EngineJournal = EmptyJournal()
    let now: BootTime = 1_000_000_000_000
    let wallClock: UInt64 = 1_700_000_000_000
    let ownsTable = true

    static let fetch = command(["FETCH", "user:000000000001"])
    static let invalidate = command(["INVALIDATE", "TAGS", "user:7", "users"])

    init() {
        let loop = EngineLoop(
            host: self,
            configuration: EngineConfiguration(mode: .embedded, version: "costs", tablePath: "/t", journalPath: "/j"),
            table: .inMemory(), arena: ValueArenaWriter(.inMemory()), random: SystemRandomNumberGenerator())
        self.loop = loop
        loop.start()
        precondition(loop.state == .attached, "the host is \(loop.shownState())")
        client = loop.connect(socket, peer: Peer(pid: 1, uid: 0))
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
    func fill() {
        let lease = answer(Self.fetch).split(separator: ":")[1].prefix { $0.isNumber }
        let words = ["FILL", "user:000000000001", String(lease), "60000", "3"].map { ByteBuffer(string: $0) }
        precondition(answer(Self.command(words + Work.tags + [Work.value])) == "+OK\r\n", "not filled")
        precondition(answer(Self.fetch).contains("hit"), "no hit")
    }

    private func answer(_ bytes: ByteBuffer) -> String {
        socket.isKeeping = true
        ask(bytes, 1)
        socket.isKeeping = false
        return String(buffer: socket.last)
    }

    /// Asks the same `count` times, one turn each.
    func ask(_ bytes: ByteBuffer, _ count: Int) {
        guard let loop else { return }
        let asked = socket.writes
        for _ in 0..<count { loop.submit(.received(client, bytes)) }
        precondition(socket.writes == asked + count, "no answer")
    }

    func schedule(_ timer: EngineTimer, at time: BootTime) {}
    func send(_ command: UpstreamCommand) {}
    func flushUpstream() {}
    func log(_ event: EngineEvent) {}
    func statusFields(_ section: String) -> [StatusField]? { nil }
    func mayShutDown(_ peer: Peer) -> Bool { false }
    func shutdownAsked() {}
    func tableLost() {}
}

/// A journal into which nobody writes.
private final class EmptyJournal: EngineJournal, EngineJournalReading {
    let identity = FileIdentity.unknown
    let isAtEnd = true

    func beginReading() -> any EngineJournalReading { self }
    func next(_ count: Int, isWanted: (String, Bool, UInt64) -> Bool) -> [JournalItem] { [] }
    func remove(_ name: String) {}
    func writePending(_ invalidations: [[ByteBuffer]], limit: Int) -> Bool { true }
    func writeMarker() {}
    func removeLeftovers() {}
}
