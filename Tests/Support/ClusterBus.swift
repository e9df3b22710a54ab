import NIOCore
import NIOPosix
import Synchronization

/// The network between the nodes of a Redis Cluster: a listener in front of each node's bus port, which can cut a node
/// off from all others. Clients and replicas reach the node meanwhile.
///
/// Each node connects from a separate address of the loopback network, by which the listeners know it.
final class ClusterBus: Sendable {
    private struct Link {
        /// The nodes at both ends.
        var ends: Set<Int>
        var channel: any Channel
    }

    private struct State {
        var cut: Set<Int> = []
        var links: [Link] = []
        var listeners: [any Channel] = []
    }

    private let ports: [ReservedPort]
    private let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    private let state = Mutex(State())

    /// - Parameter targets: the bus port of each node.
    init(to targets: [Int]) async throws {
        ports = try targets.map { _ in try ReservedPort() }
        for (node, target) in targets.enumerated() {
            let listener = try await ServerBootstrap(group: eventLoop)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { [weak self] channel in
                    channel.eventLoop.makeCompletedFuture { try self?.accept(channel, node, target) }
                }
                .bind(host: "127.0.0.1", port: ports[node].number).get()
            state.withLock { $0.listeners.append(listener) }
        }
    }

    deinit {
        state.withLock { state in
            for channel in state.listeners + state.links.map(\.channel) { channel.close(promise: nil) }
        }
    }

    func portNumber(_ node: Int) -> Int { ports[node].number }

    /// The address from which a node connects to others.
    static func source(_ node: Int) -> String { "127.0.0.\(10 + node)" }

    /// Ends all links between these nodes and the others, and accepts no new ones. An empty set heals the network.
    func cut(_ nodes: Set<Int>) {
        let links = state.withLock { state in
            state.cut = nodes
            return state.links.filter { $0.ends.intersection(nodes).count == 1 }
        }
        for link in links { link.channel.close(promise: nil) }
    }

    private func accept(_ channel: any Channel, _ node: Int, _ target: Int) throws {
        let peer = ports.indices.first { Self.source($0) == channel.remoteAddress?.ipAddress }
        let link = Link(ends: Set([node, peer].compactMap(\.self)), channel: channel)
        let isCut = state.withLock { state in
            state.links.append(link)
            return link.ends.intersection(state.cut).count == 1
        }
        channel.closeFuture.whenComplete { [weak self] _ in
            self?.state.withLock { $0.links.removeAll { $0.channel === channel } }
        }
        guard !isCut else { return channel.close(promise: nil) }
        let waiting = NIOLoopBoundBox<ByteBuffer>(ByteBuffer(), eventLoop: eventLoop)
        let server = NIOLoopBoundBox<(any Channel)?>(nil, eventLoop: eventLoop)
        try channel.pipeline.syncOperations.addHandler(
            ProxyHandler { bytes in
                guard let server = server.value else {
                    waiting.value.writeImmutableBuffer(bytes)
                    return
                }
                server.writeAndFlush(bytes, promise: nil)
            } onClosed: {
                server.value?.close(promise: nil)
            })
        ClientBootstrap(group: eventLoop)
            .channelInitializer { server in
                server.eventLoop.makeCompletedFuture {
                    try server.pipeline.syncOperations.addHandler(
                        ProxyHandler {
                            channel.writeAndFlush($0, promise: nil)
                        } onClosed: {
                            channel.close(promise: nil)
                        })
                }
            }
            .connect(host: "127.0.0.1", port: target)
            .whenComplete { result in
                guard case .success(let connected) = result, channel.isActive else {
                    if case .success(let connected) = result { connected.close(promise: nil) }
                    return channel.close(promise: nil)
                }
                server.value = connected
                if waiting.value.readableBytes > 0 { connected.writeAndFlush(waiting.value, promise: nil) }
                waiting.value.clear()
            }
    }
}
