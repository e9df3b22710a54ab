import IPCWire
import NIOCore
import NIOPosix

/// Keeps one connection to Redis up: connects, logs in, and after an end connects anew, 50 ms later at first and
/// up to 1 s later, jittered, so that all hosts do not come back at the same instant.
final class RedisLink {
    private let endpoint: RedisEndpoint
    private let eventLoop: any EventLoop
    private let clientName: ByteBuffer
    private(set) var connection: RedisConnection?
    /// Logged in and ready.
    private(set) var isReady = false
    private(set) var info: ServerInfo?
    private(set) var connects = 0
    private(set) var lastError: String?
    private var delay = TimeAmount.milliseconds(50)
    private var isStopped = false
    private var retry: Scheduled<Void>?
    private var setupDeadline: Scheduled<Void>?

    /// The connection is logged in; INFO was asked.
    var onReady: (RedisConnection, ServerInfo?) -> Void = { _, _ in }
    var onLost: (String) -> Void = { _ in }
    var onMessage: ([RESPValue]) -> Void = { _ in }

    private static let setupTimeout = TimeAmount.seconds(1)
    private static let longestDelay = TimeAmount.seconds(1)

    init(endpoint: RedisEndpoint, eventLoop: any EventLoop, clientName: String) {
        self.endpoint = endpoint
        self.eventLoop = eventLoop
        self.clientName = ByteBuffer(string: clientName)
    }

    func start() {
        guard !isStopped else { return }
        let connection = RedisConnection()
        self.connection = connection
        connection.onActive = { [weak self] in self?.setUp() }
        connection.onClosed = { [weak self] reason in self?.lost(connection, reason) }
        connection.onMessage = { [weak self] parts in self?.onMessage(parts) }
        let bound = NIOLoopBound(connection, eventLoop: eventLoop)
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(Self.setupTimeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(bound.value)
                }
            }
        let connecting =
            switch endpoint.address {
            case .tcp(let host, let port):
                bootstrap
                    .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                    .channelOption(.socketOption(.so_keepalive), value: 1)
                    .connect(host: host, port: port)
            case .unix(let path): bootstrap.connect(unixDomainSocketPath: path)
            }
        connecting.assumeIsolated().whenFailure { [weak self] error in
            self?.lost(connection, "cannot connect to \(self?.endpoint.redacted ?? "Redis"): \(error)")
        }
    }

    /// Closes the connection and connects anew.
    func reconnect(reason: String) { connection?.close(reason: reason) }

    func stop() {
        isStopped = true
        retry?.cancel()
        setupDeadline?.cancel()
        connection?.close(reason: "syncd is stopping")
    }

    // MARK: Logging in

    private func setUp() {
        guard let connection else { return }
        setupDeadline = eventLoop.scheduleTask(in: Self.setupTimeout) {
            [bound = NIOLoopBound(connection, eventLoop: eventLoop)] in
            bound.value.close(reason: "Redis did not greet within 1 s")
        }
        func step(_ words: [ByteBuffer], isRequired: Bool = true) {
            connection.send(words) { [weak self] reply in
                if isRequired, case .error(let text) = reply {
                    self?.lastError = text.escaped
                    connection.close(reason: "login refused: \(text.escaped)")
                }
            }
        }
        if let password = endpoint.password {
            let login = [endpoint.user, password].compactMap { $0.map { ByteBuffer(string: $0) } }
            step([ByteBuffer(staticString: "AUTH")] + login)
        }
        if endpoint.database != 0 {
            step([ByteBuffer(staticString: "SELECT"), ByteBuffer(string: String(endpoint.database))])
        }
        // Managed servers may forbid it; it only helps people who look at CLIENT LIST.
        step([ByteBuffer(staticString: "CLIENT"), ByteBuffer(staticString: "SETNAME"), clientName], isRequired: false)
        connection.send([ByteBuffer(staticString: "INFO")]) { [weak self] reply in self?.ready(connection, reply) }
    }

    private func ready(_ connection: RedisConnection, _ reply: RESPValue) {
        setupDeadline?.cancel()
        // A server that is still loading answers nothing else either.
        if case .error(let text) = reply, !String(buffer: text).hasPrefix("NOPERM"),
            !String(buffer: text).hasPrefix("ERR unknown command")
        {
            connection.close(reason: text.escaped)
            return
        }
        info = if case .bulkString(let text) = reply { ServerInfo(String(buffer: text)) } else { nil }
        isReady = true
        connects += 1
        delay = .milliseconds(50)
        onReady(connection, info)
        connection.flush()
    }

    private func lost(_ connection: RedisConnection, _ reason: String) {
        guard self.connection === connection else { return }
        setupDeadline?.cancel()
        self.connection = nil
        let wasReady = isReady
        isReady = false
        if !isStopped { lastError = reason }
        if wasReady || !isStopped { onLost(reason) }
        guard !isStopped else { return }
        let jittered = TimeAmount.nanoseconds(Int64.random(in: delay.nanoseconds / 2...delay.nanoseconds))
        delay = min(delay * 2, Self.longestDelay)
        retry = eventLoop.scheduleTask(in: jittered) { [bound = NIOLoopBound(self, eventLoop: eventLoop)] in
            bound.value.start()
        }
    }
}
