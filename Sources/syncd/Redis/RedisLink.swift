import IPCWire
import Logging
import NIOCore

/// Keeps one connection to Redis up: finds the server, connects and logs in. After an end it connects again, first
/// after 50 ms and later after up to 1 s, jittered, so that all hosts do not come back at the same instant. A server
/// that refuses the login is tried every few seconds.
final class RedisLink {
    private let endpoint: RedisEndpoint
    private let connector: RedisConnector
    private let clientName: ByteBuffer
    private let logger: Logger
    private(set) var connection: RedisConnection?
    /// Logged in and ready.
    private(set) var isReady = false
    private(set) var info: ServerInfo?
    private(set) var connects = 0
    private(set) var lastLoss: ConnectionLoss?
    /// The sentinels' answer that led to the connected server.
    private(set) var primary: SentinelAnswer?
    private var search: SentinelSearch?
    private var readyAt: NIODeadline?
    private var delay = RedisLink.shortestDelay
    private var mayHurry = true
    private var isStopped = false
    private var retry: Scheduled<Void>?
    private var deadline: Scheduled<Void>?
    /// The last logged reason of a server that does not answer: each reason is logged once.
    private var loggedReason: String?

    /// Called when the connection is logged in and INFO was requested.
    var onReady: (RedisConnection, ServerInfo?) -> Void = { _, _ in }
    /// Called when a connection, ready or not, has ended.
    var onLost: (ConnectionLoss) -> Void = { _ in }
    var onMessage: ([RESPValue]) -> Void = { _ in }
    /// Called when all received data have been delivered.
    var onChunkEnd: () -> Void = {}

    /// Maximum time of TLS and login together, once the server is connected.
    private static let setupTimeout = TimeAmount.seconds(2)
    private static let shortestDelay = TimeAmount.milliseconds(50)
    private static let longestDelay = TimeAmount.seconds(1)
    /// A wrong password stays wrong for a while, and servers log frequent attempts.
    private static let deniedDelay = TimeAmount.seconds(5)
    /// A connection that lived this long was a good one: the next attempt comes soon.
    private static let goodLife = TimeAmount.seconds(1)

    init(endpoint: RedisEndpoint, connector: RedisConnector, clientName: String, logger: Logger) {
        self.endpoint = endpoint
        self.connector = connector
        self.clientName = ByteBuffer(string: clientName)
        var logger = logger
        logger[metadataKey: "connection"] = "\(clientName)"
        self.logger = logger
    }

    private var eventLoop: any EventLoop { connector.eventLoop }

    /// Reasons that prevent connections of this and other links.
    var warnings: [String] { connector.warnings }

    /// The address of the connection, for people.
    var target: String {
        if let primary { return RedisEndpoint.text(host: primary.host, port: primary.port) }
        return endpoint.redacted
    }

    func start() {
        guard !isStopped else { return }
        switch endpoint.address {
        case .tcp(let host, let port): connector.connect(host: host, port: port, prepare: use)
        case .unix(let path): connector.connect(unixPath: path, prepare: use)
        case .sentinel(let group):
            let search = SentinelSearch(group, connector: connector)
            self.search = search
            search.run { [weak self] result in self?.found(result) }
        }
    }

    private func found(_ result: Result<SentinelAnswer, ConnectionLoss>) {
        search = nil
        guard !isStopped else { return }
        switch result {
        case .success(let answer):
            primary = answer
            connector.connect(host: answer.host, port: answer.port, prepare: use)
        case .failure(let loss): ended(loss)
        }
    }

    private func use(_ connection: RedisConnection) {
        self.connection = connection
        connection.onActive = { [weak self, weak connection] in
            guard let self, let connection else { return }
            self.startDeadline(connection)
            self.logIn(connection)
        }
        connection.onClosed = { [weak self, weak connection] loss in
            if let connection, self?.connection === connection { self?.ended(loss) }
        }
        connection.onMessage = { [weak self] parts in self?.onMessage(parts) }
        connection.onChunkEnd = { [weak self] in self?.onChunkEnd() }
    }

    private func startDeadline(_ connection: RedisConnection) {
        deadline = eventLoop.scheduleTask(in: Self.setupTimeout) {
            [bound = NIOLoopBound(connection, eventLoop: eventLoop)] in
            switch bound.value.stage {
            case .handshaking: bound.value.close(reason: "TLS: no handshake within 2 s: is this the TLS port of Redis?")
            default: bound.value.close(reason: "Redis did not let syncd in within 2 s")
            }
        }
    }

    /// Ends the pause between two attempts, if there is one: another connection has just found the server. Only once,
    /// until a connection has lived for a while: a server that drops all of them would otherwise be tried without any
    /// pause. A refused login keeps its pause.
    func tryNow() {
        guard let retry, mayHurry, lastLoss?.isDenied != true else { return }
        mayHurry = false
        retry.cancel()
        self.retry = nil
        start()
    }

    /// Closes the connection and connects again.
    func reconnect(reason: String) { connection?.close(reason: reason) }

    func stop() {
        isStopped = true
        retry?.cancel()
        deadline?.cancel()
        search?.cancel()
        connection?.close(reason: "syncd is stopping")
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
        deadline?.cancel()
        info = if case .bulkString(let text) = reply { ServerInfo(text) } else { nil }
        isReady = true
        readyAt = .now()
        connects += 1
        logger.info(
            "connected to Redis", metadata: ["server": "\(target)", "version": "\(info?.version ?? "unknown")"])
        onReady(connection, info)
        connection.flush()
    }

    // MARK: Losing it

    private func ended(_ loss: ConnectionLoss) {
        deadline?.cancel()
        connection = nil
        primary = nil
        isReady = false
        guard !isStopped else { return }
        lastLoss = loss
        if let readyAt, .now() - readyAt > Self.goodLife {
            delay = Self.shortestDelay
            mayHurry = true
            loggedReason = nil
        }
        log(loss)
        readyAt = nil
        onLost(loss)
        let wait = loss.isDenied ? Self.deniedDelay : delay
        delay = min(delay * 2, Self.longestDelay)
        let jittered = TimeAmount.nanoseconds(Int64.random(in: wait.nanoseconds / 2...wait.nanoseconds))
        retry = eventLoop.scheduleTask(in: jittered) { [bound = NIOLoopBound(self, eventLoop: eventLoop)] in
            bound.value.retry = nil
            bound.value.start()
        }
    }

    private func log(_ loss: ConnectionLoss) {
        guard loss.reason != loggedReason else { return }
        loggedReason = loss.reason
        let metadata: Logger.Metadata = ["server": "\(endpoint.redacted)", "reason": "\(loss.reason)"]
        if loss.isDenied {
            logger.error("Redis cannot be used as it is configured", metadata: metadata)
        } else if readyAt != nil {
            logger.notice("Redis connection lost", metadata: metadata)
        } else {
            logger.warning("Redis cannot be reached", metadata: metadata)
        }
    }
}
