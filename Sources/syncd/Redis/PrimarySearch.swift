import NIOCore

/// Asks all servers of a ``PrimarySource`` at once, over connections that are closed after the answer, and takes the
/// newest of the answers that come within 100 ms after the first one.
final class PrimarySearch {
    private let source: any PrimarySource
    private let servers: [ServerAddress]
    private let connector: RedisConnector
    private var connections: [RedisConnection] = []
    private var best: PrimaryAnswer?
    /// Reasons why servers did not answer, by their places in `servers`.
    private var losses: [Int: ConnectionLoss] = [:]
    private var deadline: Scheduled<Void>?
    private var completion: ((Result<PrimaryAnswer, ConnectionLoss>) -> Void)?

    private static let timeout = TimeAmount.seconds(1)
    private static let patience = TimeAmount.milliseconds(100)

    init(_ source: any PrimarySource, connector: RedisConnector) {
        self.source = source
        servers = source.servers
        self.connector = connector
    }

    /// Starts the search. `completion` is called once, unless the search is cancelled.
    func run(_ completion: @escaping (Result<PrimaryAnswer, ConnectionLoss>) -> Void) {
        self.completion = completion
        for (index, server) in servers.enumerated() {
            connector.connect(host: server.host, port: server.port) { ask($0, index) }
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
            guard let self, let connection else { return }
            self.source.ask(connection, at: self.servers[index]) { [weak self, weak connection] answer in
                self?.answered(answer)
                connection?.close(reason: "it has answered")
            }
        }
        connection.onClosed = { [weak self] loss in self?.ended(loss, index) }
    }

    /// The time begins when the first server can be asked.
    private func connecting() {
        if deadline == nil { endLater(Self.timeout) }
    }

    private func answered(_ answer: PrimaryAnswer) {
        let isFirst = best == nil
        if let best, answer.configurationEpoch ?? 0 <= best.configurationEpoch ?? 0 { return }
        best = answer
        if isFirst { endLater(Self.patience) }
    }

    /// The query of one server has ended.
    private func ended(_ loss: ConnectionLoss, _ index: Int) {
        losses[index] = loss
        if losses.count == servers.count { end() }
    }

    /// One reason for all, stable while nothing changes: the first one that an operator can act on.
    private var loss: ConnectionLoss {
        let indices = losses.keys.sorted()
        guard let index = indices.first(where: { losses[$0]?.isDenied == true }) ?? indices.first,
            let loss = losses[index]
        else { return ConnectionLoss("no \(source.noun) has answered within 1 s") }
        return ConnectionLoss("\(source.noun) \(servers[index].text): \(loss.reason)", isDenied: loss.isDenied)
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
        if let best { source.found(best) }
        completion(best.map { .success($0) } ?? .failure(loss))
    }
}
