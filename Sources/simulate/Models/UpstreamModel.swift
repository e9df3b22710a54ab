import IPCWire
import NIOCore
import SyncCore

/// One connection of syncd to a Redis server: commands arrive in order after some time, and so do their answers.
final class ServerConnection {
    let server: RedisServer
    private let world: World
    private let client: Process
    private let network: Network
    private let oracle: Oracle
    private let plan: Plan
    private(set) var isOpen = true
    private var isClosedByServer = false
    private var lastRequest: UInt64 = 0
    private var lastAnswer: UInt64 = 0
    private(set) var lastRead: UInt64
    /// Times of the unanswered commands.
    private var pending: [(sentAt: UInt64, id: UpstreamID?)] = []
    private var info: (ServerIdentity?, Bool) = (nil, true)
    var deliver: (UpstreamEvent) -> Void = { _ in }
    var closed: (String) -> Void = { _ in }
    /// The server's identity at the login.
    private(set) var identity: ServerIdentity?

    init(server: RedisServer, client: Process, network: Network, oracle: Oracle, plan: Plan) {
        self.server = server
        self.client = client
        self.network = network
        self.oracle = oracle
        self.plan = plan
        world = server.world
        lastRead = world.now
        server.opened(self)
    }

    /// Runs an operation at the server, and then passes its result to this side.
    private func exchange<Answer>(
        _ what: StaticString, _ ask: @escaping () -> Answer?, _ receive: @escaping (Answer) -> Void
    ) {
        toServer(what) { [self] in
            // Commands that were sent before this side ended the connection may still be carried out.
            guard !isClosedByServer, isOpen || world.random.oneIn(2), let answer = ask() else { return }
            toClient(what) { [self] in
                guard isOpen else { return }
                lastRead = world.now
                receive(answer)
            }
        }
    }

    private var delay: UInt64 {
        world.random.number(world.areFaultsOver ? 50_000...1_000_000 : plan.redisDelay) + network.slowness
    }

    private func toServer(_ what: StaticString, _ body: @escaping () -> Void) {
        lastRequest = max(lastRequest, world.now + delay, network.requestsHeldUntil)
        world.at(lastRequest, server, what, body)
    }

    private func toClient(_ what: StaticString, _ body: @escaping () -> Void) {
        lastAnswer = max(lastAnswer, world.now + delay, network.answersHeldUntil)
        world.at(lastAnswer, client, what, body)
    }

    /// CLIENT SETNAME, INFO.
    func logIn(_ done: @escaping (Bool) -> Void) {
        exchange("login") { [server] in
            (server.identity, server.refusal == nil || server.refusal == .writes)
        } _: { [self] identity, isLetIn in
            self.identity = identity
            done(isLetIn)
        }
    }

    func subscribe(_ done: @escaping () -> Void) {
        exchange("subscribe") { [self] in
            server.subscribe(self)
        } _: {
            done()
        }
    }

    func ping() { exchange("ping", { true }, { _ in }) }

    func send(_ command: UpstreamCommand, from syncd: SimulatedSyncd) {
        let id = command.id
        if id != nil { pending.append((world.now, id)) }
        if case .inspect = command {
            // INFO is a separate command: between it and the script other commands have their turn.
            toServer("info") { [self] in info = (server.identity, server.isPrimary) }
        }
        let sentAt = world.now
        exchange("command") { [self] () -> UpstreamReply? in
            let execution = server.execute(command, as: identity, info: info)
            oracle.executed(command, execution, on: server, for: syncd, sentAt: sentAt)
            if world.record.isPrinting { print("      \(command) -> \(execution.reply.map { "\($0)" } ?? "")") }
            return execution.reply
        } _: { [self] reply in
            guard let id else { return }
            if !pending.isEmpty { pending.removeFirst() }
            deliver(.reply(id, reply))
        }
    }

    func published(_ event: UpstreamEvent) {
        toClient("publication") { [self] in
            guard isOpen else { return }
            lastRead = world.now
            deliver(event)
        }
    }

    /// Whether a command has waited for more than 3 s.
    func isOverdue(_ now: UInt64) -> Bool { pending.first.map { now - $0.sentAt > 3_000_000_000 } ?? false }

    func isWaiting(where isIncluded: (UpstreamID) -> Bool) -> Bool {
        pending.contains { $0.id.map(isIncluded) ?? false }
    }

    /// This side closes it.
    func close(_ reason: String) {
        guard isOpen else { return }
        isOpen = false
        server.forget(self)
        closed(reason)
    }

    /// This side died.
    func abandon() {
        isOpen = false
        server.forget(self)
    }

    /// The server closes it, or died: known here after some time, except through a cut.
    func closedByServer() {
        guard isOpen else { return }
        isClosedByServer = true
        server.forget(self)
        lastAnswer = max(lastAnswer, world.now + delay, network.answersHeldUntil)
        // Messages on their way are lost with the connection, half of the times.
        let isLost = world.random.oneIn(2)
        world.at(isLost ? max(world.now, network.answersHeldUntil) : lastAnswer, client, "Redis closed") { [self] in
            close("Redis closed the connection")
        }
    }
}

/// The model of `RedisUpstream` and `RedisLink`: two connections, each kept up by itself.
final class UpstreamModel {
    private let process: SimulatedSyncd
    private let world: World
    private let cluster: Cluster
    private let network: Network
    private let oracle: Oracle
    private let deliver: (UpstreamEvent) -> Void
    private var commands: Link?
    private var subscription: Link?
    private var inFlight: [UpstreamID: UpstreamCommand] = [:]

    init(
        process: SimulatedSyncd, cluster: Cluster, network: Network, oracle: Oracle,
        deliver: @escaping (UpstreamEvent) -> Void
    ) {
        self.process = process
        self.world = process.world
        self.cluster = cluster
        self.network = network
        self.oracle = oracle
        self.deliver = deliver
    }

    /// One connection that is made again whenever it ends.
    private final class Link {
        var connection: ServerConnection?
        var isReady = false
        var delay: UInt64 = 50_000_000
        var attempt = 0
    }

    func start() {
        let (commands, subscription) = (Link(), Link())
        self.commands = commands
        self.subscription = subscription
        connect(commands, isSubscriber: false)
        connect(subscription, isSubscriber: true)
    }

    /// Whether a page of entries is requested and has not arrived yet.
    var isReading: Bool { inFlight.values.contains { if case .read = $0 { true } else { false } } }
    var isAppending: Bool { inFlight.values.contains { if case .append = $0 { true } else { false } } }
    func isMine(_ connection: ServerConnection) -> Bool {
        connection === commands?.connection || connection === subscription?.connection
    }

    /// The server ends both connections.
    func drop() {
        commands?.connection?.closedByServer()
        subscription?.connection?.closedByServer()
    }

    func died() {
        commands?.connection?.abandon()
        subscription?.connection?.abandon()
    }

    /// The server at the other end of the command connection.
    var server: RedisServer? { commands.flatMap { $0.isReady ? $0.connection?.server : nil } }
    var isConnected: Bool { commands?.isReady ?? false && subscription?.isReady ?? false }

    func send(_ command: UpstreamCommand) {
        if case .reconnect(let reason) = command {
            commands?.connection?.close(reason)
            subscription?.connection?.close(reason)
            return
        }
        guard let commands, commands.isReady, let connection = commands.connection else { return }
        if let id = command.id { inFlight[id] = command }
        connection.send(command, from: process)
    }

    // MARK: Links

    private func connect(_ link: Link, isSubscriber: Bool) {
        link.attempt += 1
        let attempt = link.attempt
        let server = cluster.primary
        guard server.isAlive, server.refusal != .connections else {
            world.after(world.random.number(100_000...1_000_000), process, "connect refused") { [self] in
                lost(link, isSubscriber: isSubscriber, attempt: attempt, "cannot connect")
            }
            return
        }
        let connection = ServerConnection(
            server: server, client: process, network: network, oracle: oracle, plan: process.host.plan)
        link.connection = connection
        connection.closed = { [self] reason in lost(link, isSubscriber: isSubscriber, attempt: attempt, reason) }
        connection.deliver = { [self] event in
            if case .reply(let id, _) = event { inFlight[id] = nil }
            deliver(event)
        }
        world.after(1_000_000_000, process, "login deadline") {
            if link.attempt == attempt, !link.isReady { connection.close("Redis did not greet within 1 s") }
        }
        connection.logIn { [self] isLetIn in
            guard isLetIn else { return connection.close("refused") }
            link.isReady = true
            link.delay = 50_000_000
            watch(link, connection, isSubscriber: isSubscriber)
            if isSubscriber {
                connection.subscribe { [self] in deliver(.subscriptionConnected(connection.identity)) }
            } else {
                deliver(.commandsConnected)
            }
        }
    }

    private func watch(_ link: Link, _ connection: ServerConnection, isSubscriber: Bool) {
        world.after(500_000_000, process, "watch Redis") { [self] in
            guard connection.isOpen else { return }
            if connection.isOverdue(world.now) {
                connection.close("Redis has not answered for 3 s")
            } else if isSubscriber, world.now - connection.lastRead > 3_000_000_000 {
                connection.close("nothing came on the subscription for 3 s")
            } else {
                if isSubscriber { connection.ping() }
                watch(link, connection, isSubscriber: isSubscriber)
            }
        }
    }

    private func lost(_ link: Link, isSubscriber: Bool, attempt: Int, _ reason: String) {
        guard link.attempt == attempt else { return }
        link.connection = nil
        link.isReady = false
        if isSubscriber {
            deliver(.subscriptionDisconnected(reason: reason))
        } else {
            oracle.linkLost(process, inFlight: inFlight.values)
            inFlight = [:]
            deliver(.commandsDisconnected(reason: reason))
        }
        let wait = world.random.number(link.delay / 2...link.delay)
        link.delay = min(2 * link.delay, 1_000_000_000)
        world.after(wait, process, "connect to Redis") { [self] in connect(link, isSubscriber: isSubscriber) }
    }
}
