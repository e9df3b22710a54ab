import EngineHosting
import Glibc
import IPC
import Logging
import NIOCore
import ProcessSupport
import SyncCore

/// The host of the loop in a real process: one event loop owns it, the listener, all client connections and the
/// connections to Redis. Everything here runs on that event loop; nothing is locked.
///
/// Commands to Redis are sent once in each tick of the event loop, after everything that has come in has had its turn:
/// the commands for several clients at the same time are one message.
final class Daemon {
    let eventLoop: any EventLoop
    private(set) lazy var loop = makeLoop()
    private var configuration: DaemonConfiguration
    private let table: TagTable
    private let arena: ValueArenaWriter?
    private let journal: JournalDirectory
    /// The figures of the syncd that ran before.
    private let report: ReportRecord?
    /// Whether the path of the table, and that of its lock, still name this process's.
    private let checkTable: () -> Bool
    private let logger: Logger
    private let clock: () -> BootTime
    private let startedAt: BootTime
    private var upstream: RedisUpstream?
    private var isUpstreamFlushDue = false
    private var timers: [EngineTimer: Scheduled<Void>] = [:]
    private var trimmer = MemoryTrimmer()
    private var problems: JournalProblems
    private var faultLines = LineBudget()
    private let feedTokens: FeedTokens
    private var uncoveredLines = LineBudget()
    private var isTokenFaultSaid = false
    private var stateLine: StateLine?
    private var reportDue: BootTime
    /// Called when an authorized client has requested the shutdown.
    var onShutdownAsked: () -> Void = {}
    /// Called when the runtime directory no longer belongs to this process, which has to end without touching it.
    var onTableLost: () -> Void = {}
    /// Called when the state or its reason has changed.
    var onStateChanged: (StateLine) -> Void = { _ in }
    /// Called when the figures of the report have to be kept.
    var onReportDue: (ReportRecord) -> Void = { _ in }

    init(
        configuration: DaemonConfiguration, table: TagTable, arena: ValueArenaWriter?, journal: JournalDirectory,
        report: ReportRecord? = nil, ownsTable: @escaping () -> Bool,
        eventLoop: any EventLoop, logger: Logger, clock: @escaping () -> BootTime = { BootClock.now }
    ) {
        self.configuration = configuration
        self.table = table
        self.arena = arena
        self.eventLoop = eventLoop
        self.logger = logger
        self.clock = clock
        self.journal = journal
        self.report = report
        checkTable = ownsTable
        feedTokens = FeedTokens(directory: configuration.paths.directory)
        problems = JournalProblems(path: configuration.paths.journal, logger: logger)
        startedAt = clock()
        reportDue = startedAt + ReportFile.interval
    }

    private func makeLoop() -> EngineLoop {
        EngineLoop(
            host: self,
            configuration: EngineConfiguration(
                mode: configuration.mode, limits: configuration.limits, version: Version.current,
                tablePath: configuration.paths.table, journalPath: configuration.paths.journal,
                arenaPath: configuration.paths.arena, bridge: configuration.bridge, report: report),
            table: table, arena: arena, random: BufferedRandom())
    }

    /// Processes the journal, writes the first heartbeat, and connects to Redis. Afterwards, the daemon may listen.
    func start() {
        eventLoop.assertInEventLoop()
        loop.start()
        guard let endpoint = configuration.endpoint else { return }
        let upstream = RedisUpstream(
            endpoint: endpoint, tls: configuration.tls,
            keys: RedisKeys(namespace: configuration.namespace, database: endpoint.database),
            bridgedChannels: configuration.bridge.channels, eventLoop: eventLoop, logger: logger
        ) { [weak self] event in
            guard let self else { return }
            // One chunk from Redis may hold many replies: all of them are one turn.
            self.loop.submit(.upstream(event), isLast: self.upstream?.isDelivering != true)
        }
        self.upstream = upstream
        upstream.onChunkEnd = { [weak self] in self?.loop.endTurn() }
        upstream.start()
    }

    func adopt(_ limits: Limits) {
        configuration.limits = limits
        loop.adopt(limits)
    }

    // MARK: Ending

    /// Whether requests are still under way.
    var isBusy: Bool { loop.isBusy }

    /// From here on no client is told to trust a cache; running requests may still be answered.
    func beginStop() { loop.beginStop() }

    /// The figures of the report up to now.
    var reportRecord: ReportRecord { loop.reportRecord() }

    /// Closes all connections.
    func stop() -> EventLoopFuture<Void> {
        for timer in timers.values { timer.cancel() }
        timers = [:]
        loop.closeClients()
        return upstream?.shutdown() ?? eventLoop.makeSucceededVoidFuture()
    }
}

extension Daemon: EngineHost {
    var now: BootTime { clock() }
    var wallClock: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(max(0, time.tv_sec)) * 1000 + UInt64(time.tv_nsec) / 1_000_000
    }
    var journalDirectory: any EngineJournal { journal }
    var ownsTable: Bool { checkTable() }

    func schedule(_ timer: EngineTimer, at time: BootTime) {
        timers[timer]?.cancel()
        let now = clock()
        let delay = time > now ? time - now : 0
        timers[timer] = eventLoop.scheduleTask(in: .nanoseconds(Int64(clamping: delay))) {
            [bound = NIOLoopBound(self, eventLoop: eventLoop)] in
            bound.value.timers[timer] = nil
            bound.value.loop.submit(.due(timer))
        }
    }

    func send(_ command: UpstreamCommand) { upstream?.send(command) }

    func flushUpstream() {
        guard !isUpstreamFlushDue, let upstream, upstream.hasOutput else { return }
        isUpstreamFlushDue = true
        // Tasks run after all readable input.
        eventLoop.assumeIsolated().execute { [self] in
            isUpstreamFlushDue = false
            upstream.flush()
        }
    }

    func heartbeatEnded() {
        reportState()
        if clock() >= reportDue {
            reportDue = clock() + ReportFile.interval
            onReportDue(loop.reportRecord())
        }
        let budget = loop.budget
        trimmer.heartbeat(peak: budget.takePeak(), used: budget.used, now: clock())
    }

    private func reportState() {
        let (state, reason) = loop.shownState()
        let line = StateLine(mode: configuration.mode, state: state, reason: reason)
        guard line != stateLine else { return }
        stateLine = line
        onStateChanged(line)
    }

    func tableLost() {
        logger.critical(
            "the runtime directory was removed or replaced while syncd ran: it ends",
            metadata: ["table": "\(configuration.paths.table)"])
        onTableLost()
    }

    func mayShutDown(_ peer: Peer) -> Bool { peer.uid == 0 || peer.uid == getuid() }

    func shutdownAsked() { onShutdownAsked() }

    func feedToken(_ name: ByteBuffer) -> ByteBuffer? { feedTokens.token(name) }

    func storeFeedToken(_ name: ByteBuffer, _ token: ByteBuffer?) {
        let error = feedTokens.store(name, token)
        if let error, !isTokenFaultSaid {
            logger.warning(
                "the token of a change feed cannot be stored: after a restart, its changes come again",
                metadata: [
                    "directory": "\(feedTokens.directory)", "error": "\(String(cString: strerror(error)))",
                ])
        }
        isTokenFaultSaid = error != nil
    }

    func statusFields(_ section: String) -> [StatusField]? {
        switch section {
        case "server":
            [
                StatusField("version", .text(Version.current)),
                StatusField("pid", .number(UInt64(getpid()))),
                StatusField("uptime-ms", .number((clock() &- startedAt) / 1_000_000)),
                StatusField("config-source", .text(configuration.source)),
                StatusField("socket", .text(configuration.paths.socket)),
                StatusField("socket-activated", .flag(configuration.inheritedSocket != nil)),
            ]
        case "redis": upstream?.statusFields
        default: nil
        }
    }

    // MARK: Log

    func log(_ event: EngineEvent) {
        switch event {
        case .clientConnected(let client, let peer):
            logger.debug("client connected", metadata: Self.metadata(client, peer))
        case .clientGone(let client, let peer): logger.debug("client gone", metadata: Self.metadata(client, peer))
        case .clientCutOff(let client, let peer, let reason):
            logFault("client closed", Self.metadata(client, peer, ["reason": "\(reason)"]))
        case .pushesCollapsed(let client, let peer):
            logFault("client is slow: its pushes collapsed into one", Self.metadata(client, peer))
        case .protocolError(let client, let peer, let error):
            logFault("protocol error", Self.metadata(client, peer, ["error": "\(error.description)"]))
        case .requestRefused, .pendingInMemory: break
        case .journal(let trouble, let problem, let isSame): problems.report(trouble, problem, isSame: isSame)
        case .notice(let notice): log(notice)
        }
    }

    private func logFault(_ message: Logger.Message, _ metadata: Logger.Metadata) {
        let (isAllowed, omitted) = faultLines.take(clock())
        guard isAllowed else { return }
        let more: Logger.Metadata = omitted > 0 ? ["lines-omitted": "\(omitted)"] : [:]
        logger.notice(message, metadata: metadata.merging(more) { $1 })
    }

    private static func metadata(
        _ client: ClientID, _ peer: Peer, _ further: @autoclosure () -> Logger.Metadata = [:]
    ) -> Logger.Metadata {
        further().merging(["client": "\(client)", "pid": "\(peer.pid)"]) { first, _ in first }
    }

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
                "epoch raised: the caches of all workers (L1) are cold",
                metadata: ["epoch": "\(epoch)", "reason": "\(reason.rawValue)"])
        case .logReplaced(let reason):
            logger.warning(
                "the log in Redis is replaced: all caches of all hosts are cold", metadata: ["why": "\(reason)"])
        case .upstreamWarning(let text):
            logger.warning("Redis may lose or refuse the log", metadata: ["setting": "\(text)"])
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
        case .feedReset(let name):
            logger.notice(
                "the changes of the database up to now are unknown: everything is invalidated",
                metadata: ["feed": "\(name.escaped)"])
        case .uncoveredWrites(let feed, let count, let first): logUncovered(feed, count, first)
        }
    }

    private func logUncovered(_ feed: ByteBuffer, _ count: Int, _ first: FeedChange) {
        let (isAllowed, omitted) = uncoveredLines.take(clock())
        guard isAllowed else { return }
        var metadata: Logger.Metadata = [
            "feed": "\(feed.escaped)", "collection": "\(first.collection.escaped)", "writes": "\(count)",
            "tags": "\(first.tags.map(\.escaped).joined(separator: " "))",
        ]
        if omitted > 0 { metadata["lines-omitted"] = "\(omitted)" }
        logger.warning("a program has written to the database without an invalidation", metadata: metadata)
    }
}
