import IPCTesting
import IPCWire
import NIOCore

@testable import SyncCore

/// A host of the loop that writes down what the loop wants, in order.
final class TracedHost: EngineHost {
    enum Action: Equatable {
        /// Bytes of a client, as text.
        case write(String)
        case reading(Bool)
        case close
        case journal(String)
        case send(String)
        case flushUpstream
        case cutOff(CutOffReason)
        case tableLost
    }

    private(set) var trace: [Action] = []
    private(set) var timers: [EngineTimer: BootTime] = [:]
    var now: BootTime = 1_000_000_000_000
    let wallClock: UInt64 = 1_700_000_000_000
    var ownsTable = true
    /// How long each request takes.
    var nanosecondsPerRequest: UInt64 = 0
    /// Effects until the process is stopped.
    var effectsUntilStop = Int.max
    /// Redis answers at once.
    var answer: ((UpstreamCommand) -> UpstreamEvent?)?
    let journal = TracedJournal()
    private let table: TagTable
    private let configuration: EngineConfiguration
    private(set) lazy var loop = EngineLoop(
        host: self, configuration: configuration, table: table,
        arena: ValueArenaWriter(.inMemory()), random: SeededRandom(seed: 1))

    init(_ mode: LogMode = .embedded, limits: Limits = Limits(), table: TagTable = .inMemory()) {
        self.table = table
        configuration = EngineConfiguration(
            mode: mode, limits: limits, version: "test", tablePath: "/t", journalPath: "/j")
        journal.host = self
        loop.start()
        _ = take()
    }

    func note(_ action: Action) { trace.append(action) }

    /// Actions of the loop since the last call.
    func take() -> [Action] {
        defer { trace = [] }
        return trace
    }

    func connect(takesAtOnce: Bool = true, pid: Int32 = 1) -> TracedClient {
        let client = TracedClient(self)
        client.takesAtOnce = takesAtOnce
        client.id = loop.connect(client, peer: Peer(pid: pid, uid: 0))
        return client
    }

    /// A timer that was asked for ends.
    func fire(_ timer: EngineTimer) {
        guard let time = timers.removeValue(forKey: timer) else { return }
        now = max(now, time)
        loop.submit(.due(timer))
    }

    // MARK: As a host

    var journalDirectory: any EngineJournal { journal }
    func schedule(_ timer: EngineTimer, at time: BootTime) { timers[timer] = time }

    func send(_ command: UpstreamCommand) {
        note(.send("\(command)".prefix { $0 != "(" }.description))
        if let event = answer?(command) { loop.submit(.upstream(event)) }
    }

    func flushUpstream() { note(.flushUpstream) }
    func tableLost() { note(.tableLost) }
    func log(_ event: EngineEvent) { if case .clientCutOff(_, _, let reason) = event { note(.cutOff(reason)) } }
    func statusFields(_ section: String) -> [StatusField]? { nil }
    func mayShutDown(_ peer: Peer) -> Bool { false }
    func shutdownAsked() {}

    func mayProceed() -> Bool {
        if effectsUntilStop == 0 { return false }
        effectsUntilStop -= 1
        return true
    }

    func willDecide(_ request: Request, _ id: RequestID, of client: ClientID) { now += nanosecondsPerRequest }
}

/// A client of it.
final class TracedClient: ClientChannel {
    private unowned let host: TracedHost
    var id: ClientID = 0
    /// The kernel takes what is written at once.
    var takesAtOnce = true
    private var waiting: [Int] = []
    /// Everything that was written.
    private(set) var received = ""

    init(_ host: TracedHost) { self.host = host }

    /// Sends inline text as commands, one a line.
    func send(_ commands: String...) { host.loop.submit(.received(id, Self.bytes(commands))) }

    static func bytes(_ commands: [String]) -> ByteBuffer {
        var writer = RESPWriter(version: .v2)
        for command in commands {
            let words = command.split(separator: " ").map { ByteBuffer(string: String($0)) }
            writer.arrayHeader(words.count)
            for word in words { writer.bulkString(word) }
        }
        return writer.buffer
    }

    /// The kernel takes what was written first.
    func taken() { if !waiting.isEmpty { host.loop.submit(.sent(id, waiting.removeFirst())) } }

    func write(_ bytes: ByteBuffer) -> Bool {
        host.note(.write(String(buffer: bytes)))
        received += String(buffer: bytes)
        if !takesAtOnce { waiting.append(bytes.readableBytes) }
        return takesAtOnce
    }

    func write(_ parts: [ByteBuffer]) -> Bool {
        write(parts.reduce(into: ByteBuffer()) { $0.writeImmutableBuffer($1) })
    }
    func setReading(_ isReading: Bool) { host.note(.reading(isReading)) }
    func setReadingArgument(_ isLong: Bool) {}
    func close() { host.note(.close) }
}

/// Its journal.
final class TracedJournal: EngineJournal {
    weak var host: TracedHost?
    var items: [JournalItem] = []
    /// How long it takes to read a part.
    var nanosecondsPerPart: UInt64 = 0
    let identity = FileIdentity.unknown

    struct Reading: EngineJournalReading {
        var journal: TracedJournal
        var rest: ArraySlice<JournalItem>
        var isAtEnd: Bool { rest.isEmpty }

        mutating func next(_ count: Int, isWanted: (String, Bool, UInt64) -> Bool) -> [JournalItem] {
            journal.host?.now += journal.nanosecondsPerPart
            defer { rest = rest.dropFirst(count) }
            return Array(rest.prefix(count))
        }
    }

    func beginReading() -> any EngineJournalReading { Reading(journal: self, rest: items[...]) }
    func remove(_ name: String) { items.removeAll { $0.name == name } }

    func writePending(_ invalidations: [[ByteBuffer]], limit: Int) -> Bool {
        host?.note(.journal("pending \(invalidations.map { String(buffer: $0[0]) }.joined(separator: " "))"))
        return true
    }

    func writeMarker() { host?.note(.journal("marker")) }
    func removeLeftovers() {}
}
