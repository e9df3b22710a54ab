import IPCWire
import NIOCore
import SyncCore

/// The address of the primary according to a sentinel.
struct SentinelAnswer: Sendable, Equatable {
    var host: String
    var port: Int
    /// A number that grows with every failover; `nil`: the sentinel does not show it. Of two answers the greater one is
    /// newer.
    var configurationEpoch: UInt64?

    /// Whether the primary moved since `other`. A sentinel that was away for a while still names the old one.
    func isNewer(than other: SentinelAnswer) -> Bool {
        guard host != other.host || port != other.port else { return false }
        guard let configurationEpoch, let theirs = other.configurationEpoch else { return true }
        return configurationEpoch > theirs
    }
}

/// Asks all sentinels at once, over connections that are closed after the answer, and takes the newest of the answers
/// that come within 100 ms after the first one.
final class SentinelSearch {
    private let group: SentinelGroup
    private let connector: RedisConnector
    private var connections: [RedisConnection] = []
    private var best: SentinelAnswer?
    /// Reasons why sentinels did not answer, by their places in the URL.
    private var losses: [Int: ConnectionLoss] = [:]
    private var deadline: Scheduled<Void>?
    private var completion: ((Result<SentinelAnswer, ConnectionLoss>) -> Void)?

    private static let timeout = TimeAmount.seconds(1)
    private static let patience = TimeAmount.milliseconds(100)

    init(_ group: SentinelGroup, connector: RedisConnector) {
        self.group = group
        self.connector = connector
    }

    /// Starts the search. `completion` is called once, unless the search is cancelled.
    func run(_ completion: @escaping (Result<SentinelAnswer, ConnectionLoss>) -> Void) {
        self.completion = completion
        for (index, sentinel) in group.sentinels.enumerated() {
            connector.connect(host: sentinel.host, port: sentinel.port) { ask($0, index) }
        }
    }

    func cancel() {
        completion = nil
        end()
    }

    private func ask(_ connection: RedisConnection, _ index: Int) {
        connections.append(connection)
        connection.onConnecting = { [weak self] in self?.connecting() }
        connection.onActive = { [weak self, weak connection] in
            if let connection { self?.send(connection) }
        }
        connection.onClosed = { [weak self] loss in self?.ended(loss, index) }
    }

    /// The time begins when the first sentinel can be asked.
    private func connecting() {
        if deadline == nil { endLater(Self.timeout) }
    }

    private func send(_ connection: RedisConnection) {
        let service = ByteBuffer(string: group.service)
        var answer: SentinelAnswer?
        if let password = group.password {
            let login = [group.user, password].compactMap { $0.map { ByteBuffer(string: $0) } }
            connection.send([.word("AUTH")] + login) { [weak connection] reply in
                if case .error(let text) = reply { connection?.close(Self.loss(text)) }
            }
        }
        connection.send([.word("SENTINEL"), .word("GET-MASTER-ADDR-BY-NAME"), service]) { [weak connection] reply in
            switch reply {
            case .error(let text): connection?.close(Self.loss(text))
            case .null:
                connection?.close(
                    ConnectionLoss("it watches no service of this name: check REDIS_URL", isDenied: true))
            default:
                answer = Self.address(reply)
                if answer == nil { connection?.close(reason: "it names no usable address") }
            }
        }
        connection.send([.word("SENTINEL"), .word("MASTER"), service]) { [weak self, weak connection] reply in
            guard var answer, let connection, !connection.isClosed else { return }
            answer.configurationEpoch = Self.epoch(reply)
            self?.answered(answer)
            connection.close(reason: "it has answered")
        }
    }

    private func answered(_ answer: SentinelAnswer) {
        let isFirst = best == nil
        if let best, answer.configurationEpoch ?? 0 <= best.configurationEpoch ?? 0 { return }
        best = answer
        if isFirst { endLater(Self.patience) }
    }

    /// The query of one sentinel has ended.
    private func ended(_ loss: ConnectionLoss, _ index: Int) {
        losses[index] = loss
        if losses.count == group.sentinels.count { end() }
    }

    /// One reason for all, stable while nothing changes: the first one that an operator can act on.
    private var loss: ConnectionLoss {
        let indices = losses.keys.sorted()
        guard let index = indices.first(where: { losses[$0]?.isDenied == true }) ?? indices.first,
            let loss = losses[index]
        else { return ConnectionLoss("no sentinel has answered within 1 s") }
        let sentinel = group.sentinels[index]
        return ConnectionLoss(
            "sentinel \(RedisEndpoint.text(host: sentinel.host, port: sentinel.port)): \(loss.reason)",
            isDenied: loss.isDenied)
    }

    private func endLater(_ time: TimeAmount) {
        deadline?.cancel()
        deadline = connector.eventLoop.scheduleTask(in: time) {
            [bound = NIOLoopBound(self, eventLoop: connector.eventLoop)] in bound.value.end()
        }
    }

    private func end() {
        deadline?.cancel()
        for connection in connections {
            connection.onClosed = { _ in }
            connection.close(reason: "the search is over")
        }
        connections.removeAll()
        guard let completion else { return }
        self.completion = nil
        completion(best.map { .success($0) } ?? .failure(loss))
    }

    // MARK: Replies

    /// The mapped text names REDIS_URL's user; a sentinel has a separate one.
    private static func loss(_ text: ByteBuffer) -> ConnectionLoss {
        var loss = ConnectionLoss(redisError: text)
        let code = String(buffer: text).prefix { $0 != " " }
        switch code {
        case "NOAUTH", "WRONGPASS", "NOPERM":
            loss.reason = "it refuses syncd (\(code)): check sentinelUser and sentinelPassword in REDIS_URL"
        default: break
        }
        return loss
    }

    private static func address(_ reply: RESPValue) -> SentinelAnswer? {
        guard case .array(let parts) = reply, parts.count == 2, case .bulkString(let host) = parts[0],
            case .bulkString(let digits) = parts[1], (1...255).contains(host.readableBytes),
            host.readableBytesView.allSatisfy({ (0x21...0x7e).contains($0) }),
            let port = RedisNumber.digits(digits), (1...65_535).contains(port)
        else { return nil }
        return SentinelAnswer(host: String(buffer: host), port: Int(port))
    }

    /// The field `config-epoch` in the flat list of SENTINEL MASTER.
    private static func epoch(_ reply: RESPValue) -> UInt64? {
        guard case .array(let fields) = reply else { return nil }
        for index in stride(from: 0, to: fields.count - 1, by: 2) {
            if case .bulkString(let name) = fields[index], String(buffer: name) == "config-epoch",
                case .bulkString(let digits) = fields[index + 1]
            {
                return RedisNumber.digits(digits)
            }
        }
        return nil
    }
}
