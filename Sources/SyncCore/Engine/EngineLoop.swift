import DequeModule
import IPCWire
import NIOCore

/// The loop around the engine: takes what happens, performs what the engine decides, and ends turns.
///
/// A turn is: an input comes in, the engine decides, its effects are performed in order, and at the turn's end every
/// client that has output is flushed once. Inputs that an effect brings about meanwhile wait in `inputs`
/// and belong to the same turn. Everything that is under way is kept in properties and not on the stack, so that
/// ``step()`` can be left after each effect and taken up again: a simulated process is stopped or killed there.
///
/// `isRunning` is the only guard against re-entrancy: no other function looks at what calls it.
package final class EngineLoop {
    // The host owns the loop and outlives it; a counted reference would cost two atomic operations at each use.
    unowned(unsafe) let host: any EngineHost
    var engine: SyncEngine
    var limits: Limits
    /// The memory of all clients.
    package let budget: BufferBudget
    private let window: RequestWindow

    // The present turn.
    private var isRunning = false
    private var inputs: Deque<Input> = []
    /// Clients that go on with what was read of them already.
    private var resuming: Deque<ClientConnection> = []
    /// The time of the latest decision, and the effects that are not performed yet.
    var turn = Turn<Effect>(now: 0)
    private var nextEffect = 0
    /// The client whose requests are taken, one after the other: most effects are for it.
    var taking: ClientConnection?
    /// When that began, when the last request was decided, and whether one was.
    var (takingBegan, takingNow, hasTaken): (BootTime, BootTime, Bool) = (0, 0, false)
    /// Something has happened since the last end of a turn.
    private var isTurnOpen = false
    /// Further inputs follow at once, and belong to the same turn.
    private var isTurnHeld = false
    /// Whose turn it is, since when.
    private var charged: (peer: Peer, since: BootTime)?

    // The clients and their turns.
    var clients: [ClientID: ClientConnection] = [:]
    /// Closed connections whose requests are still under way.
    private var leaving: [ClientID: ClientConnection] = [:]
    private var lastClient: ClientConnection?
    private var nextClient: ClientID = 0
    private var dirty: [ClientConnection] = []
    private var nextDirty = 0
    var turns = TurnQueue()
    private var sliceDue: BootTime = 0
    private var isSlicePostponed = false
    var waitingForRoom: [ClientConnection] = []

    // The journal.
    var reading: JournalPart?
    /// A part of ``reading`` belongs to this turn, since when.
    var isPartDue = false
    var partBegan: BootTime = 0
    var isPartScheduled = false
    /// Invalidations that this turn has deferred.
    var pending: [[ByteBuffer]] = []

    /// Another syncd may have begun: nothing is sent any more.
    private(set) var isTableLost = false
    /// A reply is queued that promises the content of the table.
    var hasPromised = false
    private var hasSentUpstream = false
    /// A heartbeat belongs to this turn.
    private var isHeartbeatDue = false
    private var deadline: BootTime?
    private(set) var isStopping = false

    /// Capacity of the effect queue that is kept between turns.
    private static let keptEffects = 4096
    private static let leftoversNanoseconds: UInt64 = 60_000_000_000

    /// `host` has to live as long as the loop.
    package init(
        host: any EngineHost, configuration: EngineConfiguration, table: TagTable, arena: ValueArenaWriter?,
        random: any RandomNumberGenerator & Sendable
    ) {
        self.host = host
        limits = configuration.limits
        budget = BufferBudget(limit: configuration.limits.bufferedBytes)
        window = RequestWindow(limits: configuration.limits)
        engine = SyncEngine(
            configuration: configuration, table: table, arena: arena, random: random, now: host.now,
            wallClock: host.wallClock)
    }

    /// Goes through the journal and gives the first heartbeat. After it, clients may come.
    package func start() {
        submit(.due(.heartbeat))
        host.schedule(.leftovers, at: host.now)
    }

    // MARK: Running

    /// Takes what happens. `isLast`: nothing that belongs to the same turn follows.
    package func submit(_ input: Input, isLast: Bool = true) {
        isTurnHeld = !isLast
        isTurnOpen = true
        if isRunning || isInterrupted {
            inputs.append(input)
        } else {
            isRunning = true
            handle(input)
            isRunning = false
        }
        run()
    }

    /// Ends a turn whose last input is not known before: nothing follows.
    package func endTurn() {
        isTurnHeld = false
        run()
    }

    /// Goes on where the host has stopped the loop.
    package func resume() { run() }

    private func run() {
        if isRunning { return }
        isRunning = true
        while step() {}
        isRunning = false
    }

    /// Whether the host has stopped the loop in the middle of a turn.
    private var isInterrupted: Bool {
        nextEffect < turn.effects.count || isPartDue || taking != nil || !inputs.isEmpty
    }

    /// The next thing to do, in this order. Returns false when there is nothing, or the host stops the loop.
    private func step() -> Bool {
        if isPartDue {
            guard host.mayProceed() else { return false }
            journalStep()
        } else if nextEffect < turn.effects.count {
            guard host.mayProceed() else { return false }
            perform(takeEffect())
        } else if let client = taking {
            takeRequest(of: client)
        } else if let input = inputs.popFirst() {
            handle(input)
        } else if let client = resuming.popFirst() {
            let now = host.now
            endCharge(now)
            charge(client, since: now)
            take(from: client, now: now)
        } else {
            return isTurnOpen && !isTurnHeld && finishTurn()
        }
        return true
    }

    /// The next effect. The last one, which is mostly the only one, is moved out instead of being copied.
    private func takeEffect() -> Effect {
        if nextEffect == turn.effects.count - 1 {
            let effect = turn.effects.removeLast()
            dropPerformed()
            return effect
        }
        nextEffect += 1
        return turn.effects[nextEffect - 1]
    }

    private func dropPerformed() {
        guard nextEffect > 0 else { return }
        turn.effects.removeAll(keepingCapacity: nextEffect <= Self.keptEffects)
        nextEffect = 0
    }

    private func handle(_ input: Input) {
        switch input {
        case .received(let id, let bytes): received(id, bytes)
        case .sent(let id, let bytes): if let client = client(id) { sent(client, bytes) }
        case .upstream(let event):
            turn.now = host.now
            engine.upstream(event, &turn)
        case .connected(let id): connected(id)
        case .inputClosed(let id): inputClosed(id)
        case .disconnected(let id): disconnected(id)
        case .due(.deadline):
            deadline = nil
            turn.now = host.now
            engine.wake(&turn)
        case .due(.heartbeat): heartbeat()
        case .due(.journalPart):
            isPartScheduled = false
            beginPart()
        case .due(.slice): beginSlice()
        case .due(.leftovers): removeLeftovers()
        }
    }

    private func removeLeftovers() {
        if isStopping || isTableLost { return }
        cleanJournal()
        host.schedule(.leftovers, at: host.now + Self.leftoversNanoseconds)
    }

    private func heartbeat() {
        if isStopping { return }
        // The time comes first: a heartbeat of it says nothing about a table that was taken away later.
        let now = host.now
        host.schedule(.heartbeat, at: now + TrustTiming.heartbeatIntervalNanoseconds)
        guard keepsTable() else { return }
        turn.now = now
        engine.heartbeatDue(wallClock: host.wallClock, &turn)
        turns.age()
        cutOffSlowRequests(now)
        isHeartbeatDue = true
    }

    // MARK: The end of a turn

    /// Flushes every client that has output, and does what is due once per turn. Returns whether there is more to do.
    private func finishTurn() -> Bool {
        writePending()
        // Flushing one client may bring output for others, which come after all that were due before.
        while nextDirty < dirty.count {
            if !pending.isEmpty { writePending() }
            // A client that is told that an invalidation is in the table must find it there.
            if hasPromised || isTableLost {
                hasPromised = false
                guard keepsTable() else { return abandonTurn() }
            }
            nextDirty += 1
            flush(dirty[nextDirty - 1])
        }
        if nextDirty == 1 { dirty.removeLast() } else if nextDirty > 1 { dirty.removeAll(keepingCapacity: true) }
        nextDirty = 0
        if isInterrupted || !resuming.isEmpty { return true }
        if budget.isExceeded { keepWithinBudget() }
        giveRoom()
        isTurnOpen = false
        if hasSentUpstream {
            hasSentUpstream = false
            host.flushUpstream()
        }
        scheduleDeadline()
        if reading != nil { scheduleJournalPart() }
        if charged != nil { endCharge(host.now) }
        if isHeartbeatDue {
            isHeartbeatDue = false
            host.heartbeatEnded()
        }
        if turns.isInSlice { takeSlice() }
        return isInterrupted || isTurnOpen
    }

    /// Nobody is told anything any more.
    private func abandonTurn() -> Bool {
        isTurnOpen = false
        isHeartbeatDue = false
        charged = nil
        return false
    }

    private func scheduleDeadline() {
        guard let next = engine.nextDeadline(), !isStopping else { return }
        if let deadline, deadline <= next { return }
        deadline = next
        host.schedule(.deadline, at: next)
    }

    /// Whether the path still names the table that this syncd writes. If not, the runtime directory was removed or
    /// replaced: another syncd may have begun there, whose clients know nothing of this one. From here on nobody hears of
    /// this one, either.
    func keepsTable() -> Bool {
        if isTableLost { return false }
        if host.ownsTable { return true }
        isTableLost = true
        engine.tableLost()
        host.tableLost()
        return false
    }

    // MARK: Clients in turns

    /// Gives a new client its place. Its first input is submitted.
    package func connect(_ channel: any ClientChannel, peer: Peer) -> ClientID {
        nextClient += 1
        clients[nextClient] = ClientConnection(
            id: nextClient, peer: peer, channel: channel, limits: limits, budget: budget, window: window)
        let id = nextClient
        submit(.connected(id))
        return id
    }

    func client(_ id: ClientID) -> ClientConnection? {
        if let lastClient, lastClient.id == id { return lastClient }
        lastClient = clients[id]
        return lastClient
    }

    func forget(_ client: ClientConnection) {
        clients[client.id] = nil
        if client.hasRequestsUnderWay { leaving[client.id] = client }
        if lastClient === client { lastClient = nil }
        if taking === client { taking = nil }
    }

    /// The engine has answered a request. Returns the client, unless it is gone.
    func answered(_ id: ClientID, _ request: RequestID) -> ClientConnection? {
        let present = client(id)
        guard let client = present ?? leaving[id] else { return nil }
        client.answered(request)
        for next in client.takeQueued() { resume(next) }
        if present == nil, !client.hasRequestsUnderWay { leaving[id] = nil }
        return present
    }

    func needsFlush(_ client: ClientConnection) {
        guard !client.isFlushDue else { return }
        client.isFlushDue = true
        dirty.append(client)
    }

    func resume(_ client: ClientConnection) { resuming.append(client) }

    /// Its turn counts from `began` on.
    func charge(_ client: ClientConnection, since began: BootTime) { charged = (client.peer, began) }

    private func endCharge(_ now: BootTime) {
        guard let (peer, since) = charged else { return }
        charged = nil
        turns.charge(peer, now - since)
    }

    /// A timer that fires late may be one of many that are due: the event loop has not been to its sockets since the last
    /// slice, as on a busy machine. Then the slice comes after another pause.
    private func beginSlice() {
        let now = host.now
        if now > sliceDue + TurnQueue.pauseNanoseconds, !isSlicePostponed {
            isSlicePostponed = true
            return scheduleSlice(at: now)
        }
        isSlicePostponed = false
        turns.beginSlice()
        takeSlice()
    }

    func scheduleSlice(at now: BootTime) {
        sliceDue = now + TurnQueue.pauseNanoseconds
        host.schedule(.slice, at: sliceDue)
    }

    /// The next client of the slice, if there is time for one.
    private func takeSlice() {
        let (client, isMore) = turns.next()
        if isMore { scheduleSlice(at: host.now) }
        guard let client else { return }
        isTurnOpen = true
        client.isSuspended = false
        let now = host.now
        charge(client, since: now)
        take(from: client, now: now)
    }

    func sendUpstream(_ command: UpstreamCommand) {
        hasSentUpstream = true
        host.send(command)
    }

    // MARK: Limits and ending

    /// From here on other limits hold: for what is shared at once, for single clients when they are new.
    package func adopt(_ limits: Limits) {
        self.limits = limits
        budget.limit = limits.bufferedBytes
        window.limits = limits
        engine.adopt(limits)
    }

    /// From here on nobody is told to believe a cache; requests that are under way may still be answered.
    package func beginStop() {
        isStopping = true
        engine.stop()
    }

    /// Number of closed connections with requests that the engine has not answered.
    package var leavingCount: Int { leaving.count }

    /// Whether requests are still under way.
    package var isBusy: Bool {
        clients.values.contains { $0.transport.requestsInFlight > 0 || $0.transport.unsentBytes > 0 }
    }

    /// Closes every client.
    package func closeClients() {
        for id in clients.keys.sorted() { clients[id]?.channel.close() }
    }

    // MARK: For the host

    package var state: SyncState { engine.state }
    package var epoch: Epoch { engine.epoch }
    package var applied: LogPosition { engine.applied }
    /// Whether an own write's entry that covers the change has been applied.
    package func isCovered(_ change: FeedChange) -> Bool { engine.coveredWrites.covers(change) }
    package func shownState() -> (state: ShownState, reason: String?) { engine.shownState(now: host.now) }
    /// The figures of the report up to now, which a host keeps for the next syncd.
    package func reportRecord() -> ReportRecord { engine.reportRecord(now: host.now) }
}
