import IPCWire
import Logging
import NIOCore
import Synchronization

/// A worker's present state of syncd: the connection, the mapped table and the journal. Connections come and go; table
/// and journal stay until syncd names others.
final class SyncdSession: ConnectionObserver {
    private struct State {
        var connection: SyncdConnection?
        /// Number of connections that have become ready so far.
        var generation: UInt64 = 0
        var logMode: LogMode?
        /// Whether syncd takes part in change feeds.
        var hasFeeds = false
        /// The last heartbeat that came as a push; `nil` on a fresh connection.
        var heartbeat: Heartbeat?
        var mapped: MappedTagTable?
        var arena: MappedArena?
        /// A table that no connection has named: only the age of its last heartbeat is used.
        var watched: MappedTagTable?
        /// The path of the table, known or expected.
        var tablePath: String?
        var journal: WorkerJournal?
        /// The path of syncd's journal.
        var journalPath: String?
        var isJournalConfirmed = false
        /// Whether the last attempt to write into it succeeded.
        var isJournalWritable = true
        /// Whether syncd pushes heartbeats, epochs and invalidations over this connection.
        var isTracking = true
        /// Pushes were switched on again, and their first has not come.
        var isTrackingDue = false
        /// The state of the table when stale entries were freed last.
        var swept: SweptState?
        var reported: [ReportField] = []
        var arrivals: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var nextArrivalID: UInt64 = 0
    }

    /// Nothing becomes stale while this is the same.
    private struct SweptState: Equatable {
        var epoch: Epoch
        var applied: LogPosition
    }

    /// Interval at which counters are reported and stale entries freed.
    static let housekeepingNanoseconds: UInt64 = 1_000_000_000

    let l1: L1Cache
    private let shared: SharedValues
    private let auditor: Auditor?
    let unjournaled = UnjournaledWrites()
    let unsettled = UnsettledWrites()
    private let state = Mutex(State())
    private let areInvalidationsWanted = Atomic(true)
    private let notify: AsyncStream<CacheNotification>.Continuation
    private let eventLoop: any EventLoop
    private let platform: WorkerPlatform
    private var clock: WorkerClock { platform.clock }
    private let logger: Logger

    init(
        l1: L1Cache, shared: SharedValues, auditor: Auditor? = nil, eventLoop: any EventLoop, platform: WorkerPlatform,
        logger: Logger,
        notify: AsyncStream<CacheNotification>.Continuation
    ) {
        self.l1 = l1
        self.shared = shared
        self.auditor = auditor
        self.eventLoop = eventLoop
        self.platform = platform
        self.logger = logger
        self.notify = notify
    }

    // MARK: The connection

    /// The connection, if one is ready, and its number.
    var current: (connection: SyncdConnection?, generation: UInt64) {
        state.withLock { ($0.connection, $0.generation) }
    }

    /// Whether the syncd that was connected last takes part in change feeds.
    var hasFeeds: Bool { state.withLock { $0.hasFeeds } }

    /// Waits for a connection that became ready after the one numbered `generation`. `nil` when the task is cancelled
    /// first.
    func connection(after generation: UInt64) async -> (connection: SyncdConnection, generation: UInt64)? {
        while !Task.isCancelled {
            let current = current
            if let connection = current.connection, current.generation > generation {
                return (connection, current.generation)
            }
            await arrival(after: generation)
        }
        return nil
    }

    private func arrival(after generation: UInt64) async {
        let id = state.withLock { state in
            state.nextArrivalID += 1
            return state.nextArrivalID
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isThere = state.withLock { state in
                    if Task.isCancelled || (state.connection != nil && state.generation > generation) { return true }
                    state.arrivals[id] = continuation
                    return false
                }
                if isThere { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.arrivals.removeValue(forKey: id) }?.resume()
        }
    }

    /// Invalidates tags as soon as syncd is connected and accepts them.
    ///
    /// - Returns: false when the task is cancelled first.
    func invalidate(_ tags: [CacheTag]) async -> Bool {
        while let (connection, _) = await connection(after: 0) {
            if await connection.invalidate(tags, event: nil).isTaken { return true }
            try? await clock.sleep(clock.now() + Self.housekeepingNanoseconds)
        }
        return false
    }

    func becameReady(_ connection: SyncdConnection, greeting: Greeting) {
        useTable(at: greeting.table)
        useArena(at: greeting.arena)
        useJournal(at: greeting.journal, isConfirmed: true)
        let arrivals = state.withLock { state in
            state.connection = connection
            state.generation += 1
            state.logMode = greeting.logMode
            state.hasFeeds = greeting.hasFeeds
            state.heartbeat = nil
            (state.isTracking, state.isTrackingDue) = (true, false)
            defer { state.arrivals = [:] }
            return state.arrivals
        }
        notify.yield(.connected)
        for arrival in arrivals.values { arrival.resume() }
        unjournaled.send(over: connection, now: clock.now())
        adjustTracking()
        scheduleHousekeeping(connection)
        logger.debug("connected to syncd", metadata: ["version": "\(greeting.version)", "epoch": "\(greeting.epoch)"])
    }

    func closed(_ connection: SyncdConnection, reason: CloseReason) {
        let wasReady = state.withLock { state in
            guard connection.isSame(as: state.connection) else { return false }
            state.connection = nil
            state.heartbeat = nil
            return true
        }
        if wasReady { notify.yield(.disconnected) }
        logger.debug("connection to syncd closed", metadata: ["reason": "\(reason.label)"])
    }

    func received(_ push: Push) {
        switch push {
        case .heartbeat(let heartbeat): state.withLock { $0.heartbeat = heartbeat }
        case .epoch(_, reason: .tracking):
            let isNews = state.withLock { state in
                defer { state.isTrackingDue = false }
                return state.isTrackingDue
            }
            if isNews { notify.yield(.tracking) }
        case .epoch: break
        case .invalidate(let position, let tags):
            guard wantsInvalidations else { break }
            notify.yield(.invalidation(position: position, tags: tags.map(CacheTag.init)))
        case .message(let event), .patternMessage(_, let event): notify.yield(.event(event))
        case .fetched: break
        }
    }

    var wantsInvalidations: Bool {
        get { areInvalidationsWanted.load(ordering: .relaxed) }
        set {
            areInvalidationsWanted.store(newValue, ordering: .relaxed)
            eventLoop.execute { [weak self] in self?.adjustTracking() }
        }
    }

    /// Asks for pushes while somebody wants invalidations. Without a table, the heartbeats among them show whether syncd is
    /// alive. On the event loop, so that the last decision is sent last.
    private func adjustTracking() {
        let (connection, isTracking) = state.withLock { state -> (SyncdConnection?, Bool) in
            let isWanted = wantsInvalidations || state.mapped == nil
            guard state.isTracking != isWanted else { return (nil, isWanted) }
            (state.isTracking, state.isTrackingDue) = (isWanted, isWanted)
            return (state.connection, isWanted)
        }
        connection?.track(isTracking)
    }

    // MARK: The table

    var tableHeartbeat: BootTime? { state.withLock { $0.mapped?.table.heartbeat } }

    /// Sets the path of the table until syncd has named it.
    func expectTable(at path: String) { state.withLock { $0.tablePath = path } }

    private func useTable(at path: String) {
        let mapped = state.withLock { state in
            state.tablePath = path
            state.watched = nil
            return state.mapped
        }
        if let mapped, mapped.isFile(at: path) { return }
        var replacement: MappedTagTable?
        do {
            replacement = try platform.openTable(path)
        } catch {
            logger.debug("no L1: the tag table can't be mapped", metadata: ["error": "\(error)"])
        }
        // Values of the arena are judged by a table that is mapped. The table is replaced first: no entry with slots of
        // the other table is stored.
        shared.use(nil)
        l1.use(replacement?.table)
        state.withLock { $0.mapped = replacement }
    }

    private func useArena(at path: String?) {
        let (mapped, table) = state.withLock { ($0.arena, $0.mapped?.table) }
        var present = mapped.flatMap { arena in path.flatMap { arena.isFile(at: $0) ? arena : nil } }
        if present == nil, let path {
            do {
                present = try platform.openArena(path)
            } catch {
                logger.debug("values are asked of syncd: the arena can't be mapped", metadata: ["error": "\(error)"])
            }
        }
        state.withLock { $0.arena = present }
        shared.use(present.flatMap { arena in table.map { (arena.arena, $0) } })
    }

    /// CLOCK_BOOTTIME in ns of the newest reading of the journal that has begun by now. A caller that named a file
    /// before this call knows that every later reading finds it, and that no heartbeat of a later time than this misses
    /// it. `nil` if this is unknown: the table is not mapped or not the present one, its syncd never wrote a heartbeat,
    /// or is of an older version.
    var newestReadingOfJournal: BootTime? {
        guard let mapped = presentTable() else { return nil }
        let (started, heartbeat) = (mapped.table.scanStarted, mapped.table.heartbeat)
        // A heartbeat later than every reading: an older version of syncd, which records none, took over the table.
        return heartbeat > 0 && started >= heartbeat ? started : nil
    }

    /// The table at its path, mapped for this question alone if no connection has named it.
    private func presentTable() -> MappedTagTable? {
        let (mapped, watched, path) = state.withLock { ($0.mapped, $0.watched, $0.tablePath) }
        guard let path else { return nil }
        if let known = [mapped, watched].compactMap({ $0 }).first(where: { $0.isFile(at: path) }) { return known }
        guard let opened = try? platform.openTable(path) else { return nil }
        state.withLock { $0.watched = opened }
        return opened
    }

    // MARK: The journal

    /// Takes part in the journal at `path`. `isConfirmed`: syncd named it.
    func useJournal(at path: String, isConfirmed: Bool) {
        let journal = state.withLock { $0.journal }
        if let journal, journal.isDirectory(at: path) {
            if isConfirmed { state.withLock { $0.isJournalConfirmed = true } }
            return
        }
        var replacement: WorkerJournal?
        do {
            replacement = try platform.openJournal(path)
        } catch {
            logger.debug("the journal can't be used", metadata: ["error": "\(error)"])
        }
        state.withLock { state in
            state.journal = replacement
            state.journalPath = path
            state.isJournalWritable = true
            state.isJournalConfirmed = isConfirmed && replacement != nil
        }
    }

    /// Records the tags of a write; `nil` if that fails: the write continues all the same.
    func begin(_ tags: [CacheTag]) -> Intent? {
        // Full, missing or replaced: a write without syncd depends on the journal most.
        var journal = presentJournal()
        // The directory was replaced at this very moment: one more attempt, in the directory at the path now.
        for isLast in [false, true] {
            do {
                guard let intent = try journal?.begin(tags, other: { [weak self] in self?.presentJournal() }) else {
                    return nil
                }
                state.withLock { $0.isJournalWritable = true }
                return intent
            } catch {
                state.withLock { $0.isJournalWritable = false }
                logger.debug("a write is not in the journal", metadata: ["error": "\(error)"])
                if isLast { return nil }
                journal = presentJournal()
            }
        }
        return nil
    }

    /// The journal at the path now, opened again if it is another one or could not be used before.
    private func presentJournal() -> WorkerJournal? {
        let (path, isConnected) = state.withLock { ($0.journalPath, $0.connection != nil) }
        if let path, !isJournalUsable || !isJournal(at: path) { useJournal(at: path, isConfirmed: isConnected) }
        return state.withLock { $0.journal }
    }

    private func isJournal(at path: String) -> Bool {
        state.withLock { $0.journal }?.isDirectory(at: path) ?? false
    }

    /// Whether the last write could be recorded, or the next one might be. Shown in STATUS.
    var isJournalUsable: Bool { state.withLock { $0.journal != nil && $0.isJournalWritable } }

    /// Whether an intent is recorded where syncd reads it: in the directory that its table names. If the table names
    /// none, in the journal that syncd named last.
    func isReadBySyncd(_ intent: Intent?) -> Bool {
        guard let intent else { return false }
        let state = state.withLock { $0 }
        if let mapped = state.mapped, mapped.table.journalDirectory != .unknown {
            guard let path = state.tablePath, mapped.isFile(at: path) else { return false }
            return mapped.table.journalDirectory == intent.directory
        }
        return state.isJournalConfirmed && intent.isIn(state.journal)
            && state.journalPath.map { state.journal?.isDirectory(at: $0) ?? false } ?? false
    }

    // MARK: Figures

    /// Adds to the values that are reported to syncd every second.
    func report(_ fields: [ReportField]) { state.withLock { $0.reported = fields } }

    var status: CacheStatus {
        let (isConnected, logMode, heartbeat, table) = state.withLock {
            ($0.connection != nil, $0.logMode, $0.heartbeat, $0.mapped?.table)
        }
        let trust =
            table.map { Trust($0) }
            ?? heartbeat.map {
                Trust(state: $0.state, heartbeat: $0.heartbeat, freshAsOf: $0.freshAsOf)
            }
        let isAttached: Bool =
            switch trust?.distrust(at: clock.now()) {
            // syncd is attached and has not asked Redis for a while, because nobody reads. It asks the next time.
            case nil, .freshAsOfTooOld: trust != nil
            default: false
            }
        let sync: SyncMode = !isConnected ? .detached : isAttached ? .attached : .isolated
        let redis: UpstreamMode =
            logMode == .embedded ? .disabled : logMode == .redis && sync == .attached ? .connected : .unavailable
        return CacheStatus(
            sync: sync, redis: redis, epoch: table?.epoch ?? heartbeat?.epoch ?? 0,
            applied: table?.applied ?? heartbeat?.applied ?? 0, l1: l1.statistics, sharedHits: shared.hits,
            audit: auditor?.statistics, isJournalUsable: isJournalUsable || state.withLock { $0.journalPath == nil })
    }

    // MARK: Housekeeping

    private func scheduleHousekeeping(_ connection: SyncdConnection) {
        clock.schedule(eventLoop, clock.now() + Self.housekeepingNanoseconds) { [weak self] in
            guard let self, connection.isSame(as: self.current.connection) else { return }
            self.housekeeping(connection)
            self.scheduleHousekeeping(connection)
        }
    }

    private func housekeeping(_ connection: SyncdConnection) {
        let (fields, isSweepDue, path) = state.withLock { state in
            let present = state.mapped.map { SweptState(epoch: $0.table.epoch, applied: $0.table.applied) }
            defer { state.swept = present }
            return (state.reported, state.swept != present, state.journalPath)
        }
        // The journal was full, owned by another user or missing; an administrator may have corrected this.
        if let path, !isJournalUsable || !isJournal(at: path) { useJournal(at: path, isConfirmed: true) }
        let warning = ReportField(
            name: ByteBuffer(string: "journal"), value: ByteBuffer(string: isJournalUsable ? "ok" : "unusable"))
        let audit = auditor?.statistics.fields ?? []
        connection.tell(
            .report(l1.statistics.fields + [.init("shared-hits", shared.hits)] + audit + [warning] + fields))
        unjournaled.send(over: connection, now: clock.now())
        if isSweepDue { sweep(from: 0) }
    }

    /// Works in steps, between which the event loop does other work.
    private func sweep(from start: Int) {
        guard let next = l1.sweep(from: start) else { return }
        eventLoop.execute { [weak self] in self?.sweep(from: next) }
    }
}

extension L1Statistics {
    /// The counters as reports to syncd.
    var fields: [ReportField] {
        [("l1-hits", hits), ("l1-misses", misses), ("l1-entries", entries), ("l1-bytes", bytes)].map(ReportField.init)
    }
}

extension AuditStatistics {
    /// The counters as reports to syncd.
    var fields: [ReportField] {
        [("audit-sampled", sampled), ("audit-stale", stale), ("audit-superseded", superseded)].map(ReportField.init)
    }
}

extension ReportField {
    fileprivate init(_ name: String, _ number: Int) {
        self.init(name: ByteBuffer(string: name), value: ByteBuffer(string: String(number)))
    }
}
