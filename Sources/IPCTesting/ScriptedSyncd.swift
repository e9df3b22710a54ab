import IPC
import IPCWire
import NIOCore
import NIOPosix
import Synchronization

/// A syncd that plays a part: with a real table and a real journal directory, it answers as an attached syncd with
/// nothing in its cache, and where a test wants something else, that.
///
/// With a ``ManualClock`` it gives a heartbeat only in ``heartbeat()`` and ``advance(by:)``; without one, every 100 ms.
public final class ScriptedSyncd: Sendable {
    /// A script's answer to a request. An array stands for its elements, one after the other; an empty one for no
    /// answer, perhaps for now.
    package enum Answer: Sendable, ExpressibleByArrayLiteral {
        case reply(Reply)
        case push(Push)
        case close
        case several([Answer])

        /// None for now.
        package static let hold = Answer.several([])

        package init(arrayLiteral answers: Answer...) { self = .several(answers) }
    }

    /// Answers for requests; `nil` means: as usual.
    package typealias Script = @Sendable (Request) -> Answer?

    package struct Heard: Sendable {
        package var request: Request
        package var connection: ScriptedConnection
    }

    /// State and contents of the heartbeats.
    package struct Pulse: Sendable {
        package var isHeartbeatDue = true
        /// Age of their data, in ns.
        package var heartbeatAge: UInt64 = 0
        package var freshAsOfAge: UInt64 = 0
        /// Whether they say when the journal was read. Without that, writes that syncd does not answer wait for a whole
        /// trust window.
        package var showsReadings = true
    }

    private struct State {
        var script: Script?
        var isSilent = false
        var pulse = Pulse()
        var heard: [Heard] = []
        var unreadable: [String] = []
        var connections: [ScriptedConnection] = []
        var acceptedCount = 0
        var tracking: [ScriptedConnection] = []
        var nextLease: LeaseID = 100
        var listener: (any Channel)?
        var heartbeats: RepeatedTask?
    }

    package let table: TagTable
    package let journal: JournalDirectory
    /// `nil`: real time.
    package let manualClock: ManualClock?
    /// Path of its socket, for the configuration of a cache.
    public let socketPath: String
    package let tablePath: String
    /// The table that clients are shown.
    private let shownTable: String
    /// The value arena that clients are shown.
    package let arenaPath: String
    private let arena: Mutex<ValueArenaWriter?>
    /// `nil`: somebody else sees to the folder.
    private let scratch: ScratchFolder?
    private let state = Mutex(State())

    /// In a folder in /tmp that goes with this object. Nobody can connect before ``start()``.
    public convenience init(clock: ManualClock? = nil) throws { try self.init(clock: clock, hasTable: true) }

    /// `hasTable: false`: clients are shown a table that is not there.
    package convenience init(clock: ManualClock?, hasTable: Bool) throws {
        let scratch = try ScratchFolder()
        try self.init(folder: scratch.path, scratch: scratch, clock: clock, hasTable: hasTable)
    }

    /// In a folder of the caller, on real time.
    package convenience init(folder: String) throws {
        try self.init(folder: folder, scratch: nil, clock: nil, hasTable: true)
    }

    private init(folder: String, scratch: ScratchFolder?, clock: ManualClock?, hasTable: Bool) throws {
        manualClock = clock
        self.scratch = scratch
        socketPath = folder + "/syncd.sock"
        tablePath = RuntimeDirectory.tagTable(socketPath: socketPath)
        shownTable = hasTable ? tablePath : folder + "/none"
        (table, _) = try TagTableFile.openOrCreate(
            path: tablePath, slotBits: TagTableLayout.slotBitsRange.lowerBound)
        arenaPath = RuntimeDirectory.arena(socketPath: socketPath)
        arena = Mutex(ValueArenaFile.take(path: arenaPath, bytes: ValueArenaLayout.byteCountRange.lowerBound).0)
        journal = try JournalDirectory(path: RuntimeDirectory.journal(socketPath: socketPath))
        table.setState(.attached)
        heartbeat()
    }

    /// Listens. May be called again after ``stop()``.
    public func start() async throws {
        let listener = try await listen(path: socketPath)
        var heartbeats: RepeatedTask?
        if manualClock == nil {
            heartbeats = MultiThreadedEventLoopGroup.singleton.any().scheduleRepeatedTask(
                initialDelay: .zero, delay: .milliseconds(100)
            ) { [weak self] _ in self?.heartbeat() }
        }
        let former = state.withLock { [heartbeats] state in
            defer {
                state.listener = listener
                state.heartbeats = heartbeats
            }
            return state.heartbeats
        }
        former?.cancel()
    }

    /// Closes the listener and all connections, and removes the socket's file.
    public func stop() async {
        let (listener, heartbeats, connections) = state.withLock { state in
            defer {
                state.listener = nil
                state.heartbeats = nil
            }
            return (state.listener, state.heartbeats, state.connections)
        }
        heartbeats?.cancel()
        try? await listener?.close().get()
        for connection in connections { await connection.closed() }
    }

    // MARK: Actions

    package func script(_ script: Script?) { state.withLock { $0.script = script } }

    /// Stands still as a stopped process does: answers nothing, and gives no heartbeat.
    public func standStill() { state.withLock { $0.isSilent = true } }

    /// Gives a heartbeat.
    public func heartbeat() { heartbeat(isForced: false) }

    /// Moves the clock, with a heartbeat every 100 ms. For a syncd with a ``ManualClock``.
    public func advance(by duration: Duration) {
        guard let manualClock else { return }
        var rest = duration
        while rest > .zero {
            let step = min(rest, .milliseconds(100))
            manualClock.advance(by: step)
            heartbeat()
            rest -= step
        }
    }

    package func setPulse(_ change: (inout Pulse) -> Void) {
        state.withLock { change(&$0.pulse) }
        heartbeat(isForced: true)
    }

    /// Nobody may believe a cache from now on, until ``attach()``.
    public func isolate() { setState(.isolated) }

    /// Caches may be believed again.
    public func attach() { setState(.attached) }

    package func setState(_ newState: SyncState) {
        table.setState(newState)
        heartbeat()
    }

    /// Invalidates as if another worker had written: the table first, then the pushes.
    ///
    /// - Returns: the position in the log.
    @discardableResult
    public func invalidate(_ tags: [CacheTag]) -> LogPosition {
        let tags = tags.map(\.bytes)
        let position = table.applied + 1
        table.raise(tags: tags, to: position)
        table.setApplied(position)
        for connection in trackers { connection.send(.invalidate(position: position, tags: tags)) }
        return position
    }

    /// Puts a value into shared memory, as if another worker had loaded it just now.
    ///
    /// - Parameters:
    ///   - incarnation: of the log that it belongs to; `nil`: the present one.
    ///   - lifetime: its time to live.
    package func share(
        _ value: String, as key: CacheKey, tags: [CacheTag] = [], incarnation: Incarnation? = nil,
        lifetime: Duration = .seconds(60)
    ) {
        let now = manualClock?.now ?? BootClock.now
        let entry = ArenaEntry(
            incarnation: incarnation ?? table.incarnation, asOf: table.applied,
            deadline: now + UInt64(lifetime / .nanoseconds(1)), tags: tags.map(\.bytes),
            value: ByteBuffer(string: value))
        arena.withLock { _ = $0?.insert(entry, for: key.bytes, now: now) }
    }

    /// Raises the epoch, as if invalidations may have been missed: everything that was kept is worthless.
    public func raiseEpoch() { raiseEpoch(by: 1) }

    package func raiseEpoch(by step: UInt64) {
        table.setEpoch(table.epoch + step)
        for connection in trackers { connection.send(.epoch(table.epoch, reason: .discontinuous)) }
    }

    /// Sends an event to every client.
    public func publish(_ event: Event) { send(.message(event)) }

    package func send(_ push: Push) { for connection in connections { connection.send(push) } }
    package func send(_ reply: Reply) { for connection in connections { connection.send(reply) } }

    /// Ends all connections. Clients may connect again.
    public func closeConnections() { for connection in connections { connection.close() } }

    private var trackers: [ScriptedConnection] { state.withLock { $0.tracking } }

    private func heartbeat(isForced: Bool) {
        let (pulse, isSilent) = state.withLock { ($0.pulse, $0.isSilent) }
        guard !isSilent, pulse.isHeartbeatDue || isForced else { return }
        let now = manualClock?.now ?? BootClock.now
        if pulse.showsReadings { table.setScanStarted(now - pulse.heartbeatAge) }
        table.setFreshAsOf(now - pulse.freshAsOfAge)
        table.setHeartbeat(now - pulse.heartbeatAge)
        // On a clock that stands still a client gets no heartbeats but those that its test sends.
        if manualClock == nil { for connection in trackers { connection.send(heartbeatPush) } }
    }

    package var heartbeatPush: Push {
        .heartbeat(
            Heartbeat(
                epoch: table.epoch, applied: table.applied, state: table.state, heartbeat: table.heartbeat,
                freshAsOf: table.freshAsOf))
    }

    // MARK: Received requests

    package var heard: [Heard] { state.withLock { $0.heard } }
    package var requests: [Request] { heard.map(\.request) }
    /// Error messages for input that is no request.
    package var unreadable: [String] { state.withLock { $0.unreadable } }
    package var isTracked: Bool { state.withLock { !$0.tracking.isEmpty } }
    package var connections: [ScriptedConnection] { state.withLock { $0.connections } }
    /// How many connections there were.
    package var acceptedCount: Int { state.withLock { $0.acceptedCount } }

    package func count(where isWanted: (Request) -> Bool) -> Int { requests.count(where: isWanted) }

    /// How often it was asked for a value.
    public var fetchCount: Int { count { $0.fetchedKey != nil } }

    /// How often it was asked for the value of a key.
    public func fetchCount(of key: CacheKey) -> Int { count { $0.fetchedKey == key.bytes } }

    /// The tags of each invalidation, in the order of arrival.
    public var invalidations: [[CacheTag]] {
        requests.compactMap { if case .invalidate(let tags, _, _) = $0 { tags.map(CacheTag.init) } else { nil } }
    }

    /// The events that came, with an invalidation or without.
    public var events: [Event] {
        requests.compactMap {
            switch $0 {
            case .invalidate(_, let event, _): event
            case .publish(let event): event
            default: nil
            }
        }
    }

    package var fills: [Fill] { requests.compactMap { if case .fill(let fill) = $0 { fill } else { nil } } }
    package var abandons: [LeaseID] {
        requests.compactMap { if case .abandon(_, let lease) = $0 { lease } else { nil } }
    }

    // MARK: Answers

    package func newLease() -> Lease {
        let id = state.withLock { state in
            state.nextLease += 1
            return state.nextLease
        }
        return Lease(id: id, asOf: table.applied, epoch: table.epoch)
    }

    package func hit(_ value: String?, tags: [CacheTag] = [], ttlMilliseconds: UInt64 = 60_000) -> FetchOutcome {
        .hit(
            Hit(
                value: value.map { ByteBuffer(string: $0) }, asOf: table.applied, ttlMilliseconds: ttlMilliseconds,
                tags: tags.map(\.bytes), epoch: table.epoch))
    }
}

extension ScriptedSyncd: ScriptedServer {
    package func opened(_ connection: ScriptedConnection) {
        state.withLock { state in
            state.connections.append(connection)
            state.acceptedCount += 1
        }
    }

    package func closed(_ connection: ScriptedConnection) {
        state.withLock { state in
            state.connections.removeAll { $0 === connection }
            state.tracking.removeAll { $0 === connection }
        }
    }

    package func received(_ command: [ByteBuffer], on connection: ScriptedConnection) {
        let request: Request
        do {
            request = try Request.parse(command, limits: WireLimits())
        } catch {
            state.withLock { $0.unreadable.append(error.message) }
            return connection.send(.error(error))
        }
        let (isSilent, script) = state.withLock { state in
            state.heard.append(Heard(request: request, connection: connection))
            return (state.isSilent, state.script)
        }
        guard !isSilent else { return }
        if let answer = script?(request) { perform(answer, on: connection) } else { answerAsUsual(request, connection) }
    }

    private func perform(_ answer: Answer, on connection: ScriptedConnection) {
        switch answer {
        case .reply(let reply): connection.send(reply)
        case .push(let push): connection.send(push)
        case .close: connection.close()
        case .several(let answers): for answer in answers { perform(answer, on: connection) }
        }
    }

    private func answerAsUsual(_ request: Request, _ connection: ScriptedConnection) {
        if case .hello(let version?, _) = request { connection.version = version }
        let greeting = Greeting.scripted(
            proto: connection.version, epoch: table.epoch, applied: table.applied, state: table.state,
            table: shownTable, journal: journal.path, arena: arenaPath)
        if let reply = answerToHandshake(request, greeting: greeting) { return connection.send(reply) }
        switch request {
        case .fetch, .renew: connection.send(.fetched(.lease(newLease())))
        case .fetchAfter(let position, _, _):
            let isApplied = position.place.map { table.verdict(on: $0) == .applied } ?? false
            connection.send(.fetched(isApplied ? .lease(newLease()) : .miss))
        case .fill, .abandon: connection.send(.ok)
        case .invalidate(let tags, _, _): connection.send(.integer(invalidate(tags.map(CacheTag.init)).number))
        case .track(let isOn): track(isOn, connection)
        case .publish: connection.send(.integer(0))
        case .subscribe(let names): confirm(.subscribe, names, connection)
        case .patternSubscribe(let names): confirm(.patternSubscribe, names, connection)
        default: connection.send(.error(ReplyError(.generic, "not in this play")))
        }
    }

    private func track(_ isOn: Bool, _ connection: ScriptedConnection) {
        state.withLock { state in
            state.tracking.removeAll { $0 === connection }
            if isOn { state.tracking.append(connection) }
        }
        connection.send(.ok)
        guard isOn else { return }
        connection.send(.epoch(table.epoch, reason: .tracking))
        connection.send(heartbeatPush)
    }

    private func confirm(_ kind: SubscriptionKind, _ names: [ByteBuffer], _ connection: ScriptedConnection) {
        let changes = names.enumerated().map { SubscriptionChange(channel: $1, count: $0 + 1) }
        connection.send(.subscriptions(kind, changes))
    }
}

extension Request {
    /// The key of a FETCH.
    package var fetchedKey: ByteBuffer? { if case .fetch(let key, _) = self { key } else { nil } }
}
