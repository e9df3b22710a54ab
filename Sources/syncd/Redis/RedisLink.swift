import EngineHosting
import IPCWire
import Logging
import NIOCore

/// Performs what a ``RedisSessionStateMachine`` decides: finds the server, connects, logs in, closes, waits.
final class RedisLink {
    private let endpoint: RedisEndpoint
    private let connector: RedisConnector
    private let clientName: ByteBuffer
    /// The servers that name the primary; `nil`: the endpoint is the server.
    private let source: (any PrimarySource)?
    private let logger: Logger
    private var session = RedisSessionStateMachine()
    private(set) var connection: RedisConnection?
    private(set) var info: ServerInfo?
    private(set) var connects = 0
    private(set) var lastLoss: ConnectionLoss?
    /// Whether the server had answered anything before that.
    private(set) var hadAnswer = false
    /// The answer that led to the connected server.
    private(set) var primary: PrimaryAnswer?
    private var search: PrimarySearch?
    /// The node of a cluster that the connected one has named in its place: it is connected next, without a search.
    private var redirection: PrimaryAnswer?
    /// Whether the present connection follows a redirection.
    private var isRedirected = false
    /// For ``RedisSessionStateMachine/nextDeadline``.
    private var timer: (at: NIODeadline, task: Scheduled<Void>)?
    /// The last logged reason of a server that does not answer: each reason is logged once.
    private var loggedReason: String?

    /// Called when the connection is logged in and INFO was requested.
    var onReady: (RedisConnection, ServerInfo?) -> Void = { _, _ in }
    /// Called when a connection, ready or not, has ended.
    var onLost: (ConnectionLoss) -> Void = { _ in }
    var onMessage: ([RESPValue]) -> Void = { _ in }
    /// Called when all received data have been delivered.
    var onChunkEnd: () -> Void = {}

    init(
        endpoint: RedisEndpoint, source: (any PrimarySource)? = nil, connector: RedisConnector, clientName: String,
        logger: Logger
    ) {
        self.endpoint = endpoint
        self.source = source
        self.connector = connector
        self.clientName = ByteBuffer(string: clientName)
        var logger = logger
        logger[metadataKey: "connection"] = "\(clientName)"
        self.logger = logger
    }

    private var eventLoop: any EventLoop { connector.eventLoop }

    /// Logged in and ready.
    var isReady: Bool { session.isReady }

    /// Reasons that prevent connections of this and other links.
    var warnings: [String] { connector.warnings }

    /// The address of the connection, for people.
    var target: String { primary?.address.text ?? endpoint.redacted }

    func start() { if session.start() { connect() } }

    /// Another connection has just found the server.
    func tryNow() {
        guard session.hurry() else { return }
        schedule()
        connect()
    }

    /// A node says by `MOVED` that another one serves the log. Closes a connection to any other node; the next one leads
    /// there, once: two nodes that name each other do not keep the link from searching.
    func follow(moved text: ByteBuffer) {
        guard let primary, !isRedirected, let address = ClusterReply.moved(text, from: primary.address.host),
            address != primary.address
        else { return }
        // The epoch stays, so that a node which knows less than this one does not count as newer.
        redirection = PrimaryAnswer(address: address, configurationEpoch: primary.configurationEpoch)
        close(ConnectionLoss(redisError: text))
    }

    /// Closes the connection and connects again.
    func reconnect(reason: String) { close(ConnectionLoss(reason)) }

    func stop() {
        let isOpen = session.stop()
        schedule()
        search?.cancel()
        if isOpen { connection?.close(reason: "syncd is stopping") }
    }

    private func close(_ loss: ConnectionLoss) {
        guard let connection, session.close() else { return }
        schedule()
        connection.close(loss)
    }

    /// Sets the timer for what the session waits for.
    private func schedule() {
        let next = session.nextDeadline
        guard next != timer?.at else { return }
        timer?.task.cancel()
        timer = next.map { time in
            let task = eventLoop.scheduleTask(deadline: time) {
                [bound = NIOLoopBound(self, eventLoop: eventLoop)] in bound.value.wake()
            }
            return (time, task)
        }
    }

    private func wake() {
        timer = nil
        let action = session.wake(now: .now())
        schedule()
        switch action {
        case .none: break
        case .connect: connect()
        case .close(.handshake):
            var loss = ConnectionLoss("TLS: no handshake within 2 s: is this the TLS port of Redis?")
            loss.isHandshakeMissing = true
            connection?.close(loss)
        case .close(.login): connection?.close(reason: "Redis did not let syncd in within 2 s")
        }
    }

    // MARK: Connecting

    private func connect() {
        let redirection = self.redirection.take()
        isRedirected = redirection != nil
        if let redirection { return found(.success(redirection)) }
        switch endpoint.address {
        case .tcp(let host, let port): connector.connect(host: host, port: port, prepare: use)
        case .unix(let path): connector.connect(unixPath: path, prepare: use)
        case .sentinel, .cluster:
            guard let source else { return }
            let search = PrimarySearch(source, connector: connector)
            self.search = search
            search.run { [weak self] result in self?.found(result) }
        }
    }

    private func found(_ result: Result<PrimaryAnswer, ConnectionLoss>) {
        search = nil
        switch result {
        case .success(let answer):
            guard case .connecting = session.state else { return }
            primary = answer
            connector.connect(host: answer.address.host, port: answer.address.port, prepare: use)
        case .failure(let loss): ended(loss)
        }
    }

    private func use(_ connection: RedisConnection) {
        self.connection = connection
        connection.onActive = { [weak self, weak connection] in
            guard let self, let connection, self.session.connected(usesTLS: connection.usesTLS, now: .now()) else {
                return
            }
            self.schedule()
            self.logIn(connection)
        }
        connection.onHandshake = { [weak self] in self?.session.handshakeCompleted() }
        connection.onClosed = { [weak self, weak connection] loss in
            if let connection, self?.connection === connection { self?.ended(loss) }
        }
        connection.onMessage = { [weak self] parts in self?.onMessage(parts) }
        connection.onChunkEnd = { [weak self] in self?.onChunkEnd() }
    }

    // MARK: Logging in

    private func logIn(_ connection: RedisConnection) {
        if let password = endpoint.password {
            let login = [endpoint.user, password].compactMap { $0.map { ByteBuffer(string: $0) } }
            send(connection, [.word("AUTH")] + login, isRequired: true)
        }
        if endpoint.database != 0 {
            send(connection, [.word("SELECT"), .number(UInt64(endpoint.database))], isRequired: true)
        }
        // Managed services may forbid these. The first only helps people who look at CLIENT LIST; without the second,
        // every connection counts as one to another process.
        send(connection, [.word("CLIENT"), .word("SETNAME"), clientName], isRequired: false)
        connection.send([.word("INFO")]) { [weak self, weak connection] reply in
            guard let self, let connection, !connection.isClosed else { return }
            if case .error(let text) = reply, !ForbiddenCommand.isRefusal(text) {
                return connection.close(ConnectionLoss(redisError: text))
            }
            self.ready(connection, reply)
        }
    }

    private func send(_ connection: RedisConnection, _ words: [ByteBuffer], isRequired: Bool) {
        connection.send(words) { [weak connection] reply in
            guard case .error(let text) = reply else { return }
            if isRequired || !ForbiddenCommand.isRefusal(text) {
                var loss = ConnectionLoss(redisError: text)
                // If AUTH or SELECT is refused, the URL is wrong, except if the server is full.
                if isRequired, ForbiddenCommand.isRefusal(text) { loss.isDenied = true }
                connection?.close(loss)
            }
        }
    }

    private func ready(_ connection: RedisConnection, _ reply: RESPValue) {
        guard session.loggedIn(now: .now()) else { return }
        schedule()
        info = if case .bulkString(let text) = reply { ServerInfo(text) } else { nil }
        connects += 1
        logger.info(
            "connected to Redis", metadata: ["server": "\(target)", "version": "\(info?.version ?? "unknown")"])
        onReady(connection, info)
        connection.flush()
    }

    // MARK: Losing it

    private func ended(_ loss: ConnectionLoss) {
        hadAnswer = connection?.hasRead ?? false
        connection = nil
        primary = nil
        var random = SystemRandomNumberGenerator()
        let action = session.closed(isDenied: loss.isDenied, now: .now(), random: &random)
        schedule()
        guard case .wait(let hadGoodLife, let wasReady) = action else { return }
        lastLoss = loss
        if hadGoodLife { loggedReason = nil }
        log(loss, wasReady: wasReady)
        onLost(loss)
    }

    private func log(_ loss: ConnectionLoss, wasReady: Bool) {
        guard loss.reason != loggedReason else { return }
        loggedReason = loss.reason
        let metadata: Logger.Metadata = ["server": "\(endpoint.redacted)", "reason": "\(loss.reason)"]
        if loss.isDenied {
            logger.error("Redis cannot be used as it is configured", metadata: metadata)
        } else if wasReady {
            logger.notice("Redis connection lost", metadata: metadata)
        } else {
            logger.warning("Redis cannot be reached", metadata: metadata)
        }
    }
}
