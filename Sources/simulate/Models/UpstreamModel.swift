import EngineHosting
import EngineTesting
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
    private var lastRequest: BootTime = 0
    private var lastAnswer: BootTime = 0
    private var traffic: TrafficWatch
    private var info: (identity: ServerIdentity?, isPrimary: Bool) = (nil, true)
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
        traffic = TrafficWatch(now: world.deadline)
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
                traffic.read(now: world.deadline)
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
        traffic.becomeSubscriber()
        traffic.sentSubscription(channels: 1, now: world.deadline)
        exchange("subscribe") { [self] in
            server.subscribe(self)
        } _: { [self] in
            traffic.confirmed()
            done()
        }
    }

    private func ping() {
        traffic.sentPing(now: world.deadline)
        exchange("ping", { true }, { [self] _ in traffic.confirmed() })
    }

    /// Looks now and then whether the server still answers.
    func watch() {
        world.after(UInt64(TrafficWatch.interval.nanoseconds), client, "watch Redis") { [self] in
            guard isOpen else { return }
            switch traffic.check(now: world.deadline) {
            case .silent(let why): return close(why)
            case .ping: ping()
            case .fine: break
            }
            watch()
        }
    }

    /// The server is asked something over the other connection.
    func askedElsewhere() { traffic.askedElsewhere(now: world.deadline) }

    func send(_ command: UpstreamCommand, from syncd: SimulatedSyncd) {
        let id = command.id
        if id != nil { traffic.sent(now: world.deadline) }
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
            traffic.answered()
            deliver(.reply(id, reply))
        }
    }

    func published(_ event: UpstreamEvent) {
        toClient("publication") { [self] in
            guard isOpen else { return }
            traffic.read(now: world.deadline)
            deliver(event)
        }
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

/// Model of the daemon's `RedisUpstream` and `RedisLink`: two connections, each kept up by the session machine that
/// ships.
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
    /// Commands that leave at the end of the turn.
    private var outgoing: [UpstreamCommand] = []

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
        let isSubscriber: Bool
        var session = RedisSessionStateMachine()
        var connection: ServerConnection?
        /// Of the timer that counts.
        var timer = 0

        init(isSubscriber: Bool) { self.isSubscriber = isSubscriber }
    }

    func start() {
        let (commands, subscription) = (Link(isSubscriber: false), Link(isSubscriber: true))
        self.commands = commands
        self.subscription = subscription
        for link in [commands, subscription] where link.session.start() { connect(link) }
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
    var server: RedisServer? { commands.flatMap { $0.session.isReady ? $0.connection?.server : nil } }

    func send(_ command: UpstreamCommand) {
        if case .reconnect(let reason) = command {
            for link in [commands, subscription] { if let link { close(link, reason) } }
            return
        }
        guard let commands, commands.session.isReady, commands.connection != nil else { return }
        subscription?.connection?.askedElsewhere()
        if let id = command.id { inFlight[id] = command }
        outgoing.append(command)
    }

    func flush() {
        guard let connection = commands?.connection else { return }
        for command in outgoing { connection.send(command, from: process) }
        outgoing = []
    }

    // MARK: Links

    private func connect(_ link: Link) {
        schedule(link)
        let server = cluster.primary
        guard server.isAlive, server.refusal != .connections else {
            world.after(world.random.number(100_000...1_000_000), process, "connect refused") { [self] in
                lost(link, "cannot connect")
            }
            return
        }
        let connection = ServerConnection(
            server: server, client: process, network: network, oracle: oracle, plan: process.host.plan)
        link.connection = connection
        connection.closed = { [self] reason in if link.connection === connection { lost(link, reason) } }
        connection.deliver = { [self] event in
            if case .reply(let id, _) = event { inFlight[id] = nil }
            deliver(event)
        }
        guard link.session.connected(usesTLS: false, now: world.deadline) else { return }
        schedule(link)
        connection.watch()
        connection.logIn { [self] isLetIn in
            guard isLetIn else { return connection.close("refused") }
            if link.session.loggedIn(now: world.deadline) { ready(link, connection) }
        }
    }

    private func ready(_ link: Link, _ connection: ServerConnection) {
        schedule(link)
        // The other one need not wait: the server is there.
        for other in [commands, subscription] {
            if let other, other !== link, other.session.hurry() { connect(other) }
        }
        if link.isSubscriber {
            connection.subscribe { [self] in deliver(.subscriptionConnected(connection.identity)) }
        } else {
            deliver(.commandsConnected)
        }
    }

    private func close(_ link: Link, _ reason: String) {
        guard link.session.close() else { return }
        schedule(link)
        // Told later: the loop is in the middle of a turn.
        let connection = link.connection
        connection?.deliver = { _ in }
        world.after(0, process, "closed") { connection?.close(reason) }
    }

    private func lost(_ link: Link, _ reason: String) {
        guard case .wait = link.session.closed(isDenied: false, now: world.deadline, random: &world.random) else {
            return
        }
        link.connection = nil
        schedule(link)
        if link.isSubscriber {
            deliver(.subscriptionDisconnected(reason: reason))
        } else {
            oracle.linkLost(process, inFlight: inFlight.values)
            inFlight = [:]
            outgoing = []
            deliver(.commandsDisconnected(reason: reason))
        }
    }

    /// Sets the timer for what the session waits for.
    private func schedule(_ link: Link) {
        link.timer += 1
        let number = link.timer
        guard let time = link.session.nextDeadline else { return }
        world.at(BootTime(time.uptimeNanoseconds), process, "timer") { [self] in
            guard link.timer == number else { return }
            switch link.session.wake(now: world.deadline) {
            case .none: break
            case .connect: connect(link)
            case .close: link.connection?.close("Redis did not let syncd in within 2 s")
            }
        }
    }
}

extension World {
    /// The time on the event loop's clock. It is the same: no simulated machine sleeps.
    fileprivate var deadline: NIODeadline { .uptimeNanoseconds(now.number) }
}
