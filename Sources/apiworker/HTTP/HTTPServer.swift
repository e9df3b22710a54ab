import Glibc
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle

/// The HTTP server: a listener, and for each connection NIO's codec, the guard of the limits, NIO's pipelining and the
/// handler that answers.
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
    var answering: Answering
    /// Called with the status when unparsable input is refused.
    var onRejection: @Sendable (_ statusCode: Int) -> Void = { _ in }
    /// Called with the port when connections are accepted.
    var onListening: @Sendable (_ port: Int) -> Void = { _ in }

    /// Serves until graceful shutdown: then no connection is accepted, and requests may finish. Cancellation cuts them.
    ///
    /// - Throws: ``ListenError``
    func run() async throws {
        let listener = try await listen(SendingBodies(limits: limits, logger: logger))
        // Runs after the registration of all accepted connections.
        listener.closeFuture.whenComplete { _ in eventLoop.execute { connections.listenerClosed() } }
        onListening(listener.localAddress?.port ?? 0)
        await withGracefulShutdownHandler {
            await withTaskCancellationHandler {
                // The stream would end at once in a cancelled task.
                await Task { for await _ in connections.isOver {} }.value
            } onCancel: {
                listener.close(promise: nil)
                connections.cut()
            }
        } onGracefulShutdown: {
            // The order matters: connections are only told to end when no further one is accepted.
            connections.quiesce(within: limits.grace, on: eventLoop)
            listener.close(promise: nil)
        }
    }

    private func listen(_ sending: SendingBodies) async throws -> any Channel {
        let bootstrap = ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelInitializer { [logger] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptErrors(logger: logger))
                }
            }
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            // All connections share the event loop: one that sends many small requests at once waits for the others
            // after each of these parts.
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: limits.readBytes)
            )
            // Otherwise the kernel takes megabytes ahead, and reports room for more after a third of them only.
            .childChannelOption(.tcpOption(.init(rawValue: TCP_NOTSENT_LOWAT)), value: .init(limits.progressBytes))
            .childChannelInitializer { channel in
                if case .refused(let isNews) = connections.add(channel) {
                    if isNews { logger.warning("Too many connections: further ones are closed") }
                    return channel.close().flatMapThrowing { throw ChannelError.alreadyClosed }
                }
                return channel.eventLoop.makeCompletedFuture { try addHandlers(to: channel, sending) }
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

    private func addHandlers(to channel: any Channel, _ sending: SendingBodies) throws {
        var parsing = NIOHTTPDecoderLimitConfiguration()
        (parsing.maxHeaderFieldSize, parsing.maxHeaderListSize) = (limits.headBytes, limits.headBytes)
        parsing.maxHeaderFieldCount = limits.headFields
        // The guard writes these, because it knows HTTP/1.0.
        var framing = HTTPResponseEncoder.Configuration()
        framing.automaticallySetFramingHeaders = false
        let connectionGuard = ConnectionGuard(
            limits: limits, worker: worker, sending: sending, onRejection: onRejection)
        try channel.pipeline.syncOperations.addHandlers([
            HTTPResponseEncoder(configuration: framing),
            ByteToMessageHandler(MeasuredDecoder(HTTPRequestDecoder(limitConfiguration: parsing), connectionGuard)),
            connectionGuard,
            HTTPServerPipelineHandler(),
            RequestHandler(
                answering, connections: connections, sending: sending, executor: EventLoopExecutor(eventLoop),
                limits: limits),
        ])
    }
}

/// A connection that cannot be accepted must not end the listener. Where descriptors or memory are short, it waits in
/// the kernel: epoll would report it again at once.
private final class AcceptErrors: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private static let pause = TimeAmount.milliseconds(100)
    private static let logInterval = TimeAmount.seconds(10)

    private let logger: Logger
    private var nextLine = NIODeadline.uptimeNanoseconds(0)

    init(logger: Logger) { self.logger = logger }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if nextLine <= .now() {
            nextLine = .now() + Self.logInterval
            logger.warning("A connection could not be accepted", metadata: ["error": "\(error)"])
        }
        let channel = context.channel
        _ = channel.setOption(.autoRead, value: false)
        channel.eventLoop.scheduleTask(in: Self.pause) { _ = channel.setOption(.autoRead, value: true) }
    }
}
