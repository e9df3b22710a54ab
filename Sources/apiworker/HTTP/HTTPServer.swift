import Glibc
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle

/// The HTTP server: a separate listener, separate limits, Hummingbird's HTTP/1 channel.
///
/// Hummingbird's own server supports neither SO_REUSEPORT, with which the kernel distributes connections over the
/// workers of a host, nor a listener that systemd passes.
struct HTTPServer: Service {
    /// The address of the listener.
    enum Address: Sendable, Hashable {
        /// Port 0 is any free one.
        case host(String, port: Int)
        /// A listening socket that exists already.
        case inherited(CInt)
    }

    /// Maximum number of connections that wait to be accepted.
    static let backlog: Int32 = 1024

    var address: Address
    var limits = HTTPLimits()
    /// The open connections, at most as many as `limits` allows.
    var connections: OpenConnections
    var worker: WorkerIdentity
    var eventLoop: any EventLoop
    var logger: Logger
    /// Answers every request, also with errors.
    var respond: @Sendable (Request, any Channel) async -> Response
    /// Called with the status when unparsable input is refused.
    var onRejection: @Sendable (_ statusCode: Int) -> Void = { _ in }
    /// Called with the port when connections are accepted.
    var onListening: @Sendable (_ port: Int) -> Void = { _ in }

    private typealias Connection = HTTP1Channel.Value

    /// Serves until graceful shutdown: then no connection is accepted, and requests may finish. Cancellation cuts them.
    ///
    /// - Throws: ``ListenError``
    func run() async throws {
        let channels = http1
        // NIO ends the process when a connection was accepted and never taken from its stream. This happens if the
        // listener closes, or the reader is cancelled, at that moment. So the server has a separate stream.
        let (accepted, arrivals) = AsyncStream<Connection>.makeStream()
        let listener = try await listen(channels, arrivals)
        // Runs after the registration of all accepted connections.
        listener.closeFuture.whenComplete { _ in eventLoop.execute { arrivals.finish() } }
        onListening(listener.localAddress?.port ?? 0)
        let executor = EventLoopExecutor(eventLoop)
        let serving = Task {
            await withDiscardingTaskGroup { group in
                for await connection in accepted {
                    group.addTask(executorPreference: executor) {
                        await channels.handle(value: connection, logger: logger)
                    }
                }
            }
        }
        await withGracefulShutdownHandler {
            await withTaskCancellationHandler {
                await serving.value
            } onCancel: {
                listener.close(promise: nil)
                connections.cut()
                // Accepted connections are still served: AsyncStream returns buffered elements first.
                serving.cancel()
            }
        } onGracefulShutdown: {
            // The order matters: connections are only told to end when no further one is accepted.
            connections.quiesce(within: limits.grace, on: eventLoop)
            listener.close(promise: nil)
        }
    }

    private var http1: HTTP1Channel {
        let decoder = HTTP1Channel.Configuration.DecoderConfiguration(
            maxHeaderFieldSize: limits.headBytes, maxHeaderListSize: limits.headBytes,
            maxHeaderFieldCount: limits.headFields)
        return HTTP1Channel(
            responder: { [respond] request, writer, channel in
                let response = await respond(request, channel)
                try await writer.write(response: response.head, body: response.body)
            },
            configuration: HTTP1Channel.Configuration(idleTimeout: limits.idle, httpDecoderConfiguration: decoder))
    }

    private func listen(
        _ channels: HTTP1Channel, _ arrivals: AsyncStream<Connection>.Continuation
    ) async throws -> any Channel {
        let bootstrap = ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelInitializer { [logger] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptErrors(logger: logger))
                }
            }
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { [limits, connections, worker, logger, onRejection] channel in
                if case .refused(let isNews) = connections.add(channel) {
                    if isNews { logger.warning("Too many connections: further ones are closed") }
                    return channel.close().flatMapThrowing { throw ChannelError.alreadyClosed }
                }
                return channels.setup(channel: channel, logger: logger).flatMapThrowing { connection in
                    let connectionGuard = ConnectionGuard(limits: limits, worker: worker, onRejection: onRejection)
                    try Self.add(connectionGuard, to: channel)
                    let handover = Handover {
                        guard case .terminated = arrivals.yield(connection) else { return }
                        channel.close(promise: nil)
                        Task { await channels.handle(value: connection, logger: logger) }
                    }
                    try channel.pipeline.syncOperations.addHandler(handover)
                }
            }
        switch address {
        case .host(let host, let port):
            do {
                return
                    try await bootstrap
                    .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                    .serverChannelOption(.socketOption(.init(rawValue: SO_REUSEPORT)), value: 1)
                    .bind(host: host, port: port).get()
            } catch {
                throw ListenError(host: host, port: port, error)
            }
        case .inherited(let descriptor):
            return try await bootstrap.withBoundSocket(descriptor).get()
        }
    }

    /// The guard sees parsed requests before Hummingbird does, the sensor bytes before the decoder does.
    private static func add(_ connectionGuard: ConnectionGuard, to channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
        try pipeline.addHandler(connectionGuard, position: .after(decoder))
        try pipeline.addHandler(ByteSensor(connectionGuard), position: .first)
    }
}

/// Hands over a connection once it is registered, or closed before that. The receiver may be cancelled at once and then
/// shuts down its input, which fails on a channel that NIO has not registered yet.
private final class Handover: ChannelInboundHandler {
    typealias InboundIn = NIOAny

    private var handOver: (() -> Void)?

    init(_ handOver: @escaping () -> Void) { self.handOver = handOver }

    func channelActive(context: ChannelHandlerContext) {
        finish()
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { finish() }

    private func finish() {
        handOver?()
        handOver = nil
    }
}

/// A connection that cannot be accepted must not end the listener.
private final class AcceptErrors: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.warning("A connection could not be accepted", metadata: ["error": "\(error)"])
    }
}
