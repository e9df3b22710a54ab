import IPC
import IPCWire
import NIOCore
import SyncCore

/// The real engine on a simulated machine. This class takes the daemon's role: turns, effects in order, a heartbeat
/// every 100 ms, output that is flushed once per turn. It can be stopped or killed between two effects.
// Unchecked: everything in a simulation runs on its one thread.
final class SimulatedSyncd: Process, @unchecked Sendable {
    let host: Host
    private let plan: Plan
    private let oracle: Oracle
    private var brain: Brain
    private let journal: JournalDirectory
    private let openJournals: OpenJournals
    private let table: TagTable
    private let limits: Limits
    private(set) var upstream: UpstreamModel?
    private var connections: [ClientID: Connection] = [:]
    private var nextClient: ClientID = 0
    private(set) var isListening = false
    private var dirty: [ClientID] = []
    private var timer: UInt64?
    /// A pending invalidation could not be written: it is lost with this process.
    private var isOwedInMemory = false

    /// The work to do, in this order.
    private enum Work {
        case closed(ClientID)
        case effect(Effect, decidedAt: UInt64)
        /// The directory was read; the engine has not received the result.
        case scanned([JournalItem]?, sampledAt: UInt64)
    }

    private var work: [Work] = []
    private var workIndex = 0
    private var isPerforming = false
    private var hasPromised = false

    /// syncd's state of one client.
    private final class Connection {
        let id: ClientID
        let socket: Socket
        var decoder: CommandDecoder
        let output: ClientOutput
        var isReadingPaused = false
        var isDirty = false

        init(id: ClientID, socket: Socket, limits: Limits) {
            self.id = id
            self.socket = socket
            decoder = CommandDecoder(limits: limits.wire)
            output = ClientOutput(limits: limits)
        }
    }

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
        self.limits = host.plan.limits
        table = host.table
        let world = host.world
        let files = host.openJournal()
        let open = OpenJournals(files)
        openJournals = open
        journal = JournalDirectory(
            files, path: "/run/syncd/journal",
            owner: JournalName.owner(random: world.random.next(), processID: 2), open: { open.add(host.openJournal()) })
        brain = Brain(
            configuration: BrainConfiguration(
                mode: cluster == nil ? .embedded : .redis, limits: limits, version: "simulated",
                tablePath: "/run/syncd/tags.table", journalPath: "/run/syncd/journal"),
            table: host.table, random: SeededRandom(seed: world.random.next()), now: world.now)
        super.init(world: world, name: "syncd\(host.index).\(number)")
        if let cluster {
            upstream = UpstreamModel(process: self, cluster: cluster, network: host.network, oracle: oracle) {
                [unowned self] event in upstreamEvent(event)
            }
        }
        oracle.syncdStarted(self)
    }

    var state: SyncState { brain.state }
    var epoch: UInt64 { brain.epoch }
    var applied: UInt64 { brain.applied }
    var isEmbedded: Bool { upstream == nil }

    /// Whether syncd has opened this journal.
    func isReading(_ journal: MemoryJournal) -> Bool { openJournals.all.contains { $0 === journal } }

    func start() {
        beat()
        upstream?.start()
        isListening = true
    }

    override func died() {
        if isOwedInMemory { oracle.lostJournal(of: host.index) }
        isListening = false
        for connection in sortedConnections { connection.socket.closeServer() }
        upstream?.died()
    }

    override func changed() { if isPresent { oracle.silence(host.index, isStopped || !isAlive) } }

    /// False for a syncd that was replaced because the runtime directory was removed.
    var isPresent: Bool { host.syncd === self }

    override func continued() {
        // syncd was stopped between two effects: the rest of the turn comes first.
        perform()
        for connection in sortedConnections { decode(connection) }
    }

    private var sortedConnections: [Connection] { connections.keys.sorted().compactMap { connections[$0] } }

    private func beat() {
        guard keepsTable() else { return }
        turn { brain, now, effects in brain.beatDue(now: now, effects: &effects) }
        world.after(TrustTiming.beatIntervalNanoseconds, self, "beat due") { [self] in beat() }
    }

    private func upstreamEvent(_ event: UpstreamEvent) {
        oracle.upstreamEvent(self, event)
        turn { brain, now, effects in brain.upstream(event, now: now, effects: &effects) }
    }

    // MARK: Clients

    /// A client has connected; it is accepted when syncd runs.
    func connected(_ socket: Socket) {
        nextClient += 1
        let connection = Connection(id: nextClient, socket: socket, limits: limits)
        socket.toServer.deliver = { [unowned self] bytes in
            connection.decoder.feed(bytes)
            decode(connection)
        }
        socket.toServer.ended = { [unowned self] in closed(connection) }
        socket.toClient.taken = { [unowned self] count in
            sent(connection, count)
        }
        world.at(world.now, self, "accept", lane: ObjectIdentifier(socket.toServer)) { [self] in
            guard brain.hasRoom(for: Peer(pid: 1, uid: 0)) else { return socket.closeServer() }
            connections[connection.id] = connection
            brain.clientConnected(connection.id, peer: Peer(pid: 1, uid: 0), now: world.now)
            decode(connection)
        }
    }

    private func decode(_ connection: Connection) {
        guard connections[connection.id] != nil else { return }
        while isAlive, !isStopped, connection.output.requestsInFlight < limits.requestsInFlight,
            let arguments = nextCommand(connection)
        {
            let id = connection.output.open()
            do throws(ReplyError) {
                let request = try Request.parse(arguments, limits: limits.wire)
                oracle.requested(self, connection.id, id, request)
                turn { brain, now, effects in
                    brain.request(connection.id, id, request, now: now, effects: &effects)
                }
            } catch {
                oracle.fail("a client sent what syncd refuses: \(error.message)")
            }
        }
    }

    private func nextCommand(_ connection: Connection) -> [ByteBuffer]? {
        do throws(RESPError) {
            return try connection.decoder.next()
        } catch {
            oracle.fail("a client sent a malformed frame: \(error)")
            return nil
        }
    }

    private func closed(_ connection: Connection) {
        guard connections.removeValue(forKey: connection.id) != nil else { return }
        connection.socket.closeServer()
        // The checks see the events in the engine's order, also if it is stopped on the way.
        work.append(.closed(connection.id))
        turn { brain, now, effects in brain.clientClosed(connection.id, now: now, effects: &effects) }
    }

    private func sent(_ connection: Connection, _ count: Int) {
        guard connections[connection.id] != nil else { return }
        switch connection.output.sent(count) {
        case .nothing: break
        case .pushEpoch:
            connection.output.push(.epoch(brain.epoch, reason: .slow))
            needsFlush(connection)
            endTurn()
        case .write(let bytes): connection.socket.toClient.send(bytes)
        }
    }

    private func needsFlush(_ connection: Connection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirty.append(connection.id)
    }

    // MARK: A turn

    private func turn(_ body: (inout Brain, UInt64, inout [Effect]) -> Void) {
        var effects: [Effect] = []
        body(&brain, world.now, &effects)
        for effect in effects { work.append(.effect(effect, decidedAt: world.now)) }
        if !isPerforming { perform() }
    }

    /// Performs the queued work, unless it is stopped or killed in between.
    private func perform() {
        isPerforming = true
        while workIndex < work.count {
            if plan.turnInterruptions > 0, !world.areFaultsOver, world.random.oneIn(plan.turnInterruptions) {
                interrupt()
            }
            if isStopped || !isAlive { break }
            workIndex += 1
            perform(work[workIndex - 1])
        }
        isPerforming = false
        guard isAlive, !isStopped else { return }
        work.removeAll(keepingCapacity: true)
        workIndex = 0
        endTurn()
    }

    private func interrupt() {
        if world.random.oneIn(3) {
            oracle.figures.add("syncd killed between two effects")
            kill()
        } else {
            oracle.figures.add("syncd stopped between two effects")
            stop()
            world.after(world.random.number(1_000_000...plan.longestStop), nil, "continue syncd") { [self] in proceed()
            }
        }
    }

    private func perform(_ item: Work) {
        switch item {
        case .effect(let effect, let decidedAt): perform(effect, decidedAt: decidedAt)
        case .closed(let client): oracle.clientClosed(self, client)
        case .scanned(let items, let sampledAt):
            var effects: [Effect] = []
            if let items {
                brain.journalScanned(items, sampledAt: sampledAt, now: world.now, effects: &effects)
            } else {
                brain.journalUnreadable()
            }
            for effect in effects { work.append(.effect(effect, decidedAt: world.now)) }
        }
    }

    private func perform(_ effect: Effect, decidedAt: UInt64) {
        oracle.effect(self, effect, decidedAt: decidedAt)
        switch effect {
        case .reply(let client, let request, let reply):
            switch reply {
            case .integer, .simple(.deferred): hasPromised = true
            default: break
            }
            guard let connection = connections[client] else { return }
            connection.output.reply(request, reply)
            needsFlush(connection)
        case .push(let client, let push):
            guard let connection = connections[client] else { return }
            connection.output.push(push)
            needsFlush(connection)
        case .pushTracking(let clients, let push):
            var writer = RESPWriter(version: .v3)
            push.encode(into: &writer)
            for client in clients {
                guard let connection = connections[client] else { continue }
                connection.output.push(encoded: writer.buffer)
                needsFlush(connection)
            }
        case .upstream(let command): upstream?.send(command)
        case .scanJournal(let sampledAt):
            work.insert(.scanned((try? journalItems()) ?? nil, sampledAt: sampledAt), at: workIndex)
        case .removeJournalFile(let name, let version):
            do { try journal.remove(name) } catch {
                brain.journalFileNotRemoved(name, version: version, now: world.now)
            }
        case .writeOwed(let tags):
            do {
                try journal.writeOwed(tags)
            } catch {
                brain.owedNotWritten()
                isOwedInMemory = true
            }
        case .writeMarker:
            do { try journal.writeMarker() } catch { brain.owedNotWritten() }
        case .close(let client, _): if let connection = connections[client] { closed(connection) }
        case .notice(.attached): isOwedInMemory = false
        case .notice, .answerStatus, .answerClients, .shutdownAsked: break
        }
    }

    /// Ends if its table is not the one at the path any more: another syncd may have begun.
    private func keepsTable() -> Bool {
        if host.ownsTable(table) { return true }
        oracle.figures.add("goal: syncd without its table ended")
        brain.tableLost()
        kill()
        return false
    }

    /// The actions that the directory requires, in one part.
    private func journalItems() throws(SystemError) -> [JournalItem]? {
        var reading = try journal.read()
        guard keepsTable() else { return nil }
        brain.journalDirectory(is: journal.identity)
        let files = try reading.next(.max) { name, isLiving, version in
            brain.wantsJournalFile(name, isLiving: isLiving, version: version, now: world.now)
        }
        let items = files.compactMap(\.item)
        if items.contains(where: { $0.kind == .living && $0.isRead }) {
            oracle.figures.add("goal: intent of a living owner appended")
        }
        if items.contains(where: { $0.name.contains("/") }) { oracle.figures.add("goal: renamed journal followed") }
        return items
    }

    private func endTurn() {
        // A client that is told that an invalidation is in the table must find it there.
        if hasPromised {
            hasPromised = false
            guard keepsTable() else { return }
        }
        while !dirty.isEmpty {
            let ids = dirty
            dirty.removeAll(keepingCapacity: true)
            for id in ids {
                guard let connection = connections[id] else { continue }
                connection.isDirty = false
                flush(connection)
            }
        }
        schedule()
    }

    private func flush(_ connection: Connection) {
        let (action, hasCollapsed) = connection.output.flush()
        if hasCollapsed { oracle.figures.add("goal: pushes collapsed into one") }
        switch action {
        case .nothing: break
        case .write(let bytes): connection.socket.toClient.send(bytes)
        case .writeParts(let parts): for part in parts { connection.socket.toClient.send(part) }
        case .close:
            oracle.figures.add("goal: output limit closed a client")
            connection.socket.closeServer()
            world.after(0, self, "closed") { [self] in closed(connection) }
        }
        let wasPaused = connection.isReadingPaused
        connection.isReadingPaused = connection.output.requestsInFlight >= limits.requestsInFlight
        if wasPaused, !connection.isReadingPaused { world.after(0, self, "reads on") { [self] in decode(connection) } }
        oracle.check(connection.output.unsentBytes <= limits.unsentBytes || action != .nothing, "output is bounded")
    }

    private func schedule() {
        guard let next = brain.nextDeadline() else { return }
        if let timer, timer <= next { return }
        timer = next
        world.at(next, self, "deadline") { [self] in
            guard timer == next else { return }
            timer = nil
            turn { brain, now, effects in brain.wake(now: now, effects: &effects) }
        }
    }

    // MARK: For the checks

    /// A number of STATUS.
    func figure(_ section: String, _ name: String) -> UInt64? {
        let value = brain.statusSection(section, now: world.now) {
            connections[$0]?.output.transport
        }
        guard case .fields(let fields) = value,
            case .number(let number)? = fields.first(where: { $0.name == name })?.value
        else { return nil }
        return number
    }
}

extension JournalFile {
    /// The action that the file requires; `nil`: none.
    fileprivate var item: JournalItem? {
        let kind: JournalItem.Kind? =
            switch demand {
            case .owed: .owed
            case .orphan: .orphan
            case .living: .living
            case .incomplete: .incomplete
            case .marker: .marker
            case nil: nil
            }
        return kind.map { JournalItem(name: name, kind: $0, tags: tags ?? [], isRead: isRead, version: version) }
    }
}
