import NIOCore
import NIOPosix
import Synchronization

/// A proxy between syncd and a real Redis server: forwards everything, until it is told to hold it, to cut it, or to
/// answer in Redis' place.
package final class RedisProxy: Sendable {
    /// The treatment of one command.
    package enum Verdict: Sendable {
        case forward
        /// Answer with these bytes; Redis does not receive the command.
        case answer(String)
        /// Forward to Redis, and replace its answer by these bytes.
        case replaceAnswer(String)
        /// Forward to Redis, and drop all further output of this connection.
        case forwardAndFallSilent
    }

    /// Decides about a command by its words, the first of them in upper case.
    package typealias Rule = @Sendable ([String]) -> Verdict

    private struct State {
        var rule: Rule?
        var isStalled = false
        var isRefusing = false
        var links: [NIOLoopBound<ProxyLink>] = []
        var listener: (any Channel)?
    }

    private let port: ReservedPort
    private let target: Int
    private let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    private let state = Mutex(State())

    /// Listens in front of a server.
    package init(_ redis: RedisServer) async throws {
        port = try ReservedPort()
        target = redis.portNumber
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

    /// The value of REDIS_URL.
    package var url: String { "redis://127.0.0.1:\(port.number)" }

    // MARK: Faults

    /// Decides about all commands from now on; `nil`: everything is forwarded.
    package func setRule(_ rule: Rule?) { state.withLock { $0.rule = rule } }

    /// Forwards nothing in either direction and closes nothing: a cut network is silent.
    package func stall() { state.withLock { $0.isStalled = true } }

    /// Forwards everything again, also data that arrived meanwhile.
    package func resume() async throws {
        state.withLock { $0.isStalled = false }
        try await forEachLink { $0.regrant() }
    }

    /// Ends all connections and accepts no new ones until ``heal()``.
    package func cut() async throws {
        state.withLock { $0.isRefusing = true }
        try await forEachLink { $0.close() }
    }

    package func heal() { state.withLock { $0.isRefusing = false } }

    /// Ends all connections; new ones are accepted.
    package func closeAll() async throws { try await forEachLink { $0.close() } }

    /// Ends the connections with subscriptions.
    package func closeSubscriptions() async throws {
        try await forEachLink { if $0.isSubscriber { $0.close() } }
    }

    /// Sends syncd unrequested bytes.
    package func inject(_ text: String, intoSubscription: Bool) async throws {
        try await forEachLink { if $0.isSubscriber == intoSubscription { $0.answer(text) } }
    }

    private func forEachLink(_ body: @escaping @Sendable (ProxyLink) -> Void) async throws {
        let links = state.withLock { $0.links }
        try await eventLoop.submit { for link in links { body(link.value) } }.get()
    }

    // MARK: Links

    var isStalled: Bool { state.withLock { $0.isStalled } }

    func verdict(on words: [String]) -> Verdict { state.withLock { $0.rule }?(words) ?? .forward }

    private func accept(_ channel: any Channel) throws {
        guard !state.withLock({ $0.isRefusing }) else { return channel.close(promise: nil) }
        let link = ProxyLink(client: channel, proxy: self)
        let bound = NIOLoopBound(link, eventLoop: eventLoop)
        state.withLock { state in
            state.links.removeAll { $0.value.isClosed }
            state.links.append(bound)
        }
        try channel.pipeline.syncOperations.addHandler(
            ProxyHandler {
                bound.value.clientSent($0)
            } onClosed: {
                bound.value.close()
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
