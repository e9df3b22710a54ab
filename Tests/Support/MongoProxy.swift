import NIOCore
import NIOPosix
import Synchronization

/// One worker's way to MongoDB: a port in front of each member, which forwards everything until it is told to hold it.
/// Held data are delivered in the end, even if the worker has closed its connection long ago, as the kernel of a host
/// with a broken network does.
///
/// The members of a replica set announce their own addresses. The proxy replaces them by its own ones, so that a driver
/// never bypasses it.
package final class MongoProxy: Sendable {
    private struct State {
        var isHeld = false
        var links: [NIOLoopBound<MongoLink>] = []
        var listeners: [any Channel] = []
    }

    private let ports: [ReservedPort]
    /// Addresses of the servers, and the replacements for the worker.
    private let addresses: [(real: String, shown: String)]
    private let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    private let state = Mutex(State())

    /// Listens in front of these servers.
    package init(to servers: [MongoServer]) async throws {
        ports = try servers.map { _ in try ReservedPort() }
        // Ports of tests have five digits: a replaced address has the same length.
        addresses = zip(servers, ports).map { ("127.0.0.1:\($0.portNumber)", "127.0.0.1:\($1.number)") }
        for (server, port) in zip(servers, ports) {
            let target = server.portNumber
            let listener = try await ServerBootstrap(group: eventLoop)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { [weak self] channel in
                    channel.eventLoop.makeCompletedFuture { try self?.accept(channel, target: target) }
                }
                .bind(host: "127.0.0.1", port: port.number).get()
            state.withLock { $0.listeners.append(listener) }
        }
    }

    deinit {
        state.withLock { state in
            for listener in state.listeners { listener.close(promise: nil) }
            for link in state.links { eventLoop.execute { link.value.close() } }
        }
    }

    /// The value of DB_URL: all members except the last `hidden`, or the one server.
    package func url(database: String, hidden: Int = 0) -> String {
        let hosts = addresses.dropLast(hidden).map(\.shown).joined(separator: ",")
        return "mongodb://\(hosts)/\(database)" + (ports.count > 1 ? "?replicaSet=\(MongoServer.replicaSet)" : "")
    }

    /// The value of DB_URL with one member alone, in the form that names no replica set.
    package func url(database: String, member: Int) -> String { "mongodb://\(addresses[member].shown)/\(database)" }

    // MARK: Faults

    /// Forwards nothing in either direction and closes nothing: a cut network is silent.
    package func hold() { state.withLock { $0.isHeld = true } }

    /// Delivers held data, and forwards everything again.
    package func release() async throws {
        let links = state.withLock { state in
            state.isHeld = false
            return state.links
        }
        try await eventLoop.submit { for link in links { link.value.regrant() } }.get()
    }

    // MARK: Links

    var isHeld: Bool { state.withLock { $0.isHeld } }

    private func accept(_ client: any Channel, target: Int) throws {
        let link = MongoLink(client: client, proxy: self, addresses: addresses)
        let bound = NIOLoopBound(link, eventLoop: eventLoop)
        state.withLock { state in
            state.links.removeAll { $0.value.isClosed }
            state.links.append(bound)
        }
        try client.pipeline.syncOperations.addHandler(
            ProxyHandler {
                bound.value.clientSent($0)
            } onClosed: {
                bound.value.clientClosed()
            })
        ClientBootstrap(group: eventLoop)
            .channelInitializer { server in
                server.eventLoop.makeCompletedFuture {
                    try server.pipeline.syncOperations.addHandler(
                        ProxyHandler {
                            bound.value.serverSent($0)
                        } onClosed: {
                            bound.value.close()
                        })
                }
            }
            .connect(host: "127.0.0.1", port: target)
            .whenComplete { result in
                switch result {
                case .success(let server): bound.value.connected(server)
                case .failure: bound.value.close()
                }
            }
    }
}

/// One connection through a ``MongoProxy``. Belongs to one event loop.
final class MongoLink {
    private let client: any Channel
    private var server: (any Channel)?
    private weak var proxy: MongoProxy?
    private let addresses: [(real: String, shown: String)]
    private var fromClient = ByteBuffer()
    private var fromServer = ByteBuffer()
    private var hasClientClosed = false
    private(set) var isClosed = false

    /// Time for which a server stays connected to a client that has left: it must not drop late data.
    private static let afterlife = TimeAmount.seconds(2)
    /// Maximum length of answers in which a server announces addresses.
    private static let longestAnnouncement = 16_384

    init(client: any Channel, proxy: MongoProxy, addresses: [(real: String, shown: String)]) {
        self.client = client
        self.proxy = proxy
        self.addresses = addresses
    }

    func connected(_ server: any Channel) {
        self.server = server
        if isClosed { server.close(promise: nil) }
        regrant()
    }

    func close() {
        isClosed = true
        client.close(promise: nil)
        server?.close(promise: nil)
    }

    func clientSent(_ bytes: ByteBuffer) {
        fromClient.writeImmutableBuffer(bytes)
        regrant()
    }

    func serverSent(_ bytes: ByteBuffer) {
        fromServer.writeImmutableBuffer(bytes)
        regrant()
    }

    func clientClosed() {
        hasClientClosed = true
        regrant()
    }

    /// Forwards the waiting data, unless they are held.
    func regrant() {
        guard let proxy, !proxy.isHeld, !isClosed, let server else { return }
        if fromClient.readableBytes > 0 {
            server.writeAndFlush(fromClient, promise: nil)
            fromClient = ByteBuffer()
        }
        if hasClientClosed {
            server.eventLoop.assumeIsolated().scheduleTask(in: Self.afterlife) { self.close() }
            return
        }
        while let message = nextMessage() { client.writeAndFlush(message, promise: nil) }
    }

    /// The next whole answer: an address in it is never in two pieces.
    private func nextMessage() -> ByteBuffer? {
        guard let length = fromServer.getInteger(at: fromServer.readerIndex, endianness: .little, as: Int32.self),
            length >= 16, var message = fromServer.readSlice(length: Int(length))
        else { return nil }
        fromServer.discardReadBytes()
        guard length <= Self.longestAnnouncement else { return message }
        for (real, shown) in addresses {
            while let range = message.readableBytesView.firstRange(of: Array(real.utf8)) {
                message.setString(shown, at: range.lowerBound)
            }
        }
        return message
    }
}
