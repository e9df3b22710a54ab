import IPCWire
import Logging
import NIOCore

/// One connection of the doctor: found, made and logged in by a ``RedisLink``, as those of the daemon, and used once.
@DoctorLoop
final class DoctorConnection {
    private let link: RedisLink
    /// The reason of the end; `nil`: there was none.
    private(set) var loss: ConnectionLoss?
    private var connection: RedisConnection?
    private var startedAt = NIODeadline.now()
    private var readyAt = NIODeadline.now()
    private var opening: CheckedContinuation<Void, Never>?
    /// The checks that wait for a reply.
    private var waiting: [Int: CheckedContinuation<Result<RESPValue, ConnectionLoss>, Never>] = [:]
    private var lastWaiter = 0
    /// Confirmations, and messages of the channel of the test.
    private var messages: [[RESPValue]] = []
    /// Errors that came instead of confirmations, by the name of the channel.
    private var refusals: [ByteBuffer: ByteBuffer] = [:]

    /// Maximum time of lookup, search, connecting, TLS and login together: more than they have with one slow name server.
    private static let patience = Duration.seconds(15)
    /// Maximum time of a confirmation, or of a message after it was published.
    private static let messagePatience = TimeAmount.seconds(2)

    init(_ endpoint: RedisEndpoint, source: (any PrimarySource)?, connector: RedisConnector, name: String) {
        let silent = Logger(label: "doctor") { _ in SwiftLogNoOpLogHandler() }
        link = RedisLink(endpoint: endpoint, source: source, connector: connector, clientName: name, logger: silent)
    }

    /// Whether a server answered, if only to refuse.
    var isAnswered: Bool { connection != nil || link.hadAnswer || loss?.isDenied == true }

    /// The server of the connection, for people.
    var target: String { link.target }

    /// Connects and logs in.
    func open() async -> Result<Void, ConnectionLoss> {
        link.onReady = { [weak self] connection, _ in self?.opened(connection) }
        link.onLost = { [weak self] loss in self?.lost(loss) }
        startedAt = .now()
        let deadline = Task { [weak self] in
            try await Task.sleep(for: Self.patience)
            self?.lost(ConnectionLoss("no connection within 15 s: are name servers and network up?"))
        }
        await withCheckedContinuation { continuation in
            opening = continuation
            link.start()
        }
        deadline.cancel()
        return loss.map { .failure($0) } ?? .success(())
    }

    func close() { link.stop() }

    private func opened(_ connection: RedisConnection) {
        self.connection = connection
        readyAt = .now()
        opening?.resume()
        opening = nil
    }

    private func lost(_ loss: ConnectionLoss) {
        guard self.loss == nil else { return }
        self.loss = loss
        link.stop()
        opening?.resume()
        opening = nil
        for (_, continuation) in waiting { continuation.resume(returning: .failure(loss)) }
        waiting.removeAll()
    }

    // MARK: How it was made

    var tlsSession: TLSSession? { connection?.tlsSession }

    /// The steps of making the connection, and their times: `lookup 1.2 ms`.
    var steps: [(name: String, time: TimeAmount)] {
        guard let begins = connection?.stageBegins else { return [] }
        let stages: [(String, RedisConnection.Stage)] = [
            ("lookup", .lookingUp), ("connecting", .connecting), ("TLS", .handshaking), ("login", .open),
        ]
        let known = stages.compactMap { name, stage in begins[stage].map { (name: name, at: $0) } }
        var steps: [(name: String, time: TimeAmount)] = []
        if let first = known.first, first.at - startedAt > .milliseconds(1) {
            steps.append(("search", first.at - startedAt))
        }
        for (index, step) in known.enumerated() {
            steps.append((step.name, (index + 1 < known.count ? known[index + 1].at : readyAt) - step.at))
        }
        return steps
    }

    // MARK: Commands

    /// Sends a command. An error reply is a value, too.
    func ask(_ words: [ByteBuffer]) async throws(ConnectionLoss) -> RESPValue {
        if let loss { throw loss }
        guard let connection else { throw ConnectionLoss("not connected") }
        let result = await withCheckedContinuation { continuation in
            lastWaiter += 1
            let waiter = lastWaiter
            waiting[waiter] = continuation
            let isTaken = connection.send(words) { [weak self] reply in
                self?.waiting.removeValue(forKey: waiter)?.resume(returning: .success(reply))
            }
            guard isTaken else {
                waiting.removeValue(forKey: waiter)?.resume(
                    returning: .failure(ConnectionLoss("the connection is closed")))
                return
            }
            connection.flush()
        }
        return try result.get()
    }

    /// Sends a command of these words.
    func ask(_ words: String...) async throws(ConnectionLoss) -> RESPValue {
        try await ask(words.map { ByteBuffer(string: $0) })
    }

    // MARK: Subscriptions

    /// The answer to a subscription.
    enum Subscription: Equatable {
        case confirmed
        case refused(ByteBuffer)
        case silent
    }

    /// From here on, the connection takes subscriptions only. Of messages, only those of `channel` are kept: any number
    /// may come over others.
    func becomeSubscriber(keeping channel: ByteBuffer) {
        link.onMessage = { [weak self] parts in
            guard case .bulkString(let kind)? = parts.first else { return }
            if !ReplyDecoding.isMessage(kind) || parts.contains(.bulkString(channel)) { self?.messages.append(parts) }
        }
        connection?.becomeSubscriber()
    }

    /// Subscribes with SUBSCRIBE, PSUBSCRIBE or SSUBSCRIBE.
    func subscribe(_ command: String, _ name: ByteBuffer) async throws(ConnectionLoss) -> Subscription {
        refusals[name] = nil
        connection?.sendSubscription([ByteBuffer(string: command), name]) { [weak self] text in
            self?.refusals[name] = text
        }
        connection?.flush()
        let start: [RESPValue] = [.bulkString(ByteBuffer(string: command.lowercased())), .bulkString(name)]
        let isAnswered = try await wait {
            self.refusals[name] != nil || self.messages.contains { $0.starts(with: start) }
        }
        if let text = refusals[name] { return .refused(text) }
        return isAnswered ? .confirmed : .silent
    }

    /// Waits for a message of one of these kinds with these further parts. Returns whether it came in time.
    func message(_ kinds: [ByteBuffer], _ parts: [RESPValue]) async throws(ConnectionLoss) -> Bool {
        try await wait { kinds.contains { self.messages.contains([.bulkString($0)] + parts) } }
    }

    /// Returns whether the condition came true in time.
    private func wait(_ condition: () -> Bool) async throws(ConnectionLoss) -> Bool {
        let deadline = NIODeadline.now() + Self.messagePatience
        while !condition() {
            if let loss { throw loss }
            guard NIODeadline.now() < deadline else { return false }
            try? await Task.sleep(for: .milliseconds(1))
        }
        return true
    }
}
