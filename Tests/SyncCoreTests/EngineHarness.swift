import IPCTesting
import EngineTesting
import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// A host of the loop with a manual clock, and optionally a ``HarnessServer`` behind it. Effects are kept for the test to
/// look at; commands for the server are executed at once unless the link is cut.
final class EngineHarness: EngineHost {
    private let configuration: EngineConfiguration
    let seed: UInt64
    private(set) lazy var loop = EngineLoop(
        host: self, configuration: configuration, table: table, arena: arena.flatMap(ValueArenaWriter.init),
        random: SeededRandom(seed: seed))
    let table: TagTable
    /// The values that all processes share; `nil`: none.
    let arena: ValueArena?
    var server: HarnessServer?
    var now: BootTime
    /// ms since 1970; it goes on with ``now``.
    var wallClock: UInt64 { wallClockAtZero + now.number / 1_000_000 }
    var wallClockAtZero: UInt64
    /// Commands that were sent at this instant: as no time passes, what asks again and again would never end.
    private var instant: (time: BootTime, commands: Int) = (0, 0)
    private static let commandsPerInstant = 10_000
    private let files = HarnessJournal()
    var journalDirectory: any EngineJournal { files }
    var ownsTable = true
    /// Commands reach the server and answers come back.
    var isLinked = false
    /// Publications arrive.
    var isListening = true
    /// Effects since the last `take`.
    private var effects: [Effect] = []
    private var timers: [EngineTimer: BootTime] = [:]
    /// Whose requests have been sent, by number, and which of its requests each is.
    private var requests: [(client: ClientID, id: RequestID)] = []
    /// The clients, by the numbers that the test gives them.
    private var clients: [ClientID: ClientID] = [:]

    init(
        _ mode: LogMode, server: HarnessServer? = nil, table: TagTable = .inMemory(), arena: ValueArena? = .inMemory(),
        limits: Limits = Limits(), bridge: BridgeRules = .none, now: BootTime = 1_000_000_000_000, seed: UInt64 = 1,
        wallClockAtZero: UInt64 = 1_700_000_000_000, report: ReportRecord? = nil
    ) {
        self.now = now
        self.wallClockAtZero = wallClockAtZero
        self.table = table
        self.arena = arena
        self.server = server
        self.seed = seed
        configuration = EngineConfiguration(
            mode: mode, limits: limits, version: "test", tablePath: "/t", journalPath: "/j", bridge: bridge,
            report: report)
        loop.start()
    }

    /// A harness that is attached to a fresh server.
    static func attached(
        _ server: HarnessServer, table: TagTable = .inMemory(), arena: ValueArena? = .inMemory(),
        bridge: BridgeRules = .none, seed: UInt64 = 1
    ) -> EngineHarness {
        let harness = EngineHarness(.redis, server: server, table: table, arena: arena, bridge: bridge, seed: seed)
        harness.connect()
        harness.settle()
        #expect(harness.state == .attached)
        _ = harness.take()
        return harness
    }

    var state: SyncState { loop.state }
    var shownState: ShownState { loop.shownState().state }
    var epoch: Epoch { loop.epoch }
    var applied: LogPosition { loop.applied }
    var firstKnownPosition: LogPosition { table.firstKnownPosition }
    /// A value of the section `log` of STATUS.
    func status(_ name: String) -> StatusValue? {
        guard case .fields(let fields) = loop.statusSection("log") else { return nil }
        return fields.first { $0.name == name }?.value
    }

    var deadline: BootTime? { loop.engine.nextDeadline() }
    func slot(_ tag: String) -> LogPosition { table.slot(table.slotIndex(TagHash.tag(ByteBuffer(string: tag)))) }

    /// The journal directory: files that the next scan finds.
    var journal: [JournalItem] {
        get { files.items }
        set { files.items = newValue }
    }
    var isJournalReadable: Bool {
        get { files.isReadable }
        set { files.isReadable = newValue }
    }
    /// Files that the next scan gets in each of its parts.
    var journalPart: Int {
        get { files.part }
        set { files.part = newValue }
    }
    /// Parts after the first one can be read.
    var isRestReadable: Bool {
        get { files.isRestReadable }
        set { files.isRestReadable = newValue }
    }
    /// Names of files that stay whatever is tried.
    var undeletable: Set<String> {
        get { files.undeletable }
        set { files.undeletable = newValue }
    }

    // MARK: Driving

    func connect() {
        connectCommands()
        event(.subscriptionConnected(server?.identity))
    }

    func disconnect() {
        disconnectCommands()
        event(.subscriptionDisconnected(reason: "cut"))
    }

    func connectCommands() {
        isLinked = true
        event(.commandsConnected)
    }

    func disconnectCommands() {
        isLinked = false
        event(.commandsDisconnected(reason: "cut"))
    }

    func event(_ event: UpstreamEvent) { loop.submit(.upstream(event)) }

    func adopt(_ limits: Limits) { loop.adopt(limits) }

    func heartbeat() { loop.submit(.due(.heartbeat)) }

    /// The table is another syncd's now, and this one has noticed.
    func loseTable() {
        ownsTable = false
        heartbeat()
    }

    /// Lets time pass in heartbeats, as the daemon does.
    func advance(milliseconds: UInt64, heartbeats: Bool = true) {
        let end = now + milliseconds * 1_000_000
        var nextHeartbeat = now + TrustTiming.heartbeatIntervalNanoseconds
        while now < end {
            now = min(end, nextHeartbeat, max(now, timers[.deadline] ?? end))
            if let due = timers[.deadline], due <= now {
                timers[.deadline] = nil
                loop.submit(.due(.deadline))
            }
            if heartbeats, now >= nextHeartbeat {
                heartbeat()
                nextHeartbeat = now + TrustTiming.heartbeatIntervalNanoseconds
            }
            if !heartbeats { nextHeartbeat = end }
        }
        deliver()
    }

    /// All messages on their way arrive, and two heartbeats pass.
    func settle() {
        deliver()
        advance(milliseconds: 200)
    }

    /// Delivers what the server has published.
    func deliver() {
        guard let server else { return }
        while !server.publications.isEmpty {
            let publication = server.publications.removeFirst()
            if isListening { event(publication) }
        }
    }

    func client(_ id: ClientID, version: RESPVersion = .v3, peer: Peer = Peer(pid: 1, uid: 0)) {
        clients[id] = loop.connect(PromptClient(), peer: peer)
        _ = request(.hello(version: version, name: nil), from: id)
    }

    /// Whether one more client of this process has a place.
    func hasRoom(for peer: Peer) -> Bool { loop.engine.hasRoom(for: peer) }

    func close(_ id: ClientID) {
        if let client = clients.removeValue(forKey: id) { loop.submit(.disconnected(client)) }
    }

    /// Sends a request and returns its answer, if it came at once. Other effects stay for `take`.
    @discardableResult
    func request(_ request: Request, from client: ClientID = 1) -> Reply? {
        guard let client = clients[client] else { return nil }
        var writer = RESPWriter(version: .v2)
        request.encode(into: &writer)
        let count = requests.count
        loop.submit(.received(client, writer.buffer))
        return requests.count > count ? answer(to: lastRequest) : nil
    }

    /// Takes the answer to a request that was sent before.
    func answer(to number: Int) -> Reply? {
        let asked = requests[number]
        for (index, effect) in effects.enumerated() {
            if case .reply(asked.client, asked.id, let reply) = effect {
                effects.remove(at: index)
                return reply
            }
        }
        return nil
    }

    var lastRequest: Int { requests.count - 1 }

    /// Effects since the last time, without notices and heartbeats.
    func take() -> [Effect] {
        defer { effects = [] }
        return effects.filter {
            switch $0 {
            case .notice, .pushTracking(_, .heartbeat): false
            default: true
            }
        }
    }

    /// Notices since the last time.
    func takeNotices() -> [Notice] {
        defer { effects = [] }
        return effects.compactMap { if case .notice(let notice) = $0 { notice } else { nil } }
    }

    /// Commands for the server that were not executed since the last time.
    func upstreamCommands() -> [UpstreamCommand] {
        take().compactMap { if case .upstream(let command) = $0 { command } else { nil } }
    }

    /// Pushes since the last time.
    func takePushes() -> [Push] {
        take().compactMap { if case .push(_, let push) = $0 { push } else { nil } }
    }

    // MARK: As a host

    func willDecide(_ request: Request, _ id: RequestID, of client: ClientID) { requests.append((client, id)) }

    func willPerform(_ effect: Effect) {
        switch effect {
        case .scanJournal: break
        case .upstream where isLinked && server != nil: break
        default: effects.append(effect)
        }
    }

    func send(_ command: UpstreamCommand) {
        if now != instant.time { instant = (now, 0) }
        instant.commands += 1
        guard isLinked, instant.commands <= Self.commandsPerInstant else {
            if instant.commands == Self.commandsPerInstant + 1 { Issue.record("commands have no end") }
            return
        }
        guard let answer = server?.execute(command) else { return }
        loop.submit(.upstream(answer))
    }

    func schedule(_ timer: EngineTimer, at time: BootTime) { timers[timer] = time }
    func flushUpstream() {}
    func log(_ event: EngineEvent) {}
    func statusFields(_ section: String) -> [StatusField]? { nil }
    func mayShutDown(_ peer: Peer) -> Bool { false }
    func shutdownAsked() {}
    func tableLost() {}
}

/// A journal directory as a list.
private final class HarnessJournal: EngineJournal {
    var items: [JournalItem] = []
    var isReadable = true
    var isRestReadable = true
    var part = Int.max
    var undeletable: Set<String> = []
    private var written = 0
    let identity = FileIdentity.unknown

    private struct Unusable: Error, CustomStringConvertible {
        let description = "unusable"
    }

    /// The rest of a reading, which it has not given yet.
    private struct Reading: EngineJournalReading {
        var rest: ArraySlice<JournalItem>
        var part: Int
        var isReadable = true
        var isRestReadable: Bool
        var isAtEnd: Bool { rest.isEmpty }

        mutating func next(_ count: Int, isWanted: (String, Bool, UInt64) -> Bool) throws -> [JournalItem] {
            guard isReadable else { throw Unusable() }
            isReadable = isRestReadable
            let count = min(count, part)
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count).map { item in
                var item = item
                item.isRead = isWanted(item.name, item.kind == .living, item.version)
                if !item.isRead { item.tags = [] }
                return item
            }
        }
    }

    func beginReading() throws -> any EngineJournalReading {
        guard isReadable else { throw Unusable() }
        return Reading(rest: items[...], part: part, isRestReadable: isRestReadable)
    }

    func remove(_ name: String) throws {
        if undeletable.contains(name) { throw Unusable() }
        items.removeAll { $0.name == name }
    }

    func writePending(_ invalidations: [[ByteBuffer]], limit: Int) -> Bool {
        for tags in invalidations {
            written += 1
            items.append(JournalItem(name: "own-\(written).pending", kind: .pending, tags: tags))
        }
        return true
    }

    func writeMarker() { items = [JournalItem(name: "all.marker", kind: .marker, tags: [])] }

    func removeLeftovers() {}
}

extension TypedNumber {
    static func all(_ numbers: ClosedRange<UInt64>) -> [Self] { numbers.map { Self($0) } }
}

extension ByteBuffer {
    static func text(_ text: String) -> ByteBuffer { ByteBuffer(string: text) }
}
