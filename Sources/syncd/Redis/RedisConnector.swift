import NIOCore
import NIOPosix
import NIOSSL
import ProcessSupport

/// Opens connections to Redis: over TCP or a Unix socket, with TLS or without.
final class RedisConnector {
    let eventLoop: any EventLoop
    /// `nil`: no TLS.
    private let tls: TLSContextSource?

    private static let connectTimeout = TimeAmount.seconds(1)

    init(eventLoop: any EventLoop, tls: TLSSettings?) {
        self.eventLoop = eventLoop
        self.tls = tls.map(TLSContextSource.init)
    }

    /// Connects to a TCP port. `prepare` gets the connection before anything happens on it, and gives it the callbacks
    /// by which it tells what becomes of it.
    func connect(host: String, port: Int, prepare: (RedisConnection) -> Void) {
        let name = tls == nil ? nil : tls?.settings.serverName ?? host
        let connection = RedisConnection(eventLoop: eventLoop, securedName: name)
        prepare(connection)
        open(connection, to: RedisEndpoint.text(host: host, port: port), secured: name) {
            $0.channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelOption(.socketOption(.so_keepalive), value: 1)
                .connect(host: host, port: port)
        }
    }

    /// Connects to a Unix socket.
    func connect(unixPath path: String, prepare: (RedisConnection) -> Void) {
        let connection = RedisConnection(eventLoop: eventLoop)
        prepare(connection)
        open(connection, to: path, secured: nil) { $0.connect(unixDomainSocketPath: path) }
    }

    private func open(
        _ connection: RedisConnection, to target: String, secured name: String?,
        _ connect: (ClientBootstrap) -> EventLoopFuture<any Channel>
    ) {
        let handler: NIOSSLClientHandler?
        do {
            handler = try name.flatMap { try self.handler($0) }
        } catch {
            let text = (error as? ConfigurationError)?.description ?? "TLS: \(error)"
            return connection.close(ConnectionLoss(text, isDenied: true))
        }
        // The handlers are added to the channel that has won, not by an initializer: a name with several addresses
        // makes several channels, of which all but one are thrown away.
        connect(ClientBootstrap(group: eventLoop).connectTimeout(Self.connectTimeout)).assumeIsolated().whenComplete {
            result in
            switch result {
            case .failure(let error): connection.close(ConnectionLoss(connecting: error, to: target))
            case .success(let channel):
                guard !connection.isClosed else { return channel.close(promise: nil) }
                do {
                    if let handler { try channel.pipeline.syncOperations.addHandler(handler) }
                    try channel.pipeline.syncOperations.addHandler(connection)
                } catch {
                    connection.close(ConnectionLoss(connecting: error, to: target))
                    channel.close(promise: nil)
                }
            }
        }
    }

    /// An address may not be sent as SNI; the certificate is then compared with the address of the channel.
    private func handler(_ name: String) throws -> NIOSSLClientHandler? {
        guard let context = try tls?.context() else { return nil }
        let isAddress = (try? SocketAddress(ipAddress: name, port: 0)) != nil
        return try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : name)
    }
}
