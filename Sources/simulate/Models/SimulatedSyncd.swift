import EngineHosting
import IPC
import IPCTesting
import IPCWire
import NIOCore
import SyncCore

/// syncd on a simulated machine: a host of the loop that ships. Between two effects it can be stopped or killed.
// Unchecked: everything in a simulation runs on its one thread.
final class SimulatedSyncd: Process, @unchecked Sendable {
    let host: Host
    private let plan: Plan
    private let oracle: Oracle
    private let journal: JournalDirectory
    private let openJournals: OpenJournals
    private let table: TagTable
    private let configuration: EngineConfiguration
    private let random: SeededRandom
    private(set) lazy var loop = EngineLoop(
        host: self, configuration: configuration, table: table,
        arena: host.arena.flatMap(ValueArenaWriter.init), random: random)
    private(set) var upstream: UpstreamModel?
    private var clients: [SimulatedClient] = []
    private(set) var isListening = false
    /// By timer: the number of the latest request.
    private var timers: [EngineTimer: Int] = [:]
    private var scheduled = 0
    /// A pending invalidation could not be written: it is lost with this process.
    private var isPendingInMemory = false
    private var stoppedAt: BootTime?

    /// The directories that syncd has opened.
    // Unchecked: everything in a simulation runs on its one thread.
    private final class OpenJournals: @unchecked Sendable {
        private(set) var all: [MemoryJournal]

        init(_ first: MemoryJournal) { all = [first] }

        func add(_ journal: MemoryJournal) -> MemoryJournal {
            all.append(journal)
            return journal
        }
    }

    init(host: Host, number: Int, oracle: Oracle, cluster: Cluster?) {
        self.host = host
        self.plan = host.plan
        self.oracle = oracle
        table = host.table
        let world = host.world
        let files = host.openJournal()
        let open = OpenJournals(files)
        openJournals = open
        journal = JournalDirectory(
            files, path: "/run/syncd/journal",
            owner: JournalFileName.owner(random: world.random.next(), processID: 2),
            open: { open.add(host.openJournal()) })
        configuration = EngineConfiguration(
            mode: cluster == nil ? .embedded : .redis, limits: host.plan.limits, version: "simulated",
            tablePath: "/run/syncd/tags.table", journalPath: "/run/syncd/journal",
            arenaPath: "/run/syncd/values.arena")
        random = SeededRandom(seed: world.random.next())
        super.init(world: world, name: "syncd\(host.index).\(number)")
        // The loop takes the table over when it is made: now.
        _ = loop
        if let cluster {
            upstream = UpstreamModel(process: self, cluster: cluster, network: host.network, oracle: oracle) {
                [unowned self] event in
                oracle.upstreamEvent(self, event)
                loop.submit(.upstream(event))
            }
        }
        oracle.syncdStarted(self)
    }

    var state: SyncState { loop.state }
    var epoch: Epoch { loop.epoch }
    var applied: LogPosition { loop.applied }

    /// Whether syncd has opened this journal.
    func isReading(_ journal: MemoryJournal) -> Bool { openJournals.all.contains { $0 === journal } }

    func start() {
        loop.start()
        upstream?.start()
        isListening = true
    }

    /// A client has connected; it is accepted when syncd runs.
    func connected(_ socket: Socket) {
        let client = SimulatedClient(socket, of: self)
        clients.append(client)
        world.at(world.now, self, "accept", lane: ObjectIdentifier(socket.toServer)) { client.accept() }
    }

    override func died() {
        if isPendingInMemory { oracle.lostJournal(of: host) }
        isListening = false
        for client in clients { client.abandon() }
        upstream?.died()
    }

    override func changed() { if isPresent { oracle.silence(host.index, isStopped || !isAlive) } }

    /// False for a syncd that was replaced because the runtime directory was removed.
    var isPresent: Bool { host.syncd === self }

    /// The process was stopped between two effects: the rest of the turn comes first.
    override func continued() {
        loop.resume()
        if !isStopped { stoppedAt = nil }
    }

    /// When what is performed now was decided: before it was stopped in the middle of a turn.
    private var decidedAt: BootTime { stoppedAt ?? world.now }

    override func turnEnded() {
        guard isAlive, !isStopped else { return }
        clients.removeAll { $0.isClosed }
        for client in clients {
            guard let transport = client.id.flatMap(loop.transport) else { continue }
            oracle.check(transport.unsentBytes <= plan.limits.unsentBytes, "output is bounded")
        }
    }

    private func interrupt() {
        if world.random.oneIn(3) {
            oracle.figures.add("syncd killed between two effects")
            kill()
        } else {
            oracle.figures.add("syncd stopped between two effects")
            stoppedAt = stoppedAt ?? world.now
            stop()
            world.after(world.random.number(1_000_000...plan.longestStop), nil, "continue syncd") { [self] in proceed()
            }
        }
    }

    // MARK: For the checks

    /// A number of STATUS.
    func figure(_ section: String, _ name: String) -> UInt64? {
        guard case .fields(let fields) = loop.statusSection(section),
            case .number(let number)? = fields.first(where: { $0.name == name })?.value
        else { return nil }
        return number
    }
}

extension SimulatedSyncd: EngineHost {
    var now: BootTime { world.now }
    /// Every run has the same day.
    var wallClock: UInt64 { 1_700_000_000_000 + world.now.number / 1_000_000 }
    var journalDirectory: any EngineJournal { journal }
    var ownsTable: Bool { host.ownsTable(table) }

    func schedule(_ timer: EngineTimer, at time: BootTime) {
        scheduled += 1
        let number = scheduled
        timers[timer] = number
        world.at(time, self, timer.label) { [self] in
            if timers[timer] == number { loop.submit(.due(timer)) }
        }
    }

    func send(_ command: UpstreamCommand) { upstream?.send(command) }
    func flushUpstream() { upstream?.flush() }

    func feedToken(_ name: ByteBuffer) -> ByteBuffer? { host.feedToken }
    func storeFeedToken(_ name: ByteBuffer, _ token: ByteBuffer?) { host.feedToken = token }

    func log(_ event: EngineEvent) {
        switch event {
        case .clientGone(let client, _): oracle.clientClosed(self, client)
        case .clientCutOff(_, _, .doesNotRead): oracle.figures.add("goal: output limit closed a client")
        case .pushesCollapsed: oracle.figures.add("goal: pushes collapsed into one")
        case .requestRefused(_, let error): oracle.fail("a client sent what syncd refuses: \(error.message)")
        case .protocolError(_, _, let error): oracle.fail("a client sent a malformed frame: \(error)")
        case .pendingInMemory: isPendingInMemory = true
        case .notice(.attached): isPendingInMemory = false
        case .clientConnected, .clientCutOff, .journal, .notice: break
        }
    }

    func mayProceed() -> Bool {
        if plan.turnInterruptions > 0, !world.areFaultsOver, world.random.oneIn(plan.turnInterruptions) { interrupt() }
        return isAlive && !isStopped
    }

    func willPerform(_ effect: Effect) {
        oracle.effect(self, effect, decidedAt: decidedAt)
    }

    func willTake(_ items: [JournalItem]) {
        if items.contains(where: { $0.kind == .living && $0.isRead }) {
            oracle.figures.add("goal: intent of a living owner appended")
        }
        if items.contains(where: { $0.name.contains("/") }) { oracle.figures.add("goal: renamed journal followed") }
    }

    func willDecide(_ request: Request, _ id: RequestID, of client: ClientID) {
        oracle.requested(self, client, id, request)
    }

    /// Another syncd may have begun.
    func tableLost() {
        oracle.figures.add("goal: syncd without its table ended")
        kill()
    }

    func statusFields(_ section: String) -> [StatusField]? { nil }
    func mayShutDown(_ peer: Peer) -> Bool { false }
    func shutdownAsked() {}
}

extension EngineTimer {
    fileprivate var label: StaticString {
        switch self {
        case .heartbeat: "heartbeat due"
        case .deadline: "deadline"
        case .journalPart, .slice, .leftovers: "timer"
        }
    }
}
