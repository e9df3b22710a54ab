import IPCWire
import NIOCore
import Sieve

/// What the brain is told at start.
package struct BrainConfiguration: Sendable {
    package var mode: LogMode
    package var limits: Limits
    package var version: String
    /// Path of the tag table, told to clients.
    package var tablePath: String
    /// Path of the journal directory, told to clients.
    package var journalPath: String
    /// What the events of other programs invalidate.
    package var bridge: BridgeRules

    package init(
        mode: LogMode, limits: Limits = Limits(), version: String, tablePath: String, journalPath: String,
        bridge: BridgeRules = .none
    ) {
        self.mode = mode
        self.limits = limits
        self.version = version
        self.tablePath = tablePath
        self.journalPath = journalPath
        self.bridge = bridge
    }
}

/// All decisions of syncd: what is fresh, who loads, who is told what. A pure state machine: requests, the server's
/// words, the journal and the time go in; effects come out. The tag table is plain memory to it.
///
/// It is made of smaller machines, each for one thing: ``InvalidationLog`` knows what has been invalidated and
/// whether that can be relied on, ``LoadTable`` who loads and who waits, ``Subscriptions`` who listens,
/// ``JournalPass`` what of the journal is in the log, ``BridgeFeed`` which events are other programs'.
package struct Brain: ~Copyable {
    let configuration: BrainConfiguration
    private(set) var limits: Limits
    let table: TagTable
    var log: InvalidationLog
    var loads: LoadTable
    var subscriptions = Subscriptions()
    var feed = BridgeFeed()
    var unreadableEvents = UnreadableEvents()
    var journal = JournalPass()
    /// L2 without Redis.
    var cache: SieveCache<ByteBuffer, CachedEntry>
    /// L2 in Redis: what is being looked up there.
    var lookups: [UpstreamID: Lookup] = [:]
    var lookupOfKey: [ByteBuffer: UpstreamID] = [:]
    var publishes: [UpstreamID: PendingPublish] = [:]
    var deadlines = Deadlines<Due>()
    /// An event was too long to be handed on, and that was said.
    var hasDroppedEvent = false
    var clients: [ClientID: Client] = [:]
    /// Clients with `TRACK ON`, ascending.
    var trackers: [ClientID] = []
    /// Answers to INVALIDATE that a new table holds back.
    var held: [(ClientID, RequestID, Reply)] = []
    /// When answers to INVALIDATE may be given.
    let acknowledgeFrom: UInt64
    var lastBeat: UInt64 = 0
    /// When syncd was awake again after it had slept. What Redis said before is no proof that nothing was missed.
    var awakeSince: UInt64 = 0
    var isUpstreamConnected = false
    /// Continuity was proven and that was said, since this host was attached last or has connected.
    var isSyncedTold = false
    var figures = Figures()
    #if MUTANTS
        var appliedAtQuestion: UInt64?
        var beatsWithoutJournal = 0
    #endif

    struct PendingPublish: Sendable {
        var client: ClientID
        var request: RequestID
        var event: Event
    }

    /// What the brain itself waits for, besides the machines' own deadlines.
    enum Due: Sendable, Hashable {
        case lookup(UpstreamID)
        case publish(UpstreamID)
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

    /// Takes the table over: from here on nobody believes what an earlier syncd vouched for.
    package init(
        configuration: BrainConfiguration, table: TagTable, random: any RandomNumberGenerator & Sendable, now: UInt64
    ) {
        self.configuration = configuration
        limits = configuration.limits
        self.table = table
        // Times of another boot, or of a damaged file, which nothing may be reckoned from.
        if table.beat > now { table.setBeat(0) }
        if table.scanStarted > now { table.setScanStarted(0) }
        if table.freshAsOf > now { table.setFreshAsOf(0) }
        log = InvalidationLog(table: table, mode: configuration.mode, limits: limits, random: random, now: now)
        loads = LoadTable(limits: limits, now: now)
        cache = SieveCache(byteBudget: configuration.mode == .embedded ? limits.embeddedCacheBytes : 0)
        // Workers may believe one that is gone until then, whichever syncd made this one.
        acknowledgeFrom = table.madeAt == 0 ? 0 : min(table.madeAt, now) + TrustTiming.trustWindowNanoseconds
        if acknowledgeFrom > now { deadlines.add(.acknowledge, at: acknowledgeFrom) }
    }

    private static let scanIntervalNanoseconds: UInt64 = 10_000_000

    package var state: SyncState { log.state }
    /// The state as people should see it, and why it is not `attached`: without a beat nobody believes the table, whatever
    /// it says.
    package func shownState(now: UInt64) -> (state: SyncState, reason: String?) {
        if log.state == .attached, !TagTable.isWithin(now, of: lastBeat, TrustTiming.trustWindowNanoseconds) {
            return (.isolated, journal.problem ?? "the journal is being read")
        }
        return (log.state, log.attachment.reason?.description)
    }
    package var epoch: UInt64 { log.epoch }
    package var applied: UInt64 { log.applied }

    /// Whether an answer may come from cache: this host is attached, syncd has beaten recently enough to know that
    /// it has not slept, and whatever was invalidated while it did sleep is applied (docs/consistency.md, "Fencing").
    func mayAnswer(_ now: UInt64) -> Bool { trust.distrust(at: now) == nil }

    /// What vouches for the table, as this syncd knows it.
    var trust: Trust {
        var trust = Trust(state: log.state, heartbeat: lastBeat, freshAsOf: log.freshAsOf)
        trust.heartbeatWindow = breaks(.fenceIgnored) ? .max : TrustTiming.fenceNanoseconds
        trust.awakeSince = breaks(.fenceIgnored) || breaks(.sleepForgotten) ? 0 : awakeSince
        return trust
    }

    // MARK: Clients

    package mutating func clientConnected(_ id: ClientID, peer: Peer, now: UInt64) {
        clients[id] = Client(id: id, peer: peer, connectedAt: now)
    }

    /// Forgets a client. Its leases go to those who wait, and what it left in the journal is collected now.
    package mutating func clientClosed(_ id: ClientID, now: UInt64, effects: inout [Effect]) {
        guard clients.removeValue(forKey: id) != nil else { return }
        trackers.removeAll { $0 == id }
        unsubscribeAll(id, effects: &effects)
        for key in loads.removeClient(id) { passOn(key, now: now, effects: &effects) }
        // Sooner than the next beat would; a storm of short connections does not make it a storm of directory reads.
        if now > lastBeat + Self.scanIntervalNanoseconds { scanJournal(now: now, effects: &effects) }
    }

    /// The daemon is ending: from here on nobody on this host believes the table.
    package mutating func stop() { table.setState(.isolated) }

    /// From here on other limits hold. What is already beyond one stays; nothing is added to it. Those of single
    /// connections hold for new ones.
    package mutating func adopt(_ limits: Limits) {
        self.limits = limits
        loads.limits = limits
        log.limits = limits
        if configuration.mode == .embedded { cache.setByteBudget(limits.embeddedCacheBytes) }
    }

    // MARK: Time

    /// When ``wake(now:effects:)`` has something to do next.
    package mutating func nextDeadline() -> UInt64? {
        let own = deadlines.next { due in
            switch due {
            case .lookup(let id): lookups[id] != nil
            case .publish(let id): publishes[id] != nil
            case .acknowledge: true
            }
        }
        return earlier(log.nextDeadline(), earlier(loads.nextDeadline(), own))
    }

    /// Does everything that is due at `now`.
    package mutating func wake(now: UInt64, effects: inout [Effect]) {
        withLog(now: now, effects: &effects) { log, turn in log.wake(&turn) }
        while let event = loads.takeDue(now) {
            switch event {
            case .lease(let key, let lease):
                if loads.load(key)?.lease.id == lease { passOn(key, now: now, effects: &effects) }
            case .waiter(let key, let ticket):
                if let waiter = loads.removeWaiter(ticket, key: key) {
                    effects.append(.push(waiter.client, .fetched(ticket: ticket, .miss)))
                }
            }
        }
        while let due = deadlines.takeDue(now) {
            switch due {
            case .lookup(let id): lookupEnded(id, found: nil, now: now, effects: &effects)
            case .publish(let id):
                // Its outcome is unknown, so it is not relayed here: an event comes at most once.
                if let publish = publishes.removeValue(forKey: id) {
                    effects.append(.reply(publish.client, publish.request, .integer(0)))
                }
            case .acknowledge:
                for (client, request, reply) in held { effects.append(.reply(client, request, reply)) }
                held.removeAll()
            }
        }
    }

    // MARK: The log's effects

    /// Runs one event of the log and turns what it wants into effects.
    mutating func withLog(
        now: UInt64, effects: inout [Effect], _ body: (inout InvalidationLog, inout Turn<LogEffect>) -> Void
    ) {
        var turn = Turn<LogEffect>(now: now)
        body(&log, &turn)
        for effect in turn.effects { perform(effect, now: now, effects: &effects) }
    }

    private mutating func perform(_ effect: LogEffect, now: UInt64, effects: inout [Effect]) {
        switch effect {
        case .upstream(let command): effects.append(.upstream(command))
        case .committed(.client(let client, let request), let position):
            acknowledge(client, request, .integer(position), now: now, effects: &effects)
        case .committed(.journal(let group), _): journalCommitted(group, now: now, effects: &effects)
        case .committed(.publisher(let client, let request, let channel), _):
            acknowledge(client, request, .integer(receivers(channel)), now: now, effects: &effects)
        case .committed(.bridge, _): break
        case .deferred(.journal, _, _): journal.abort()
        case .deferred(let requester, let tags, let event):
            figures.deferred += 1
            if !breaks(.deferredIsForgotten) { owe(tags, effects: &effects) }
            let count = event.map { relay($0, effects: &effects) } ?? 0
            switch requester {
            case .client(let client, let request):
                acknowledge(client, request, .simple(.deferred), now: now, effects: &effects)
            case .publisher(let client, let request, _):
                acknowledge(client, request, .integer(count), now: now, effects: &effects)
            case .bridge, .journal: break
            }
        case .applied(let entry):
            figures.invalidationsOut += 1
            pushTracking(.invalidate(position: entry.position, tags: entry.body.tags), effects: &effects)
        case .epochRaised(let reason):
            effects.append(.notice(.epochRaised(log.epoch, reason)))
            pushTracking(.epoch(log.epoch, reason: reason), effects: &effects)
            if !breaks(.leaseOutlivesEpoch) { endLoads(effects: &effects) }
        case .attached:
            isSyncedTold = false
            effects.append(.notice(.attached(epoch: log.epoch, applied: log.applied)))
        case .isolated(let reason):
            effects.append(.notice(.isolated(reason)))
            // An epoch is raised while isolated only.
            if !breaks(.leaseOutlivesEpoch) { endLoads(effects: &effects) }
            endLookups(now: now, effects: &effects)
            pushTracking(.beat(beat), effects: &effects)
        case .switched:
            if breaks(.lostEntriesForgotten) { return }
            // In the new log, after everything that it holds: no value from before that is fresh anywhere.
            owe([ByteBuffer(string: "*")], effects: &effects)
        case .synced(let version):
            // A server that refuses one append after the other is synced each time.
            if !isSyncedTold { effects.append(.notice(.upstreamReady(version: version))) }
            isSyncedTold = true
            scanJournal(now: now, effects: &effects)
        case .replacing(let reason): effects.append(.notice(.logReplaced(reason)))
        case .warning(let text): effects.append(.notice(.upstreamWarning(text)))
        case .foreignLog(let incarnation): effects.append(.notice(.foreignLog(incarnation)))
        case .denied(let text): effects.append(.notice(.upstreamDenied(text)))
        }
    }

    /// Answers an INVALIDATE; a table that was just made holds the answers back.
    private mutating func acknowledge(
        _ client: ClientID, _ request: RequestID, _ reply: Reply, now: UInt64, effects: inout [Effect]
    ) {
        if now < acknowledgeFrom && !breaks(.newTableNotHeldBack) {
            held.append((client, request, reply))
        } else {
            effects.append(.reply(client, request, reply))
        }
    }

    var beat: Beat {
        Beat(
            epoch: log.epoch, applied: log.applied, state: log.state, beatNanoseconds: lastBeat,
            freshAsOfNanoseconds: log.freshAsOf)
    }

    func pushTracking(_ push: Push, effects: inout [Effect]) {
        if !trackers.isEmpty { effects.append(.pushTracking(trackers, push)) }
    }
}
