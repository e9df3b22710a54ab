import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// An engine with a manual clock, and optionally a ``ModelServer`` behind it. Effects of the engine are kept for the
/// test; commands for the server are executed at once unless the link is cut.
final class BrainHarness {
    private var brain: Brain
    let table: TagTable
    let server: ModelServer?
    var now: UInt64
    /// The journal directory: files that the next scan finds.
    var journal: [JournalItem] = []
    var isJournalReadable = true
    /// Files that the next scan gets in its first part.
    var journalPart = 1000
    /// Whether the files after the first part can be read.
    var isRestReadable = true
    /// Names of files that stay whatever is tried.
    var undeletable: Set<String> = []
    /// Commands reach the server and answers come back.
    var isLinked = false
    /// Publications arrive.
    var isListening = true
    /// Effects since the last `take`.
    private var effects: [Effect] = []
    private var nextRequest: RequestID = 0
    private var owedFiles = 0

    init(
        _ mode: LogMode, server: ModelServer? = nil, table: TagTable = .inMemory(),
        limits: Limits = Limits(), bridge: BridgeRules = .none, now: UInt64 = 1_000_000_000_000, seed: UInt64 = 1
    ) {
        self.now = now
        self.table = table
        self.server = server
        brain = Brain(
            configuration: BrainConfiguration(
                mode: mode, limits: limits, version: "test", tablePath: "/t", journalPath: "/j", bridge: bridge),
            table: table, random: SeededRandom(seed: seed), now: now)
        beat()
    }

    /// A harness that is attached to a fresh server.
    static func attached(
        _ server: ModelServer, table: TagTable = .inMemory(), bridge: BridgeRules = .none, seed: UInt64 = 1
    ) -> BrainHarness {
        let harness = BrainHarness(.redis, server: server, table: table, bridge: bridge, seed: seed)
        harness.connect()
        harness.settle()
        #expect(harness.state == .attached)
        _ = harness.take()
        return harness
    }

    var state: SyncState { brain.state }
    var epoch: UInt64 { brain.epoch }
    var applied: UInt64 { brain.applied }
    var horizon: UInt64 { table.horizon }
    /// A value of the section `log` of STATUS.
    func status(_ name: String) -> StatusValue? {
        guard case .fields(let fields) = brain.statusSection("log", now: now, transport: { _ in nil }) else {
            return nil
        }
        return fields.first { $0.name == name }?.value
    }

    func loseTable() { run { brain, _, _ in brain.tableLost() } }

    var deadline: UInt64? { brain.nextDeadline() }
    func slot(_ tag: String) -> UInt64 { table.slot(table.slotIndex(TagHash.tag(ByteBuffer(string: tag)))) }

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

    func event(_ event: UpstreamEvent) {
        run { brain, now, effects in brain.upstream(event, now: now, effects: &effects) }
    }

    func adopt(_ limits: Limits) { run { brain, _, _ in brain.adopt(limits) } }

    func beat() { run { brain, now, effects in brain.beatDue(now: now, effects: &effects) } }

    /// Lets time pass in heartbeats, as the daemon does.
    func advance(milliseconds: UInt64, beats: Bool = true) {
        let end = now + milliseconds * 1_000_000
        var nextBeat = now + TrustTiming.beatIntervalNanoseconds
        while now < end {
            now = min(end, nextBeat, max(now, brain.nextDeadline() ?? end))
            run { brain, now, effects in brain.wake(now: now, effects: &effects) }
            if beats, now >= nextBeat {
                beat()
                nextBeat = now + TrustTiming.beatIntervalNanoseconds
            }
            if !beats { nextBeat = end }
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
        run { brain, now, _ in brain.clientConnected(id, peer: peer, now: now) }
        _ = request(.hello(version: version, name: nil), from: id)
    }

    /// Whether one more client of this process has a place.
    func hasRoom(for peer: Peer) -> Bool { brain.hasRoom(for: peer) }

    func close(_ id: ClientID) { run { brain, now, effects in brain.clientClosed(id, now: now, effects: &effects) } }

    /// Sends a request and returns its answer, if it came at once. Other effects stay for `take`.
    @discardableResult
    func request(_ request: Request, from client: ClientID = 1) -> Reply? {
        let id = nextRequest
        nextRequest += 1
        run { brain, now, effects in brain.request(client, id, request, now: now, effects: &effects) }
        return answer(to: id)
    }

    /// Takes the answer to a request that was sent before.
    func answer(to id: RequestID) -> Reply? {
        for (index, effect) in effects.enumerated() {
            if case .reply(_, id, let reply) = effect {
                effects.remove(at: index)
                return reply
            }
        }
        return nil
    }

    var lastRequest: RequestID { nextRequest - 1 }

    /// Effects since the last time, without notices and heartbeats.
    func take() -> [Effect] {
        defer { effects = [] }
        return effects.filter {
            switch $0 {
            case .notice, .pushTracking(_, .beat): false
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

    private func run(_ body: (inout Brain, UInt64, inout [Effect]) -> Void) {
        var queue: [Effect] = []
        body(&brain, now, &queue)
        var index = 0
        while index < queue.count {
            perform(queue[index], &queue)
            index += 1
        }
    }

    private func perform(_ effect: Effect, _ queue: inout [Effect]) {
        switch effect {
        case .scanJournal(let sampledAt):
            if isJournalReadable {
                let items = journal.map { item in
                    var item = item
                    item.isRead = brain.wantsJournalFile(
                        item.name, isLiving: item.kind == .living, version: item.version, now: now)
                    if !item.isRead { item.tags = [] }
                    return item
                }
                // In two parts, as a daemon does with many.
                brain.journalScanned(
                    Array(items.prefix(journalPart)), sampledAt: sampledAt, isLast: items.count <= journalPart,
                    now: now, effects: &queue)
                if items.count > journalPart, !isRestReadable {
                    brain.journalUnreadable()
                } else if items.count > journalPart {
                    brain.journalScanned(
                        Array(items.dropFirst(journalPart)), sampledAt: sampledAt, now: now, effects: &queue)
                }
            } else {
                brain.journalUnreadable()
            }
        case .writeOwed(let tags):
            owedFiles += 1
            journal.append(JournalItem(name: "own-\(owedFiles).owed", kind: .owed, tags: tags))
            effects.append(effect)
        case .writeMarker:
            journal = [JournalItem(name: "all.marker", kind: .marker, tags: [])]
            effects.append(effect)
        case .removeJournalFile(let name, let version):
            if undeletable.contains(name) {
                brain.journalFileNotRemoved(name, version: version, now: now)
            } else {
                journal.removeAll { $0.name == name }
            }
            effects.append(effect)
        case .upstream(let command):
            if isLinked, let server {
                if let answer = server.execute(command) {
                    brain.upstream(answer, now: now, effects: &queue)
                }
            } else {
                effects.append(effect)
            }
        default: effects.append(effect)
        }
    }
}

/// SplitMix64: the same seed, the same numbers.
struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

extension ByteBuffer {
    static func text(_ text: String) -> ByteBuffer { ByteBuffer(string: text) }
}
