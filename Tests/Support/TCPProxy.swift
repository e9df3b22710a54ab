import NIOCore
import NIOPosix
import Synchronization

/// A network between a client and a server on 127.0.0.1 that can hold data and deliver them later, also when the client
/// has closed its connection meanwhile, like a kernel that retransmits.
package final class TCPProxy: Sendable {
    private struct State {
        var isStalled = false
        var stallTrigger: String?
        var stallsAfter = 0
        var isHoldingMarked = false
        var mark: String?
        var links: [NIOLoopBound<TCPLink>] = []
        var listener: (any Channel)?
        var accepted = 0
    }

    private let port: ReservedPort
    private let targets: [Int]
    private let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    private let state = Mutex(State())

    /// Listens in front of a server.
    ///
    /// - Parameters:
    ///   - other: a second server, to which every other connection is forwarded, like a proxy that balances them.
    ///   - mark: links on which the client sends this text can be held separately.
    package init(to target: Int, alternatingWith other: Int? = nil, mark: String? = nil) async throws {
        port = try ReservedPort()
        targets = [target] + (other.map { [$0] } ?? [])
        state.withLock { $0.mark = mark }
        let listener = try await ServerBootstrap(group: eventLoop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { [weak self] channel in
                channel.eventLoop.makeCompletedFuture { try self?.accept(channel) }
            }
            .bind(host: "127.0.0.1", port: port.number).get()
        state.withLock { $0.listener = listener }
    }

    deinit {
        state.withLock { state in
            state.listener?.close(promise: nil)
            for link in state.links { eventLoop.execute { link.value.close() } }
        }
    }

    package var portNumber: Int { port.number }

    /// Forwards nothing in either direction and closes nothing.
    package func stall() { state.withLock { $0.isStalled = true } }

    /// Stalls when a client sends data with this text, for the given time of its occurrence. These data are held
    /// already.
    package func stall(at text: String, time: Int = 1) {
        state.withLock { ($0.stallTrigger, $0.stallsAfter) = (text, time - 1) }
    }

    package var isStalled: Bool { state.withLock { $0.isStalled } }

    /// Holds the links that are marked, and forwards everything else.
    package func holdMarked() { state.withLock { $0.isHoldingMarked = true } }

    /// Forwards everything again, first the held data.
    package func resume() async throws {
        let links = state.withLock { state in
            (state.isStalled, state.isHoldingMarked, state.stallTrigger) = (false, false, nil)
            return state.links
        }
        try await eventLoop.submit { for link in links { link.value.regrant() } }.get()
    }

    /// Number of bytes of clients that wait to be delivered.
    package func heldByteCount() async throws -> Int {
        let links = state.withLock { $0.links }
        return try await eventLoop.submit { links.reduce(0) { $0 + $1.value.heldByteCount } }.get()
    }

    fileprivate func isHeld(marked: Bool) -> Bool {
        state.withLock { $0.isStalled || (marked && $0.isHoldingMarked) }
    }

    /// - Returns: whether the link is marked.
    fileprivate func look(at bytes: ByteBuffer) -> Bool {
        state.withLock { state in
            if let trigger = state.stallTrigger, bytes.contains(trigger) {
                if state.stallsAfter == 0 { state.isStalled = true }
                state.stallsAfter -= 1
            }
            return state.mark.map(bytes.contains) ?? false
        }
    }

    private func accept(_ channel: any Channel) throws {
        let link = TCPLink(client: channel, proxy: self)
        let bound = NIOLoopBound(link, eventLoop: eventLoop)
        let target = state.withLock { state in
            state.links.append(bound)
            state.accepted += 1
            return targets[(state.accepted - 1) % targets.count]
        }
        try channel.pipeline.syncOperations.addHandler(
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
                            bound.value.serverClosed()
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

/// One connection through a ``TCPProxy``. Belongs to one event loop.
private final class TCPLink {
    private let client: any Channel
    private var server: (any Channel)?
    private weak var proxy: TCPProxy?
    private var fromClient = ByteBuffer()
    private var fromServer = ByteBuffer()
    private var isClientClosed = false
    private var isServerClosed = false
    private var isMarked = false

    init(client: any Channel, proxy: TCPProxy) {
        self.client = client
        self.proxy = proxy
    }

    var heldByteCount: Int { fromClient.readableBytes }

    func connected(_ server: any Channel) {
        self.server = server
        regrant()
    }

    func clientSent(_ bytes: ByteBuffer) {
        if let proxy, proxy.look(at: bytes) { isMarked = true }
        fromClient.writeImmutableBuffer(bytes)
        regrant()
    }

    func serverSent(_ bytes: ByteBuffer) {
        fromServer.writeImmutableBuffer(bytes)
        regrant()
    }

    func clientClosed() {
        isClientClosed = true
        regrant()
    }

    func serverClosed() {
        isServerClosed = true
        regrant()
    }

    func close() {
        client.close(promise: nil)
        server?.close(promise: nil)
    }

    /// Forwards the waiting data, unless they are held.
    func regrant() {
        guard let proxy, let server, !proxy.isHeld(marked: isMarked) else { return }
        if fromClient.readableBytes > 0 { server.writeAndFlush(fromClient, promise: nil) }
        if fromServer.readableBytes > 0 { client.writeAndFlush(fromServer, promise: nil) }
        (fromClient, fromServer) = (ByteBuffer(), ByteBuffer())
        // Written data are sent before the end is.
        if isClientClosed || isServerClosed { close() }
    }
}

extension ByteBuffer {
    fileprivate func contains(_ text: String) -> Bool {
        readableBytesView.firstRange(of: Array(text.utf8)) != nil
    }
}
