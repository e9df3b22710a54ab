import Glibc
import IPC
import Logging
import NIOCore
import ProcessSupport
import SyncCore

/// The daemon around the engine: one event loop owns the engine, the listener, all worker connections and the
/// connections to Redis. All code here runs on that loop; there are no locks.
///
/// In each turn an input arrives, the engine decides, its effects are performed in order, and at the turn's end every
/// client's connection with output is flushed once. Commands to Redis are sent once in each tick of the event loop,
/// after every input has had its turn: simultaneous commands of several clients are one message.
final class Daemon {
    let eventLoop: any EventLoop
    var brain: Brain
    private(set) var configuration: DaemonConfiguration
    let journal: JournalDirectory
    /// Whether the path of the table, and that of its lock, still name this process's.
    let ownsTable: () -> Bool
    let logger: Logger
    let clock: () -> UInt64
    private let startedAt: UInt64
    private(set) var upstream: RedisUpstream?
    private var connections: [ClientID: WorkerConnection] = [:]
    /// The memory budget of all connections.
    let budget: BufferBudget
    /// The time shares of all connections.
    let turns: TurnQueue
    private var waitingForRoom: [WorkerConnection] = []
    private var trimmer = MemoryTrimmer()
    private var nextClient: ClientID = 0
    var queue: [Effect] = []
    private var isPerforming = false
    private var dirty: [WorkerConnection] = []
    /// The connection whose request is being decided: most effects are for it.
    private var asking: WorkerConnection?
    private var isEndingTurn = false
    private var isUpstreamFlushDue = false
    private var timer: (at: UInt64, scheduled: Scheduled<Void>)?
    private var beatTask: RepeatedTask?
    private var leftoversTask: RepeatedTask?
    private var isStopping = false
    var problems: JournalProblems
    /// A reading of the journal that is not complete, and the start of its pass.
    var reading: (sampledAt: UInt64, reading: JournalReading)?
    var isReadingScheduled = false
    /// Invalidations that this turn has deferred.
    var pending: [[ByteBuffer]] = []
    /// Another syncd may have begun: nothing is sent any more.
    var isTableLost = false
    /// A reply is queued that promises the content of the table.
    private var hasPromised = false
    private var stateLine: StateLine?
    /// Called when an authorized client has requested the shutdown.
    var onShutdownAsked: () -> Void = {}
    /// Called when the runtime directory no longer belongs to this process, which has to end without touching it.
    var onTableLost: () -> Void = {}
    /// Called when the state or its reason has changed.
    var onStateChanged: (StateLine) -> Void = { _ in }

    /// Capacity of the effect queue that is kept between turns.
    private static let keptEffects = 4096
    /// Interval of cleanups: each worker that was killed leaves a file or two.
    private static let betweenLeftovers = TimeAmount.minutes(1)

    init(
        configuration: DaemonConfiguration, table: TagTable, journal: JournalDirectory,
        ownsTable: @escaping () -> Bool,
        eventLoop: any EventLoop, logger: Logger, clock: @escaping () -> UInt64 = { BootClock.now }
    ) {
        self.configuration = configuration
        self.eventLoop = eventLoop
        self.logger = logger
        self.clock = clock
        self.journal = journal
        self.ownsTable = ownsTable
        problems = JournalProblems(path: configuration.paths.journal, logger: logger)
        startedAt = clock()
        budget = BufferBudget(limit: configuration.limits.bufferedBytes)
        turns = TurnQueue(eventLoop: eventLoop, clock: clock)
        brain = Brain(
            configuration: BrainConfiguration(
                mode: configuration.mode, limits: configuration.limits, version: Version.current,
                tablePath: configuration.paths.table, journalPath: configuration.paths.journal,
                bridge: configuration.bridge),
            table: table, random: BufferedRandom(), now: startedAt)
    }

    /// Processes the journal, writes the first heartbeat, and connects to Redis. Afterwards, the daemon may listen.
    func start() {
        eventLoop.assertInEventLoop()
        turns.onTurnEnd = { [weak self] in self?.turnEnded() }
        beat()
        beatTask = eventLoop.scheduleRepeatedTask(
            initialDelay: .nanoseconds(Int64(TrustTiming.beatIntervalNanoseconds)),
            delay: .nanoseconds(Int64(TrustTiming.beatIntervalNanoseconds))
        ) { [bound = NIOLoopBound(self, eventLoop: eventLoop)] _ in bound.value.beat() }
        leftoversTask = eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: Self.betweenLeftovers) {
            [bound = NIOLoopBound(self, eventLoop: eventLoop)] _ in bound.value.removeLeftovers()
        }
        guard let endpoint = configuration.endpoint else { return }
        let upstream = RedisUpstream(
            endpoint: endpoint, tls: configuration.tls,
            keys: RedisKeys(namespace: configuration.namespace, database: endpoint.database),
            bridgedChannels: configuration.bridge.channels, eventLoop: eventLoop, logger: logger
        ) { [weak self] event in
            self?.upstreamEvent(event)
        }
        self.upstream = upstream
        upstream.onChunkEnd = { [weak self] in self?.turnEnded() }
        upstream.start()
    }

    private func beat() {
        // The time is read first: a heartbeat with it says nothing about a table that was removed later.
        let now = clock()
        guard keepsTable() else { return }
        perform { brain, _, effects in brain.beatDue(now: now, effects: &effects) }
        turnEnded()
        reportState()
        turns.age()
        cutOffSlowRequests()
        trimmer.beat(peak: budget.takePeak(), used: budget.used, now: now)
    }

    private func reportState() {
        let (state, reason) = brain.shownState(now: clock())
        let line = StateLine(mode: configuration.mode, state: state, reason: reason)
        guard line != stateLine else { return }
        stateLine = line
        onStateChanged(line)
    }

    /// Other limits hold from here on: shared ones at once, those of single connections for new connections.
    func adopt(_ limits: Limits) {
        configuration.limits = limits
        budget.limit = limits.bufferedBytes
        brain.adopt(limits)
    }

    private func upstreamEvent(_ event: UpstreamEvent) {
        perform { brain, now, effects in brain.upstream(event, now: now, effects: &effects) }
        // One chunk from Redis may hold many replies: all of them are one turn.
        if upstream?.isDelivering != true { turnEnded() }
    }

    // MARK: Connections

    func makeConnection(peer: Peer) -> WorkerConnection {
        nextClient += 1
        return WorkerConnection(id: nextClient, peer: peer, daemon: self, limits: configuration.limits)
    }

    func connectionOpened(_ connection: WorkerConnection) {
        guard !isStopping, brain.hasRoom(for: connection.peer) else {
            connection.refuse(isStopping ? "syncd is stopping" : "max number of clients reached")
            return
        }
        connections[connection.id] = connection
        brain.clientConnected(connection.id, peer: connection.peer, now: clock())
        logger.debug("client connected", metadata: ["client": "\(connection.id)", "pid": "\(connection.peer.pid)"])
    }

    func connectionClosed(_ connection: WorkerConnection) {
        guard connections.removeValue(forKey: connection.id) != nil else { return }
        logger.debug("client gone", metadata: ["client": "\(connection.id)", "pid": "\(connection.peer.pid)"])
        perform { brain, now, effects in brain.clientClosed(connection.id, now: now, effects: &effects) }
        turnEnded()
    }

    func request(_ connection: WorkerConnection, _ id: RequestID, _ request: Request) {
        asking = connection
        defer { asking = nil }
        perform { brain, now, effects in
            brain.request(connection.id, id, request, now: now, effects: &effects)
        }
    }

    private func connection(_ client: ClientID) -> WorkerConnection? {
        if let asking, asking.id == client { return asking }
        return connections[client]
    }

    func protocolError(_ connection: WorkerConnection, _ error: RESPError) {
        logger.notice(
            "protocol error",
            metadata: [
                "client": "\(connection.id)", "pid": "\(connection.peer.pid)", "error": "\(error.description)",
            ])
    }

    func pushesCollapsed(_ connection: WorkerConnection) {
        logger.notice(
            "client is slow: its pushes collapsed into one",
            metadata: ["client": "\(connection.id)", "pid": "\(connection.peer.pid)"])
    }

    func pushEpoch(_ connection: WorkerConnection) {
        connection.push(.epoch(brain.epoch, reason: .slow))
    }

    func closing(_ connection: WorkerConnection, reason: String) {
        logger.notice(
            "client closed",
            metadata: ["client": "\(connection.id)", "pid": "\(connection.peer.pid)", "reason": "\(reason)"])
    }

    func needsFlush(_ connection: WorkerConnection) {
        guard !connection.isFlushDue else { return }
        connection.isFlushDue = true
        dirty.append(connection)
    }

    var now: UInt64 { clock() }

    // MARK: Memory of connections

    /// A request needs more memory than is available: reading from the connection pauses.
    func waitForRoom(_ connection: WorkerConnection) {
        if !waitingForRoom.contains(where: { $0 === connection }) { waitingForRoom.append(connection) }
    }

    /// Resumes connections that wait for room, first those whose process holds least.
    private func giveRoom() {
        guard budget.takeFreed(), !waitingForRoom.isEmpty else { return }
        waitingForRoom.removeAll { $0.isClosed || !$0.isWaitingForRoom }
        let held = heldByProcess()
        let inOrder = waitingForRoom.sorted { held[$0.holder, default: 0] < held[$1.holder, default: 0] }
        for connection in inOrder { if !connection.takeRoom() { break } }
        waitingForRoom.removeAll { !$0.isWaitingForRoom }
    }

    /// While others wait, a request has to be completed within its limit of time.
    private func cutOffSlowRequests() {
        giveRoom()
        guard !waitingForRoom.isEmpty else { return }
        let now = now
        let limit = configuration.limits.requestNanoseconds
        for connection in connections.values
        where connection.reservedBytes > 0 && now - connection.requestBegan > limit {
            connection.cutOff(
                "its request has not come whole for \(limit / 1_000_000) ms, and others wait for the memory")
        }
        giveRoom()
    }

    private func heldByProcess() -> [Int64: Int] {
        connections.values.reduce(into: [:]) { $0[$1.holder, default: 0] += $1.heldBytes }
    }

    /// Above the limit, closes the connections of the process that holds most, one by one.
    private func keepWithinBudget() {
        while budget.isExceeded {
            let held = heldByProcess()
            guard let holder = held.max(by: { $0.value < $1.value })?.key,
                let largest = connections.values.filter({ $0.holder == holder && $0.heldBytes > 0 && !$0.isCutOff })
                    .max(by: { $0.heldBytes < $1.heldBytes })
            else { return }
            largest.cutOff(
                "all connections hold more than \(budget.limit) bytes, and this one most: \(largest.heldBytes) bytes")
        }
    }

    // MARK: A turn

    /// Ends the turn of a connection.
    func turnEnded(of connection: WorkerConnection, since began: UInt64) {
        turnEnded()
        turns.charge(connection.peer, now - began)
    }

    func perform(_ body: (inout Brain, UInt64, inout [Effect]) -> Void) {
        body(&brain, clock(), &queue)
        performQueue()
    }

    /// Performs the queued effects, unless this is under way.
    func performQueue() {
        guard !isPerforming else { return }
        isPerforming = true
        defer { isPerforming = false }
        var index = 0
        // Performing an effect may add further ones, which come after all earlier ones.
        while index < queue.count {
            perform(queue[index])
            index += 1
        }
        queue.removeAll(keepingCapacity: queue.count <= Self.keptEffects)
    }

    private func perform(_ effect: Effect) {
        switch effect {
        case .reply(let client, let request, let reply):
            switch reply {
            case .integer, .simple(.deferred): hasPromised = true
            default: break
            }
            connection(client)?.reply(request, reply)
        case .push(let client, let push): connections[client]?.push(push)
        case .pushTracking(let clients, let push):
            var writer = RESPWriter(version: .v3)
            push.encode(into: &writer)
            for client in clients { connections[client]?.push(encoded: writer.buffer) }
        case .close(let client, _): connections[client]?.endAfterReplies()
        case .upstream(let command): upstream?.send(command)
        case .scanJournal(let sampledAt): scanJournal(sampledAt)
        case .removeJournalFile(let name, let version): removeJournalFile(name, version: version)
        case .writeOwed(let tags): pending.append(tags)
        case .writeMarker: writeMarker()
        case .notice(let notice): log(notice)
        case .answerStatus(let client, let request, let sections, let asText):
            answerStatus(client, request, asked: sections, asText: asText)
        case .answerClients(let client, let request, let ids):
            let lines = brain.clientLines(ids, now: clock()) { connections[$0]?.transport }
            connections[client]?.reply(request, .bulk(ByteBuffer(string: lines)))
        case .shutdownAsked(let client, let request): shutdownAsked(client, request)
        }
    }

    /// Ends a turn: flushes every connection with output (Redis' at the end of the tick) and sets the timer for the
    /// next deadline.
    func turnEnded() {
        guard !isEndingTurn else { return }
        isEndingTurn = true
        defer { isEndingTurn = false }
        var index = 0
        writePending()
        // Flushing one connection may add output for others, which are flushed after all earlier ones.
        while index < dirty.count {
            writePending()
            // A client that is told that an invalidation is in the table must find it there.
            if hasPromised || isTableLost {
                hasPromised = false
                guard keepsTable() else { return }
            }
            let connection = dirty[index]
            connection.isFlushDue = false
            connection.flush()
            index += 1
        }
        dirty.removeAll(keepingCapacity: true)
        if budget.isExceeded { keepWithinBudget() }
        giveRoom()
        flushUpstream()
        schedule()
        continueReading()
    }

    private func flushUpstream() {
        guard !isUpstreamFlushDue, let upstream, upstream.hasOutput else { return }
        isUpstreamFlushDue = true
        // Tasks run after all readable input.
        eventLoop.assumeIsolated().execute { [self] in
            isUpstreamFlushDue = false
            upstream.flush()
        }
    }

    private func schedule() {
        guard let next = brain.nextDeadline(), !isStopping else { return }
        if let timer, timer.at <= next { return }
        timer?.scheduled.cancel()
        let now = clock()
        let delay = next > now ? next - now : 0
        let scheduled = eventLoop.scheduleTask(in: .nanoseconds(Int64(clamping: delay))) {
            [bound = NIOLoopBound(self, eventLoop: eventLoop)] in bound.value.timerFired()
        }
        timer = (next, scheduled)
    }

    private func timerFired() {
        timer = nil
        perform { brain, now, effects in brain.wake(now: now, effects: &effects) }
        turnEnded()
    }

    // MARK: Status

    /// `asked`: the names of sections; empty: all of them.
    private func answerStatus(_ client: ClientID, _ request: RequestID, asked: [String], asText: Bool) {
        var names = ["server"] + Brain.statusSections
        if upstream != nil { names.insert("redis", at: 2) }
        let asked = asked.map { $0.lowercased() }
        if !asked.isEmpty, asked.allSatisfy({ !["all", "everything", "default"].contains($0) }) {
            let known = names.filter(asked.contains)
            // Exporters request sections of INFO that only Redis has, and expect an empty reply.
            if !asText, known.isEmpty {
                let unknown = ByteBuffer(string: String(asked[0].prefix(64))).escaped
                let text = "STATUS has no section '\(unknown)' here: it has \(names.joined(separator: ", "))"
                connections[client]?.reply(request, .error(ReplyError(.generic, text)))
                return
            }
            names = known
        }
        let sections = names.map { StatusField($0, section($0)) }
        connections[client]?.reply(request, asText ? .bulk(InfoText.render(sections)) : .fields(sections))
    }

    private func section(_ name: String) -> StatusValue {
        switch name {
        case "server": .fields(serverSection())
        case "redis": .fields(upstream?.statusFields ?? [])
        default: brain.statusSection(name, now: clock()) { connections[$0]?.transport }
        }
    }

    private func serverSection() -> [StatusField] {
        [
            StatusField("version", .text(Version.current)),
            StatusField("pid", .number(UInt64(getpid()))),
            StatusField("uptime-ms", .number((clock() &- startedAt) / 1_000_000)),
            StatusField("config-source", .text(configuration.source)),
            StatusField("socket", .text(configuration.paths.socket)),
            StatusField("socket-activated", .flag(configuration.inheritedSocket != nil)),
        ]
    }

    // MARK: Notices

    private func log(_ notice: Notice) {
        switch notice {
        case .attached(let epoch, let applied):
            // Operators of the previous Node.js service look for this text.
            let text = configuration.mode == .redis ? "Redis is ready for state synchronization" : "attached"
            logger.notice("\(text)", metadata: ["epoch": "\(epoch)", "applied": "\(applied)"])
        case .isolated(let reason):
            logger.warning("isolated: nothing is answered from cache", metadata: ["why": "\(reason)"])
        case .epochRaised(let epoch, let reason):
            logger.notice(
                "epoch raised: all caches are cold", metadata: ["epoch": "\(epoch)", "reason": "\(reason.rawValue)"])
        case .logReplaced(let reason):
            logger.warning(
                "the log in Redis is replaced: all caches of all hosts are cold", metadata: ["why": "\(reason)"])
        case .upstreamWarning(let text): logger.warning("Redis may lose the log", metadata: ["setting": "\(text)"])
        case .foreignLog(let incarnation):
            logger.warning(
                "another deployment publishes on this log's channel: its entries are passed over",
                metadata: [
                    "incarnation": "\(incarnation)",
                    "remedy": "give each deployment a SYNCD_NAMESPACE of its own, and upgrade all hosts",
                ])
        case .unreadableEvent(let event):
            logger.warning(
                "an event cannot be read: everything is invalidated",
                metadata: [
                    "channel": "\(event.channel.escaped)", "bytes": "\(event.bytes)", "problem": "\(event.problem)",
                    "untold-before": "\(event.untold)",
                ])
        case .upstreamDenied(let text):
            logger.error("Redis cannot be used as it is configured", metadata: ["reason": "\(text)"])
        case .upstreamReady(let version): logger.info("Redis log proven", metadata: ["version": "\(version)"])
        }
    }

    // MARK: Ending

    private func shutdownAsked(_ client: ClientID, _ request: RequestID) {
        guard let connection = connections[client] else { return }
        guard connection.peer.uid == 0 || connection.peer.uid == getuid() else {
            let error = ReplyError(.denied, "SHUTDOWN is for root and for the user that syncd runs as")
            connection.reply(request, .error(error))
            return
        }
        connection.reply(request, .ok)
        onShutdownAsked()
    }

    /// Whether requests are still under way.
    var isBusy: Bool {
        connections.values.contains { $0.transport.requestsInFlight > 0 || $0.transport.unsentBytes > 0 }
    }

    /// From here on no client is told to trust a cache; running requests may still be answered.
    func beginStop() {
        isStopping = true
        beatTask?.cancel()
        leftoversTask?.cancel()
        brain.stop()
    }

    /// Closes all connections.
    func stop() -> EventLoopFuture<Void> {
        timer?.scheduled.cancel()
        timer = nil
        for id in connections.keys.sorted() { connections[id]?.close() }
        return upstream?.shutdown() ?? eventLoop.makeSucceededVoidFuture()
    }
}
