import DequeModule
import IPCWire
import NIOCore

/// Who asked for an append.
enum AppendRequester: Sendable, Hashable {
    case client(ClientID, RequestID)
    /// Files of the journal.
    case journal(group: UInt64)
    /// PUBLISH on a channel of the event bridge's rules.
    case publisher(ClientID, RequestID, channel: ByteBuffer)
    /// An event of another program; without a name, it is appended whoever else has done so.
    case bridge(BridgedEvent?)

    var isBridge: Bool { if case .bridge = self { true } else { false } }
}

/// What the log wants done, or makes known to the brain.
enum LogEffect: Sendable, Hashable {
    case upstream(UpstreamCommand)
    /// The log and the table have it.
    case committed(AppendRequester, position: UInt64)
    /// The log has not taken it: it is owed. An event has not been published.
    case deferred(AppendRequester, tags: [ByteBuffer], Event?)
    /// `applied` moved to this entry.
    case applied(LogEntry)
    case epochRaised(EpochReason)
    case attached
    case isolated(reason: String)
    /// Another log than the one that was applied so far is ours from now on: it may not have all that this host has
    /// acknowledged or seen, and its positions may be those of other entries.
    case adopted
    /// Continuity is proven and every gap closed: what is owed can be appended now.
    case proven
    case warning(String)
    /// The server refuses what syncd needs; somebody has to change its settings or ours.
    case denied(String)
}

/// The invalidation log as one host sees it (docs/consistency.md, "The log").
///
/// Embedded, it is a counter. With a server it is a stream that all hosts append to, and this machine decides what
/// of the server's words is believed. After every connect, and whenever something unexpected shows, it *proves
/// continuity*: inspects the server, replaces the log if it is another one, and reads the entries it has not
/// applied. `applied` moves contiguously only; a hole that cannot be closed raises the epoch instead. Between
/// proofs, entries come by publish/subscribe, and a probe every 250 ms shows whether one is missing.
///
/// While the state is attached, appends wait at most 250 ms for the server; then the log isolates itself, and
/// they are owed. Being isolated ends in ``beatCompleted(sampledAt:generation:now:effects:)`` only: when
/// everything owed has been appended.
struct InvalidationLog {
    /// How much is known about the server.
    enum Phase: Equatable {
        /// No command connection. Next: `inspecting`.
        case disconnected
        /// Nothing is proven. Next: `replacing`, `catchingUp`, `retrying`.
        case inspecting(UpstreamID)
        /// The log is being replaced. Next: `inspecting`.
        case replacing(UpstreamID)
        /// The log is the right one; entries up to `target` are missing. Next: `proven`.
        case catchingUp(target: UInt64)
        /// Everything up to the server's last known position is applied or on its way.
        case proven
        /// The server refused to be inspected. Next: `inspecting`, at the time.
        case retrying(at: UInt64)
    }

    struct PendingAppend {
        var requester: AppendRequester
        var tags: [ByteBuffer]
        var event: Event?
        var nonce: UInt64
        var startedAt: UInt64
        /// Written to the present connection.
        var isSent = false
        /// What was applied when it was sent: its position must be beyond.
        var appliedThen: UInt64 = 0
    }

    /// What was known when the server was inspected.
    struct Inspected {
        var entry: LogEntry?
        /// The greatest position of any log.
        var greatest: UInt64 = 0
    }

    struct Probe {
        var id: UpstreamID
        var sentAt: UInt64
        var appliedThen: UInt64
    }

    struct PageRead {
        var id: UpstreamID
        /// Entries beyond this position were asked for.
        var after: UInt64
        /// What was known to exist when it was sent: a page without it has a hole.
        var knownThen: UInt64
    }

    let table: TagTable
    let mode: LogMode
    var limits: Limits
    /// Random, one per process.
    let origin: UInt64
    var random: any RandomNumberGenerator & Sendable

    var epoch: UInt64
    var applied: UInt64
    var horizon: UInt64
    var incarnation: Incarnation
    var state = SyncState.isolated
    var epochReason = EpochReason.started
    var isolationReason: String? = "starting"
    /// CLOCK_BOOTTIME at which the present state began.
    var stateSince: UInt64
    var freshAsOf: UInt64 = 0
    /// The greatest position in the table, whatever log it came from. Positions never go back.
    var greatest: UInt64

    var phase = Phase.disconnected
    /// Goes up with every proof; a journal pass counts only for the proof that it began after.
    var generation: UInt64 = 0
    /// The epoch was raised because of what showed; adopting another log need not raise it again.
    var isSuspect = true
    /// This process has taken the server's log for its own: `applied` counts positions of it.
    var isAdopted = false
    /// The log before the present one: messages of it may still come.
    var former = Incarnation.none
    /// The process at the other end of the command connection, since it was inspected.
    var serverIdentity: ServerIdentity?
    /// The process at the other end of the subscription connection.
    var subscriptionIdentity: ServerIdentity?
    /// What the server's record of the log was at the last inspection.
    var rawRecord: ByteBuffer?
    var serverVersion = ""
    /// The log that this process has last asked the server to make, and whether the server has named it since.
    var replacement: (incarnation: Incarnation, isMade: Bool)?
    /// The log was replaced and not inspected since.
    var isJustReplaced = false
    /// What the server refused us last, since the last proof: it is told once.
    var lastDenial: String?
    /// The log was replaced over this very connection: a server that shows no identity need not be asked again.
    var replacedHere = false
    /// A log whose keys turned out to hold something else: no inspection shows that, so it must not pass another.
    var damaged: Incarnation?
    /// The last entry that was applied, as it was: the proof compares it.
    var lastEntry: LogEntry?
    var inspected = Inspected()
    /// Pages that were asked for, in the order of their answers.
    var pageReads: Deque<PageRead> = []
    /// Entries whose predecessors have not arrived.
    var ahead: [UInt64: LogEntryBody] = [:]
    /// Position of the last message on the present subscription: those that follow are beyond.
    var lastPublished: UInt64 = 0
    /// The greatest position that is known to exist.
    var known: UInt64 = 0
    /// When a known position that has not arrived by itself is read from the stream.
    var gapDeadline: UInt64?
    var probe: Probe?
    var nextProbe: UInt64 = 0
    var uncovered: Deque<(position: UInt64, sentAt: UInt64)> = []
    var appends: [UpstreamID: PendingAppend] = [:]
    var appendDeadlines: Deque<(time: UInt64, id: UpstreamID)> = []
    var nextID: UpstreamID = 0
    var latency = LatencyRing()

    init(
        table: TagTable, mode: LogMode, limits: Limits, random: any RandomNumberGenerator & Sendable, now: UInt64
    ) {
        self.table = table
        self.mode = mode
        self.limits = limits
        var random = random
        self.origin = random.next() >> 11
        self.random = random
        self.stateSince = now
        // Whoever still maps the table must see that nobody vouches for it now, and that this is a new epoch.
        table.setState(.isolated)
        epoch = table.epoch + 1
        table.setEpoch(epoch)
        greatest = max(table.applied, table.greatestSlot)
        applied = greatest
        incarnation = table.incarnation
        horizon = applied
        known = applied
        if mode == .embedded {
            if incarnation == .none { incarnation = Self.fresh(&self.random) }
            phase = .proven
            isSuspect = false
        }
        table.setIncarnation(incarnation)
        publishPosition()
    }

    private static func fresh(_ random: inout any RandomNumberGenerator & Sendable) -> Incarnation {
        Incarnation(high: random.next() | 1, low: random.next())
    }

    mutating func freshIncarnation() -> Incarnation { Self.fresh(&random) }

    mutating func makeID() -> UpstreamID {
        nextID += 1
        return nextID
    }

    func publishPosition() {
        table.setHorizon(horizon)
        table.setApplied(applied)
    }

    mutating func raise(_ tags: [ByteBuffer], to position: UInt64) {
        table.raise(tags: tags, to: position)
        greatest = max(greatest, position)
    }

    // MARK: Appending

    /// Appends an invalidation, or owes it if the log cannot take it.
    mutating func append(
        tags: [ByteBuffer], event: Event?, for requester: AppendRequester, now: UInt64, effects: inout [LogEffect]
    ) {
        if mode == .embedded {
            let entry = LogEntry(
                position: applied + 1,
                body: LogEntryBody(origin: origin, nonce: 0, eventChannel: event?.channel, tags: tags))
            apply(entry, effects: &effects)
            effects.append(.committed(requester, position: entry.position))
            return
        }
        // The journal's invalidations are what ends isolation, so they are tried also while isolated.
        let isOwed = if case .journal = requester { true } else { false }
        guard state == .attached || requester.isBridge || (isOwed && phase == .proven),
            appends.count < limits.pendingAppends
        else {
            if state == .attached { isolate("too many appends wait for Redis", now: now, effects: &effects) }
            effects.append(.deferred(requester, tags: tags, event))
            return
        }
        let id = makeID()
        appends[id] = PendingAppend(
            requester: requester, tags: tags, event: event, nonce: random.next() >> 11, startedAt: now)
        appendDeadlines.append((now + limits.appendNanoseconds, id))
        if phase == .proven { send(id, effects: &effects) }
    }

    private mutating func send(_ id: UpstreamID, effects: inout [LogEffect]) {
        guard var append = appends[id], !append.isSent else { return }
        append.isSent = true
        append.appliedThen = applied
        appends[id] = append
        let bridged: BridgedEvent? = if case .bridge(let name) = append.requester { name } else { nil }
        effects.append(
            .upstream(
                .append(
                    id,
                    AppendCommand(
                        incarnation: incarnation, fresh: freshIncarnation(),
                        body: LogEntryBody(
                            origin: origin, nonce: append.nonce, eventChannel: append.event?.channel,
                            tags: append.tags),
                        eventPayload: append.event?.payload, bridged: bridged))))
    }

    /// Sends what waits for a proof. Ids ascend in the order of the requests.
    mutating func sendWaiting(effects: inout [LogEffect]) {
        for id in appends.keys.sorted() { send(id, effects: &effects) }
    }

    mutating func appendAnswered(
        _ id: UpstreamID, _ reply: UpstreamReply, now: UInt64, effects: inout [LogEffect]
    ) {
        guard let append = appends.removeValue(forKey: id) else { return }
        switch reply {
        case .appended(let incarnation, let position)
        where incarnation == self.incarnation && isBack(position, since: append.appliedThen):
            // Its slots are no news to entries of a later position.
            deferred(append, event: nil, effects: &effects)
            suspect("the log in Redis went back", .discontinuous, now: now, effects: &effects)
        case .appended(let incarnation, let position) where incarnation == self.incarnation:
            let body = LogEntryBody(
                origin: origin, nonce: append.nonce, eventChannel: append.event?.channel, tags: append.tags)
            #if MUTANTS
                if Mutant.active == .committedNotRaised {
                    effects.append(.committed(append.requester, position: position))
                    return
                }
            #endif
            // The table has it before anybody is told; `applied` follows when its predecessors have come.
            raise(append.tags, to: position)
            arrived(LogEntry(position: position, body: body), now: now, effects: &effects)
            latency.add(now &- append.startedAt)
            effects.append(.committed(append.requester, position: position))
        case .alreadyBridged(let incarnation) where incarnation == self.incarnation:
            break  // Its entry was published after the event, so it comes, or a probe shows that it is missing.
        case .appended:
            // The log was gone and this append made a new one: its event is published, its tags are not safe.
            deferred(append, event: nil, effects: &effects)
            suspect("the log vanished from Redis", .incarnation, now: now, effects: &effects)
        case .otherIncarnation:
            deferred(append, event: append.event, effects: &effects)
            suspect("Redis holds another log", .incarnation, now: now, effects: &effects)
        case .failed(let failure):
            deferred(append, event: append.event, effects: &effects)
            failed(failure, now: now, effects: &effects)
        default:
            deferred(append, event: nil, effects: &effects)
            suspect("an unexpected answer to an append", .discontinuous, now: now, effects: &effects)
        }
    }

    /// Whether a position shows that the log was set back since something was asked.
    private func isBack(_ position: UInt64, since applied: UInt64) -> Bool {
        #if MUTANTS
            if Mutant.active == .positionBackIgnored { return false }
        #endif
        return position <= applied
    }

    private func deferred(_ append: PendingAppend, event: Event?, effects: inout [LogEffect]) {
        effects.append(.deferred(append.requester, tags: append.tags, event))
    }

    /// A failed append or read: nothing more can be promised until the server has been proven anew.
    private mutating func failed(_ failure: UpstreamFailure, now: UInt64, effects: inout [LogEffect]) {
        switch failure {
        case .damaged(let why): self.damaged(why, now: now, effects: &effects)
        case .wrongRole(let why), .refused(let why), .denied(let why):
            isolate(why, now: now, effects: &effects)
            retry(after: failure, now: now, effects: &effects)
        }
    }

    // MARK: State

    /// Ends trust on this host: whoever waits is owed. Only events of other programs go on waiting, and isolation
    /// with them: asked once more by their name, the server knows whether another host has appended them meanwhile.
    mutating func isolate(_ reason: String, now: UInt64, effects: inout [LogEffect]) {
        if state == .attached {
            state = .isolated
            stateSince = now
            table.setState(.isolated)
            isolationReason = reason
            effects.append(.isolated(reason: reason))
        }
        for id in appends.keys.sorted() where appends[id]?.requester.isBridge == false {
            guard let append = appends.removeValue(forKey: id) else { continue }
            // What was sent may have happened, event included; events are delivered at most once.
            deferred(append, event: append.isSent ? nil : append.event, effects: &effects)
        }
    }

    mutating func raiseEpoch(_ reason: EpochReason, effects: inout [LogEffect]) {
        epoch += 1
        epochReason = reason
        table.setEpoch(epoch)
        effects.append(.epochRaised(reason))
    }

    /// Something unexpected showed: the epoch goes up before anybody gets an answer, and nothing is believed until
    /// continuity is proven anew.
    mutating func suspect(_ why: String, _ reason: EpochReason, now: UInt64, effects: inout [LogEffect]) {
        isolate(why, now: now, effects: &effects)
        if !isSuspect { raiseEpoch(reason, effects: &effects) }
        isSuspect = true
        if phase != .disconnected { inspect(effects: &effects) }
    }

    /// The log cannot be used as it is: the next inspection replaces it.
    mutating func damaged(_ why: String, now: UInt64, effects: inout [LogEffect]) {
        damaged = incarnation
        #if MUTANTS
            if Mutant.active == .damageForgotten { damaged = nil }
        #endif
        suspect(why, .discontinuous, now: now, effects: &effects)
    }

    /// Every journal file is in the log: beats, and ends isolation if nothing else stands against it.
    mutating func beatCompleted(
        sampledAt: UInt64, generation: UInt64, now: UInt64, effects: inout [LogEffect]
    ) {
        if mode == .embedded { freshAsOf = sampledAt }
        let isBelieved = TagTable.isWithin(now, of: freshAsOf, TrustTiming.upstreamTrustNanoseconds)
        if state == .isolated, phase == .proven, generation == self.generation, appends.isEmpty, isBelieved {
            state = .attached
            stateSince = now
            isolationReason = nil
            isSuspect = false
            table.setFreshAsOf(freshAsOf)
            // Not before: whoever comes after this process must know that it had not attached to this log yet.
            table.setIncarnation(incarnation)
            table.setState(.attached)
            effects.append(.attached)
        }
        table.setFreshAsOf(freshAsOf)
        table.setBeat(sampledAt)
    }
}
