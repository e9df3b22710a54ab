import Logging
import NIOCore
import NIOPosix
import NIOSSL
import ProcessSupport

/// Opens connections to Redis: over TCP or a Unix socket, with TLS or without.
final class RedisConnector {
    let eventLoop: any EventLoop
    /// `nil`: no TLS.
    private let tls: TLSContextSource?
    private let resolver: NameResolver
    private let family: RedisEndpoint.Family?
    private let watchesCipher: Bool

    /// Maximum time for one address. It begins after the lookup.
    private static let connectTimeout = TimeAmount.seconds(1)

    /// - Parameter watchesCipher: whether the cipher of a connection is of interest.
    init(
        for endpoint: RedisEndpoint, tls: TLSSettings? = nil, watchesCipher: Bool = false, eventLoop: any EventLoop,
        logger: Logger
    ) {
        self.eventLoop = eventLoop
        self.watchesCipher = watchesCipher
        self.tls = endpoint.isTLS ? TLSContextSource(tls ?? TLSSettings()) : nil
        resolver = NameResolver(eventLoop: eventLoop, logger: logger)
        family = endpoint.family
    }

    /// Reasons that prevent connections, for STATUS.
    var warnings: [String] { resolver.warnings }

    /// Connects to a TCP port. `prepare` gets the connection before anything happens on it, and sets its callbacks.
    func connect(host: String, port: Int, prepare: (RedisConnection) -> Void) {
        let connection = RedisConnection(eventLoop: eventLoop, tls: tls)
        prepare(connection)
        if let address = try? SocketAddress(ipAddress: host, port: port) {
            return race(connection, [address], host: host, port: port)
        }
        connection.beginLookup()
        let cancel = resolver.addresses(of: host) { [self] result in
            guard !connection.isClosed else { return }
            switch result {
            case .success(let addresses): race(connection, addresses, host: host, port: port)
            case .failure(let loss): connection.close(loss)
            }
        }
        if connection.stage == .lookingUp { connection.cancelConnecting = cancel }
    }

    private func race(_ connection: RedisConnection, _ addresses: [SocketAddress], host: String, port: Int) {
        let addresses = addresses.filter(isOfFamily).map { address in
            var address = address
            address.port = port
            return address
        }
        guard !addresses.isEmpty else {
            return connection.close(
                ConnectionLoss(
                    "\(host) has no address of IPv\(family?.rawValue ?? ""), which REDIS_URL demands: remove family from it"
                ))
        }
        let race = AddressRace(eventLoop: eventLoop, addresses: addresses) { [bootstrap] address in
            bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelOption(.socketOption(.so_keepalive), value: 1)
                .connect(to: address)
        }
        connection.cancelConnecting = { race.cancel() }
        connection.beginConnecting()
        race.run { [self] outcome in
            switch outcome {
            case .connected(let channel):
                channel.closeFuture.assumeIsolated().whenComplete { [resolver] _ in resolver.wasReached(host) }
                use(channel, for: connection, CertifiedHost(host: tls?.settings.serverName ?? host))
            case .failed(let failures):
                connection.close(
                    ConnectionLoss(connecting: failures, to: RedisEndpoint.text(host: host, port: port)))
            }
        }
    }

    private func isOfFamily(_ address: SocketAddress) -> Bool {
        switch family {
        case .ipv4: address.protocol == .inet
        case .ipv6: address.protocol == .inet6
        case nil: true
        }
    }

    /// Connects to a Unix socket.
    func connect(unixPath path: String, prepare: (RedisConnection) -> Void) {
        let connection = RedisConnection(eventLoop: eventLoop, tls: nil)
        prepare(connection)
        connection.beginConnecting()
        bootstrap.connect(unixDomainSocketPath: path).assumeIsolated().whenComplete { [self] result in
            switch result {
            case .success(let channel): use(channel, for: connection, nil)
            case .failure(let error): connection.close(ConnectionLoss(connecting: error, to: path))
            }
        }
    }

    private var bootstrap: ClientBootstrap {
        ClientBootstrap(group: eventLoop).connectTimeout(Self.connectTimeout)
            .channelOption(.writeBufferWaterMark, value: WorkerConnection.waterMark)
    }

    /// The handlers are added to the channel that has won, and not by an initializer: a name with several addresses
    /// makes several channels, of which only one is kept.
    private func use(_ channel: any Channel, for connection: RedisConnection, _ identity: CertifiedHost?) {
        guard !connection.isClosed else { return channel.close(promise: nil) }
        do {
            if tls != nil, watchesCipher { try channel.pipeline.syncOperations.addHandler(CipherWitness()) }
            if let tls, let identity { try channel.pipeline.syncOperations.addHandler(try tls.handler(identity)) }
            try channel.pipeline.syncOperations.addHandler(connection)
        } catch {
            let isSetting = error is ConfigurationError
            connection.close(ConnectionLoss(isSetting ? "\(error)" : "TLS: \(error)", isDenied: isSetting))
            channel.close(promise: nil)
        }
    }
}
