import IPCWire
import NIOCore
import Sieve

/// Parameters of the engine that are fixed at start.
package struct EngineConfiguration: Sendable {
    package var mode: LogMode
    package var limits: Limits
    package var version: String
    /// Path of the tag table, which HELLO tells clients.
    package var tablePath: String
    /// Path of the journal directory, which HELLO tells clients.
    package var journalPath: String
    /// Path of the value arena, which HELLO tells clients if there is one.
    package var arenaPath: String
    /// Rules for the invalidations by events of other programs.
    package var bridge: BridgeRules
    /// The figures of the syncd that ran before; `nil`: there are none.
    package var report: ReportRecord?

    package init(
        mode: LogMode, limits: Limits = Limits(), version: String, tablePath: String, journalPath: String,
        arenaPath: String = "",
        bridge: BridgeRules = .none, report: ReportRecord? = nil
    ) {
        self.mode = mode
        self.limits = limits
        self.version = version
        self.tablePath = tablePath
        self.journalPath = journalPath
        self.arenaPath = arenaPath
        self.bridge = bridge
        self.report = report
    }
}

/// The engine: all decisions of syncd about freshness, leases and notifications. A pure state machine: requests, events
/// of the server, the journal and the time go in; effects come out. The tag table is plain memory to it.
///
/// The engine consists of smaller machines with one task each. ``InvalidationLog`` holds the invalidations and whether
/// they are complete, ``LoadTable`` leases and waiters, ``Subscriptions`` listeners, ``JournalPass`` which journal
/// files are in the log, ``BridgeFeed`` which events are those of other programs, and ``ReportRecorder`` how fresh the
/// caches were.
package struct SyncEngine: ~Copyable {
    let configuration: EngineConfiguration
    private(set) var limits: Limits
    /// Time of the start: ms since 1970.
    let startedAt: UInt64
    let table: TagTable
    var log: InvalidationLog
    var loads: LoadTable
    var positionWaits = PositionWaits()
    var subscriptions = Subscriptions()
    var feed = BridgeFeed()
    /// The change feeds that clients of this host have asked for.
    var feeds: [ByteBuffer: ChangeFeed] = [:]
    var coveredWrites = CoveredWrites()
    /// The server refuses a command of feeds, and this was reported.
    var isFeedFailureTold = false
    var feedQuestions: [UpstreamID: (question: FeedQuestion, name: ByteBuffer)] = [:]
    var unreadableEvents = UnreadableEvents()
    var journal = JournalPass()
    /// L2 on this host; `nil`: it could not be made.
    let arena: ValueArenaWriter?
    /// Copies of values in the arena that clients ask for, by their offsets, which are never used again.
    var copies: SieveCache<UInt64, ArenaCopy>
    /// L2 in Redis: the queries that are under way.
    var lookups: [UpstreamID: Lookup] = [:]
    var lookupOfKey: [ByteBuffer: UpstreamID] = [:]
    var publishes: [UpstreamID: PendingPublish] = [:]
    var deadlines = Deadlines<Due>()
    /// An event was too long to be sent to clients, and this was reported.
    var hasDroppedEvent = false
    var clients: [ClientID: Client] = [:]
    /// The last report of each client that reports metrics, and their bytes.
    var metrics: [ClientID: ClientMetrics] = [:]
    var metricsBytes = 0
    /// Clients with `TRACK ON`, ascending.
    var trackers: [ClientID] = []
    /// Replies to INVALIDATE that are delayed because the table is new.
    var delayedReplies: [(ClientID, RequestID, Reply)] = []
    /// Replies to INVALIDATE are sent from this time on.
    let acknowledgeAfter: BootTime
    var lastHeartbeat: BootTime = 0
    /// The time when syncd woke up after it had slept. Earlier replies of Redis do not show that nothing was missed. As
    /// ``InvalidationLog/vouching(_:)`` has it.
    var awakeSince: BootTime = 0
    var isUpstreamConnected = false
    /// Continuity was proven and that was said, since this host was attached last or has connected.
    var isSyncedTold = false
    var figures = Figures()
    var report: ReportRecorder

    struct PendingPublish: Sendable {
        var client: ClientID
        var request: RequestID
        var event: Event
    }

    /// Times for which the engine itself waits, in addition to the machines' deadlines.
    enum Due: Sendable, Hashable {
        case lookup(UpstreamID)
        case publish(UpstreamID)
        case feed(ByteBuffer, ClientID, RequestID)
        case feedQuestion(UpstreamID)
        case feedSuspects(ByteBuffer)
        /// A ticket of ``PositionWaits``.
        case position(UInt64)
        case acknowledge
    }

    /// Counters since the start, for STATUS.
    struct Figures: Sendable {
        var hits: UInt64 = 0
        var misses: UInt64 = 0
        var fills: UInt64 = 0
        var staleFills: UInt64 = 0
        var coalesced: UInt64 = 0
        var invalidationsIn: UInt64 = 0
        var invalidationsOut: UInt64 = 0
        var deferred: UInt64 = 0
        var bridged: UInt64 = 0
    }

    /// Takes over the table: from here on, no worker trusts the state that an earlier syncd stored.
    ///
    /// - Parameter wallClock: ms since 1970.
    package init(
        configuration: EngineConfiguration, table: TagTable, arena: ValueArenaWriter?,
        random: any RandomNumberGenerator & Sendable, now: BootTime, wallClock: UInt64
    ) {
        self.configuration = configuration
        limits = configuration.limits
        startedAt = wallClock
        self.table = table
        // Times of another boot, or of a damaged file, cannot be compared with the clock.
        if table.heartbeat > now { table.setHeartbeat(0) }
        if table.scanStarted > now { table.setScanStarted(0) }
        if table.freshAsOf > now { table.setFreshAsOf(0) }
        // Every syncd stores where its log is.
        report = ReportRecorder(
            configuration.report, now: now, wallClock: wallClock, hasTable: table.logMode != nil)
        log = InvalidationLog(table: table, mode: configuration.mode, limits: limits, random: random, now: now)
        log.wallClock = WallClock(boot: now, milliseconds: wallClock)
        loads = LoadTable(limits: limits, now: now)
        self.arena = arena
        copies = SieveCache(byteBudget: max(ArenaCopy.byteBudget, 2 * limits.wire.valueBytes))
        // Until then, workers may trust a deleted table, whichever syncd made this one.
        acknowledgeAfter = table.madeAt == 0 ? 0 : min(table.madeAt, now) + TrustTiming.trustWindowNanoseconds
        if acknowledgeAfter > now { deadlines.add(.acknowledge, at: acknowledgeAfter) }
    }

    private static let scanIntervalNanoseconds: UInt64 = 10_000_000

    package var state: SyncState { log.state }
    /// The state that people should see, and the reason if it is not `attached`: without a heartbeat no worker trusts
    /// the table, whatever state it shows.
    package func shownState(now: BootTime) -> (state: ShownState, reason: String?) {
        if log.state == .attached, !TagTable.isWithin(now, of: lastHeartbeat, TrustTiming.trustWindowNanoseconds) {
            return (.isolated, journal.problem ?? "the journal is being read")
        }
        if log.isIdle { return (.idle, nil) }
        return (log.state == .attached ? .attached : .isolated, log.attachment.reason?.description)
    }
    package var epoch: Epoch { log.epoch }
    package var applied: LogPosition { log.applied }

    /// Whether an answer may come from cache. The host must be attached, the last heartbeat recent enough to exclude a
    /// sleep, and every invalidation during an earlier sleep applied (docs/consistency.md, "Fencing").
    func mayAnswer(_ now: BootTime) -> Bool { trust.distrust(at: now) == nil }

    /// The trust in the table, as this syncd knows it.
    var trust: Trust {
        var trust = Trust(state: log.state, heartbeat: lastHeartbeat, freshAsOf: log.freshAsOf)
        if breaks(.idleHostAnswers), log.isSynced { trust.freshAsOf = max(trust.freshAsOf, lastHeartbeat) }
        trust.heartbeatWindow = breaks(.fenceIgnored) ? .max : TrustTiming.fenceNanoseconds
        trust.awakeSince = breaks(.fenceIgnored) || breaks(.sleepForgotten) ? 0 : awakeSince
        return trust
    }

    // MARK: Clients

    package mutating func clientConnected(_ id: ClientID, peer: Peer, now: BootTime) {
        clients[id] = Client(peer: peer, connectedAt: now)
    }

    /// Removes a client. Its leases go to the next waiters, and its journal files are collected now.
    package mutating func clientClosed(_ id: ClientID, _ turn: inout Turn<Effect>) {
        guard let client = clients.removeValue(forKey: id) else { return }
        if let audited = client.audited { report.ledger.left(client.peer.holder, audited) }
        metricsBytes -= metrics.removeValue(forKey: id)?.text.readableBytes ?? 0
        trackers.removeAll { $0 == id }
        feedReaderClosed(id)
        unsubscribeAll(id, &turn)
        for key in loads.removeClient(id) { regrant(key, &turn) }
        positionWaits.removeClient(id)
        // A reading now is earlier than the next heartbeat. Many short connections must not cause as many readings.
        if turn.now > lastHeartbeat + Self.scanIntervalNanoseconds { scanJournal(&turn) }
    }

    /// The daemon is ending: from here on, no worker of this host trusts the table.
    package mutating func stop() { table.setState(.isolated) }

    /// Other limits hold from here on. Items that already exceed one stay; nothing is added to them. Limits of single
    /// connections apply to new connections.
    package mutating func adopt(_ limits: Limits) {
        self.limits = limits
        loads.limits = limits
        log.limits = limits
    }

    // MARK: Time

    /// When ``wake(_:)`` has something to do next.
    package mutating func nextDeadline() -> BootTime? {
        let own = deadlines.next { due in
            switch due {
            case .lookup(let id): lookups[id] != nil
            case .publish(let id): publishes[id] != nil
            case .feed(let name, let client, let request): feeds[name]?.holds(client, request) ?? false
            case .feedQuestion(let id): feedQuestions[id] != nil
            case .feedSuspects(let name): feeds[name]?.suspects.isEmpty == false
            case .position(let ticket): positionWaits.contains(ticket)
            case .acknowledge: true
            }
        }
        return earlier(log.nextDeadline(), earlier(loads.nextDeadline(), own))
    }

    /// Does everything that is due at `now`.
    package mutating func wake(_ turn: inout Turn<Effect>) {
        withLog(&turn) { log, turn in log.wake(&turn) }
        while let event = loads.takeDue(turn.now) {
            switch event {
            case .lease(let key, let lease):
                if loads.load(key)?.lease.id == lease { regrant(key, &turn) }
            case .waiter(let key, let ticket):
                if let waiter = loads.removeWaiter(ticket, key: key) {
                    turn.add(.push(waiter.client, .fetched(ticket: ticket, .miss)))
                }
            }
        }
        while let due = deadlines.takeDue(turn.now) {
            switch due {
            case .lookup(let id): lookupEnded(id, found: nil, &turn)
            case .publish(let id):
                // The outcome of the append is unknown, so its event is not relayed here: an event is delivered at most
                // once.
                if let publish = publishes.removeValue(forKey: id) {
                    turn.add(.reply(publish.client, publish.request, .integer(0)))
                }
            case .feed(let name, let client, let request): feedHoldEnded(name, client, request, &turn)
            case .feedQuestion(let id): feedAnswered(id, nil, &turn)
            case .feedSuspects(let name): countSuspects(name, &turn)
            case .position(let ticket):
                if let wait = positionWaits.remove(ticket) { positionWaitEnded(wait, &turn) }
            case .acknowledge:
                for (client, request, reply) in delayedReplies { turn.add(.reply(client, request, reply)) }
                delayedReplies.removeAll()
            }
        }
    }

    /// Somebody uses a cache of this host: an idle one asks Redis at once, before anything that follows.
    mutating func cachesAreUsed(_ turn: inout Turn<Effect>) {
        let before = log.lastUse
        log.lastUse = turn.now
        // On every request, so that one that follows another one costs next to nothing.
        if turn.now < before + min(limits.idleNanoseconds, 1_000_000_000) { return }
        if log.isIdle { withLog(&turn) { log, turn in log.probeNow(&turn) } }
    }

    // MARK: The log's effects

    /// Runs one event of the log and converts its results into effects.
    mutating func withLog(
        _ turn: inout Turn<Effect>, _ body: (inout InvalidationLog, inout Turn<LogEffect>) -> Void
    ) {
        var ofLog = Turn<LogEffect>(now: turn.now)
        body(&log, &ofLog)
        for effect in ofLog.effects { perform(effect, &turn) }
        if positionWaits.count > 0 { answerAppliedPositions(&turn) }
    }

    private mutating func perform(_ effect: LogEffect, _ turn: inout Turn<Effect>) {
        switch effect {
        case .upstream(let command): turn.add(.upstream(command))
        case .committed(let requester, let position): committed(requester, position, &turn)
        case .visible(let nanoseconds): report.visibleHere(nanoseconds: nanoseconds)
        case .deferred(let requester, let tags, let event): deferred(requester, tags, event, &turn)
        case .feedRoleLost(let name, let client, let request):
            feedDeferred(name, client, request, isRoleLost: true, &turn)
        case .applied(let entry):
            figures.invalidationsOut += 1
            noteVisibility(of: entry.body, turn.now)
            feedEntryApplied(entry.body, &turn)
            pushTracking(.invalidate(position: entry.position, tags: entry.body.tags), &turn)
        case .epochRaised(let reason):
            if let cause = ColdStart(reason) { report.coldStart(cause) }
            turn.add(.notice(.epochRaised(log.epoch, reason)))
            pushTracking(.epoch(log.epoch, reason: reason), &turn)
            if !breaks(.leaseOutlivesEpoch) { endLoads(&turn) }
        case .attached:
            isSyncedTold = false
            noteState(turn.now)
            turn.add(.notice(.attached(epoch: log.epoch, applied: log.applied)))
        case .isolated(let reason):
            noteState(turn.now)
            turn.add(.notice(.isolated(reason)))
            // An epoch is raised only while the host is isolated.
            if !breaks(.leaseOutlivesEpoch) { endLoads(&turn) }
            endLookups(&turn)
            endPositionWaits(&turn)
            pushTracking(.heartbeat(heartbeat), &turn)
        case .switched:
            if breaks(.lostEntriesForgotten) { return }
            // Appended to the new log after all of its entries: no earlier value of it is fresh on any host.
            makePending([ByteBuffer(string: "*")], &turn)
        case .historyUnknown:
            report.foundOtherHistory()
            if !breaks(.unknownHistoryKept) { arena?.removeAll() }
        case .synced(let version):
            // A server that refuses one append after the other is synced each time.
            if !isSyncedTold { turn.add(.notice(.upstreamReady(version: version))) }
            isSyncedTold = true
            scanJournal(&turn)
        case .replacing(let reason): turn.add(.notice(.logReplaced(reason)))
        case .warning(let text): turn.add(.notice(.upstreamWarning(text)))
        case .foreignLog(let incarnation): turn.add(.notice(.foreignLog(incarnation)))
        case .denied(let text): turn.add(.notice(.upstreamDenied(text)))
        }
    }

    /// Log and table have an invalidation.
    private mutating func committed(
        _ requester: AppendRequester, _ position: LogPosition, _ turn: inout Turn<Effect>
    ) {
        switch requester {
        case .client(let client, let request): acknowledge(client, request, .integer(position.number), &turn)
        case .journal(let group): journalCommitted(group, &turn)
        case .publisher(let client, let request, let channel):
            acknowledge(client, request, .integer(receivers(channel)), &turn)
        case .bridge: break
        case .feed(let name, let client, let request): feedCommitted(name, client, request, &turn)
        }
    }

    /// The log has not accepted an invalidation.
    private mutating func deferred(
        _ requester: AppendRequester, _ tags: [ByteBuffer], _ event: Event?, _ turn: inout Turn<Effect>
    ) {
        switch requester {
        case .journal: return journal.abort()
        // The database keeps the changes: they come again, and need not be written down.
        case .feed(let name, let client, let request):
            return feedDeferred(name, client, request, isRoleLost: false, &turn)
        case .client, .publisher, .bridge: break
        }
        figures.deferred += 1
        if !breaks(.deferredIsForgotten) { makePending(tags, &turn) }
        let count = event.map { relay($0, &turn) } ?? 0
        switch requester {
        case .client(let client, let request): acknowledge(client, request, .simple(.deferred), &turn)
        case .publisher(let client, let request, _): acknowledge(client, request, .integer(count), &turn)
        case .bridge, .journal, .feed: break
        }
    }

    /// Replies to INVALIDATE. For one trust window after a new table was created, replies are delayed.
    private mutating func acknowledge(
        _ client: ClientID, _ request: RequestID, _ reply: Reply, _ turn: inout Turn<Effect>
    ) {
        if turn.now < acknowledgeAfter && !breaks(.newTableNotHeldBack) {
            delayedReplies.append((client, request, reply))
        } else {
            turn.add(.reply(client, request, reply))
        }
    }

    var heartbeat: Heartbeat {
        Heartbeat(
            epoch: log.epoch, applied: log.applied, state: log.state, heartbeat: lastHeartbeat,
            freshAsOf: log.freshAsOf)
    }

    func pushTracking(_ push: Push, _ turn: inout Turn<Effect>) {
        if !trackers.isEmpty { turn.add(.pushTracking(trackers, push)) }
    }
}
