import NIOCore

/// Connects to the address of a server that answers first.
///
/// The addresses are tried in their order. The next one is tried as soon as one fails, or after a quarter of a second,
/// and the earlier attempts continue (RFC 8305): one of two families of addresses may be unreachable without any error.
final class AddressRace {
    typealias Connect = (SocketAddress) -> EventLoopFuture<any Channel>
    typealias Failure = (address: SocketAddress, error: any Error)

    enum Outcome {
        case connected(any Channel)
        /// No address answers; the reasons by address.
        case failed([Failure])
    }

    private let eventLoop: any EventLoop
    private let connect: Connect
    private var remaining: ArraySlice<SocketAddress>
    private var underWay = 0
    private var failures: [Failure] = []
    private var next: Scheduled<Void>?
    private var completion: ((Outcome) -> Void)?

    private static let delay = TimeAmount.milliseconds(250)
    /// Together with the time for the last one, no more than 5 s pass.
    private static let maximumAddresses = 16

    /// - Parameter connect: tries one address; the attempt ends by itself.
    init(eventLoop: any EventLoop, addresses: [SocketAddress], connect: @escaping Connect) {
        self.eventLoop = eventLoop
        self.connect = connect
        remaining = addresses.prefix(Self.maximumAddresses)
    }

    /// `completion` is called once, unless the race is cancelled.
    func run(_ completion: @escaping (Outcome) -> Void) {
        self.completion = completion
        tryNext()
    }

    /// Connections that are made from now on are closed.
    func cancel() {
        next?.cancel()
        completion = nil
    }

    private func tryNext() {
        next?.cancel()
        guard completion != nil else { return }
        guard let address = remaining.popFirst() else {
            if underWay == 0 { end(.failed(failures)) }
            return
        }
        underWay += 1
        if !remaining.isEmpty {
            next = eventLoop.assumeIsolated().scheduleTask(in: Self.delay) { [self] in tryNext() }
        }
        connect(address).assumeIsolated().whenComplete { [self] result in ended(address, result) }
    }

    private func ended(_ address: SocketAddress, _ result: Result<any Channel, any Error>) {
        underWay -= 1
        switch result {
        case .success(let channel):
            guard completion != nil else { return channel.close(promise: nil) }
            end(.connected(channel))
        case .failure(let error):
            failures.append((address, error))
            tryNext()
        }
    }

    private func end(_ outcome: Outcome) {
        let completion = self.completion
        cancel()
        completion?(outcome)
    }
}
