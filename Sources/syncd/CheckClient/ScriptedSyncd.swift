import IPC
import IPCWire
import NIOCore
import NIOPosix
import Synchronization

/// A scripted syncd with a real table and a real journal directory. By default it answers like an attached syncd with
/// an empty cache; a check replaces some of these answers.
final class ScriptedSyncd: ScriptedServer {
    enum Answer: Sendable {
        case reply(Reply)
        /// No answer for now: the check answers by itself.
        case hold
    }

    typealias Script = @Sendable (Request) -> Answer?

    struct Heard: Sendable {
        var request: Request
        var connection: ScriptedConnection
    }

    /// The content of the heartbeats.
    struct Pulse: Sendable {
        var isBeating = true
        /// Age of their data, in ns.
        var beatAge: UInt64 = 0
        var freshAsOfAge: UInt64 = 0
    }

    private struct State {
        var script: Script?
        var isSilent = false
        var pulse = Pulse()
        var heard: [Heard] = []
        var connections: [ScriptedConnection] = []
        var tracking: [ScriptedConnection] = []
        var nextLease: LeaseID = 1000
        var listener: (any Channel)?
        var beats: RepeatedTask?
    }

    let folder: String
    let table: TagTable
    let journal: JournalDirectory
    private let state = Mutex(State())

    var socketPath: String { folder + "/syncd.sock" }
    var tablePath: String { RuntimeDirectory.tagTable(socketPath: socketPath) }

    init(folder: String) throws {
        self.folder = folder
        (table, _) = try TagTableFile.openOrCreate(
            path: RuntimeDirectory.tagTable(socketPath: folder + "/syncd.sock"),
            slotBits: TagTableLayout.slotBitsRange.lowerBound)
        journal = try JournalDirectory(path: RuntimeDirectory.journal(socketPath: folder + "/syncd.sock"))
        table.setState(.attached)
        beat()
    }

    func start() async throws {
        let listener = try await listen(path: socketPath)
        let beats = MultiThreadedEventLoopGroup.singleton.any().scheduleRepeatedTask(
            initialDelay: .zero, delay: .milliseconds(100)
        ) { [weak self] _ in self?.beat() }
        let former = state.withLock { state in
            defer {
                state.listener = listener
                state.beats = beats
            }
            return state.beats
        }
        former?.cancel()
    }

    /// Closes the listener and all connections, and removes the socket's file.
    func stop() async {
        let (listener, beats, connections) = state.withLock { state in
            defer {
                state.listener = nil
                state.beats = nil
            }
            return (state.listener, state.beats, state.connections)
        }
        beats?.cancel()
        try? await listener?.close().get()
        for connection in connections { connection.close() }
    }

    // MARK: Actions

    func script(_ script: Script?) { state.withLock { $0.script = script } }

    /// Answers nothing, and writes no heartbeat.
    func standStill() { state.withLock { $0.isSilent = true } }

    func setPulse(_ change: (inout Pulse) -> Void) {
        state.withLock { change(&$0.pulse) }
        beat(isForced: true)
    }

    func setState(_ newState: SyncState) {
        table.setState(newState)
        beat()
    }

    /// Invalidates as if another worker had written: the table first, then the pushes.
    @discardableResult
    func invalidate(_ tags: [ByteBuffer]) -> UInt64 {
        let position = table.applied + 1
        table.raise(tags: tags, to: position)
        table.setApplied(position)
        for connection in trackers { connection.send(.invalidate(position: position, tags: tags)) }
        return position
    }

    /// Raises the epoch: all stored values are stale.
    func raiseEpoch(by step: UInt64 = 1) {
        table.setEpoch(table.epoch + step)
        for connection in trackers { connection.send(.epoch(table.epoch, reason: .discontinuous)) }
    }

    func closeConnections() { for connection in state.withLock({ $0.connections }) { connection.close() } }

    private var trackers: [ScriptedConnection] { state.withLock { $0.tracking } }

    private func beat(isForced: Bool = false) {
        let (pulse, isSilent) = state.withLock { ($0.pulse, $0.isSilent) }
        guard !isSilent, pulse.isBeating || isForced else { return }
        let now = BootClock.now
        table.setFreshAsOf(now - pulse.freshAsOfAge)
        table.setBeat(now - pulse.beatAge)
        for connection in trackers { connection.send(beatPush) }
    }

    private var beatPush: Push {
        .beat(
            Beat(
                epoch: table.epoch, applied: table.applied, state: table.state, beatNanoseconds: table.beat,
                freshAsOfNanoseconds: table.freshAsOf))
    }

    // MARK: Received requests

    var heard: [Heard] { state.withLock { $0.heard } }
    var isTracked: Bool { state.withLock { !$0.tracking.isEmpty } }
    var connections: [ScriptedConnection] { state.withLock { $0.connections } }

    /// Number of FETCH requests for a key.
    func fetches(_ key: String) -> Int { heard.count { $0.request.fetchedKey == key } }

    func fills(_ key: String) -> [Fill] {
        heard.compactMap {
            if case .fill(let fill) = $0.request, fill.key == ByteBuffer(string: key) { fill } else { nil }
        }
    }

    func abandons(_ lease: LeaseID) -> Int {
        heard.count { if case .abandon(_, lease) = $0.request { true } else { false } }
    }

    /// The tags of each INVALIDATE.
    var invalidations: [[ByteBuffer]] {
        heard.compactMap { if case .invalidate(let tags, _) = $0.request { tags } else { nil } }
    }

    // MARK: Answers

    func newLease() -> Lease {
        let id = state.withLock { state in
            state.nextLease += 1
            return state.nextLease
        }
        return Lease(id: id, asOf: table.applied, epoch: table.epoch)
    }

    func hit(_ value: String?, tags: [String] = ["a tag of the entry"], ttlMilliseconds: UInt64 = 60_000)
        -> FetchOutcome
    {
        .hit(
            Hit(
                value: value.map { ByteBuffer(string: $0) }, asOf: table.applied, ttlMilliseconds: ttlMilliseconds,
                tags: tags.map { ByteBuffer(string: $0) }, epoch: table.epoch))
    }

    // MARK: ScriptedServer

    func opened(_ connection: ScriptedConnection) { state.withLock { $0.connections.append(connection) } }

    func closed(_ connection: ScriptedConnection) {
        state.withLock { state in
            state.connections.removeAll { $0 === connection }
            state.tracking.removeAll { $0 === connection }
        }
    }

    func received(_ command: [ByteBuffer], on connection: ScriptedConnection) {
        let request: Request
        do {
            request = try Request.parse(command, limits: WireLimits())
        } catch {
            return connection.send(.error(error))
        }
        let (isSilent, script) = state.withLock { state in
            state.heard.append(Heard(request: request, connection: connection))
            return (state.isSilent, state.script)
        }
        guard !isSilent else { return }
        switch script?(request) {
        case nil: answerAsUsual(request, connection)
        case .reply(let reply): connection.send(reply)
        case .hold: break
        }
    }

    private func answerAsUsual(_ request: Request, _ connection: ScriptedConnection) {
        if case .hello(let version?, _) = request { connection.version = version }
        let greeting = Greeting.scripted(
            proto: connection.version, epoch: table.epoch, applied: table.applied, state: table.state,
            table: tablePath, journal: journal.path)
        if let reply = answerToHandshake(request, greeting: greeting) { return connection.send(reply) }
        switch request {
        case .fetch: connection.send(.fetched(.lease(newLease())))
        case .fill, .abandon: connection.send(.ok)
        case .invalidate(let tags, _): connection.send(.integer(invalidate(tags)))
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
        connection.send(beatPush)
    }

    private func confirm(_ kind: SubscriptionKind, _ names: [ByteBuffer], _ connection: ScriptedConnection) {
        let changes = names.enumerated().map { SubscriptionChange(channel: $1, count: $0 + 1) }
        connection.send(.subscriptions(kind, changes))
    }
}

extension Request {
    /// The key of a FETCH.
    var fetchedKey: String? { if case .fetch(let key, _) = self { String(buffer: key) } else { nil } }
}
