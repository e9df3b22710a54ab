import IPCWire
import NIOCore

/// The invalidation log as one host sees it (docs/consistency.md, "The log").
///
/// Embedded, the log is a counter. With a server it is a stream that all hosts append to, and this machine decides
/// which of the server's messages are trusted. It consists of machines that own their data: ``LogSession`` how much of
/// the server's log is known, ``LogTail`` what is applied, ``AppendQueue`` appends that wait for the server,
/// ``Attachment`` whether this host's caches may be trusted, ``KnownLogs`` the identities of logs.
///
/// After every connect, and after every unexpected finding, the log runs a *continuity check*: it inspects the server,
/// replaces the log if it is another one, and reads the entries it has not applied. `applied` moves contiguously only;
/// a hole that cannot be closed raises the epoch instead. After that, entries come by publish/subscribe, and a probe
/// every 250 ms shows whether one is missing.
///
/// While the host is attached, appends wait at most 250 ms for the server; then the host isolates itself, and they are
/// pending. Isolation ends in ``heartbeat(sampledAt:syncs:_:)`` only: when everything pending has been appended.
struct InvalidationLog: ~Copyable {
    let table: TagTable
    let mode: LogMode
    var limits: Limits
    /// Random, one per process.
    let origin: UInt64
    var random: any RandomNumberGenerator & Sendable

    var session = LogSession.disconnected
    var tail: LogTail
    var appends = AppendQueue()
    var attachment: Attachment
    var logs: KnownLogs
    var subscription = Subscription()
    /// Number of continuity checks that passed. A journal pass counts only if it began after the last one.
    private(set) var syncs: UInt64 = 0
    /// The last refusal that was reported since the continuity check passed.
    var lastDenial: String?
    /// Warnings about the server's settings at the last inspection.
    var warnings: [String] = []
    /// The last time at which somebody of this host used a cache.
    var lastUse: BootTime
    /// Since when answers of the server are expected on a host that was idle.
    var inUseSince: BootTime = 0
    /// Time from a request to its append's reply.
    var latency = LatencyRing()
    private(set) var lastID: UpstreamID = 0
    /// The clock that entries tell when they were sent; `nil` until the engine has set it.
    var wallClock: WallClock?
    /// The change feeds whose readers the probes ask for.
    var watchedFeeds: [ByteBuffer] = []

    /// State of the subscription connection.
    struct Subscription: Sendable {
        /// The process at the other end.
        var identity: ServerIdentity?
        /// Position of the last message: the next ones are greater.
        var lastPosition: LogPosition = 0
    }

    init(
        table: TagTable, mode: LogMode, limits: Limits, random: any RandomNumberGenerator & Sendable, now: BootTime
    ) {
        self.table = table
        self.mode = mode
        self.limits = limits
        var random = random
        origin = random.next() >> 11
        lastUse = now
        attachment = Attachment(table: table, now: now)
        // Without Redis nothing is appended while syncd is away. After Redis it is another log: other hosts may have
        // appended to that one what this table does not have.
        let continues = mode == .embedded && table.logMode == .embedded
        tail = LogTail(table: table, keepsLastEntry: mode == .redis, continues: continues)
        var incarnation = table.incarnation
        if mode == .embedded {
            if !continues { incarnation = Self.fresh(&random) }
            session.follow(LogSession.Server(), from: now)
        }
        logs = KnownLogs(incarnation)
        table.setIncarnation(incarnation)
        table.setLogMode(mode)
        self.random = random
    }

    private static func fresh(_ random: inout any RandomNumberGenerator & Sendable) -> Incarnation {
        Incarnation(high: random.next() | 1, low: random.next())
    }

    mutating func freshIncarnation() -> Incarnation { Self.fresh(&random) }

    mutating func makeID() -> UpstreamID {
        lastID += 1
        return lastID
    }

    // MARK: State

    var state: SyncState { attachment.state }
    var epoch: Epoch { attachment.epoch }
    var freshAsOf: BootTime { attachment.freshAsOf }
    var applied: LogPosition { tail.applied }
    var firstKnownPosition: LogPosition { tail.firstKnownPosition }
    var incarnation: Incarnation { logs.current }
    /// Whether the continuity check has passed, so that the log can be appended to.
    var isSynced: Bool { session.isFollowing }

    /// The caches are not used, so that nothing vouches for the table now. The first use is answered after a probe.
    var isIdle: Bool { session.isIdle }

    // MARK: Appending

    /// Appends an invalidation, or defers it if the log cannot accept it. An invalidation that is too long for an entry
    /// invalidates everything.
    mutating func append(
        tags: [ByteBuffer], event: Event?, at time: OperationTime? = nil, with feed: FeedCommand? = nil,
        for requester: AppendRequester, _ turn: inout Turn<LogEffect>
    ) {
        let time = time.flatMap { isPlausible($0, turn.now) ? $0 : nil }
        var body = LogEntryBody(
            origin: origin, nonce: 0, eventChannel: event?.channel, tags: tags, operationTime: time)
        let isAppendable = body.isAppendable
        let tags = isAppendable ? tags : [ByteBuffer(string: "*")]
        if mode == .embedded {
            body.tags = tags
            let entry = LogEntry(position: tail.applied + 1, body: body)
            apply(entry, &turn)
            turn.add(.committed(requester, position: entry.position))
            return
        }
        // Possible appends are tried while isolated, too: appends of the journal end the isolation, and those of
        // clients that are not deferred do not delay its end.
        let isTried = state == .attached || isSynced || requester.isBridge
        guard isTried, appends.hasRoom(limits) else {
            if state == .attached { isolate(.tooManyAppends, &turn) }
            turn.add(.deferred(requester, tags: tags, event))
            return
        }
        let id = makeID()
        let append = PendingAppend(
            requester: requester, tags: tags, event: event, operationTime: time, feed: feed,
            nonce: random.next() >> 11, startedAt: turn.now, bytes: isAppendable ? body.memoryBytes : 0)
        appends.add(append, id: id, deadline: turn.now + limits.appendNanoseconds)
        if isSynced { send(id, &turn) }
    }

    /// Whether the database can have applied a write at this time. A time of the future would cover changes of other
    /// programs that come until then. The clocks of database and host may differ by some minutes.
    private func isPlausible(_ time: OperationTime, _ now: BootTime) -> Bool {
        guard let wallClock else { return true }
        return UInt64(time.seconds) * 1000 <= wallClock.time(now) + Self.clockToleranceMilliseconds
    }

    private static let clockToleranceMilliseconds: UInt64 = 300_000

    private mutating func send(_ id: UpstreamID, _ turn: inout Turn<LogEffect>) {
        guard let append = appends.send(id, applied: tail.applied, at: wallClock?.time(turn.now)) else { return }
        let bridged: BridgedEvent? = if case .bridge(let name) = append.requester { name } else { nil }
        let command = AppendCommand(
            incarnation: incarnation, fresh: freshIncarnation(), body: body(of: append),
            eventPayload: append.event?.payload, bridged: bridged, feed: append.feed)
        turn.add(.upstream(.append(id, command)))
    }

    private func body(of append: PendingAppend) -> LogEntryBody {
        var body = LogEntryBody(
            origin: origin, nonce: append.nonce, eventChannel: append.event?.channel, tags: append.tags)
        // As other hosts read it: an entry that comes back has to be the same.
        if body.hasRoomForNote { (body.operationTime, body.sentAt) = (append.operationTime, append.sentAt) }
        return body
    }

    mutating func appendAnswered(
        _ append: PendingAppend, _ reply: UpstreamReply, _ turn: inout Turn<LogEffect>
    ) {
        switch reply {
        case .appended(incarnation, let position)
        where position <= append.appliedWhenSent && !breaks(.positionBackIgnored):
            // Values that were loaded at a greater position would not see this invalidation.
            deferred(append, event: nil, &turn)
            requireResync(.logWentBack, .discontinuous, &turn)
        case .appended(incarnation, let position):
            // The table has the invalidation before any client is answered; `applied` follows when the predecessors
            // have come.
            if !breaks(.committedNotRaised) {
                tail.raise(append.tags, to: position)
                arrived(LogEntry(position: position, body: body(of: append)), &turn)
                proved(position, sentAt: append.startedAt, &turn)
                latency.add(turn.now &- append.startedAt)
                turn.add(.visible(nanoseconds: turn.now &- append.startedAt))
            }
            turn.add(.committed(append.requester, position: position))
        case .alreadyBridged(incarnation):
            break  // Its entry was published after the event, so it comes, or a probe shows that it is missing.
        case .feedRoleLost(incarnation):
            if case .feed(let name, let client, let request) = append.requester {
                turn.add(.feedRoleLost(name, client, request))
            }
        case .appended:
            // The log was gone and this append made a new one: its event is published, its tags are not safe.
            deferred(append, event: nil, &turn)
            requireResync(.logVanished, .incarnation, &turn)
        case .otherIncarnation:
            deferred(append, event: append.event, &turn)
            requireResync(.otherLog, .incarnation, &turn)
        case .failed(.damaged(let why)):
            deferred(append, event: append.event, &turn)
            damaged(why, &turn)
        case .failed(let failure):
            // No append can be promised until the next continuity check has passed.
            deferred(append, event: append.event, &turn)
            isolate(.failed(failure), &turn)
            retry(after: failure, &turn)
        default:
            deferred(append, event: nil, &turn)
            requireResync(.unexpectedReply, .discontinuous, &turn)
        }
    }

    private func deferred(_ append: PendingAppend, event: Event?, _ turn: inout Turn<LogEffect>) {
        turn.add(.deferred(append.requester, tags: append.tags, event))
    }

    // MARK: State

    /// Ends trust on this host: the waiting clients are told that their invalidations are pending. Only events of other
    /// programs stay in the queue, also through isolation: when they are sent again by their name, the server knows
    /// whether another host has appended them meanwhile.
    mutating func isolate(_ reason: IsolationReason, _ turn: inout Turn<LogEffect>) {
        if attachment.isolate(reason, now: turn.now) { turn.add(.isolated(reason)) }
        endIdleness(turn.now)
        // An append that was sent may have happened, event included; events are delivered at most once.
        for append in appends.takeAllButBridged() {
            deferred(append, event: append.isSent ? nil : append.event, &turn)
        }
    }

    /// Handles an unexpected finding: raises the epoch before any client is answered. Nothing is trusted until the next
    /// continuity check has passed.
    mutating func requireResync(
        _ reason: IsolationReason, _ epochReason: EpochReason, _ turn: inout Turn<LogEffect>
    ) {
        distrust(reason, epochReason, &turn)
        inspect(&turn)
    }

    mutating func distrust(_ reason: IsolationReason, _ epochReason: EpochReason, _ turn: inout Turn<LogEffect>) {
        isolate(reason, &turn)
        if attachment.requireResync(epochReason) { turn.add(.epochRaised(epochReason)) }
    }

    /// The log cannot be used in this state: the next inspection replaces it.
    mutating func damaged(_ why: String, _ turn: inout Turn<LogEffect>) {
        logs.currentIsDamaged()
        requireResync(.failed(.damaged(why)), .discontinuous, &turn)
    }

    /// All entries of the server are applied: waiting appends are sent, and entries and probes are followed.
    mutating func follow(_ server: LogSession.Server, _ turn: inout Turn<LogEffect>) {
        session.follow(server, from: turn.now)
        if tail.hasGap { expectArrival(turn.now) }
        lastDenial = nil
        syncs += 1
        for id in appends.ids { send(id, &turn) }
        if breaks(.attachedAtProof), state == .isolated {
            attachment.attach(to: incarnation, now: turn.now)
            turn.add(.attached)
        }
        turn.add(.synced(serverVersion: server.version))
        wake(&turn)
    }

    /// Every journal file that was there at `sampledAt` is in the log: stores the heartbeat, and ends isolation if
    /// there is no other reason for it. `syncs` is its value when the reading of the journal began.
    mutating func heartbeat(sampledAt: BootTime, syncs: UInt64, _ turn: inout Turn<LogEffect>) {
        if mode == .embedded { attachment.confirm(sampledAt) }
        // A late append that still waits is an event of another program that this host has been told of.
        let isReady = isSynced && syncs == self.syncs && !appends.hasLate(turn.now, limit: limits.appendNanoseconds)
        if state == .isolated, isReady, attachment.isConfirmed(turn.now) {
            attachment.attach(to: incarnation, now: turn.now)
            turn.add(.attached)
        }
        table.setHeartbeat(sampledAt)
    }
}
