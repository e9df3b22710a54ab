import IPCWire
import NIOCore
import NIOPosix
import Synchronization

/// A server that plays a part: gets every command of every connection.
package protocol ScriptedServer: AnyObject, Sendable {
    func opened(_ connection: ScriptedConnection)
    func closed(_ connection: ScriptedConnection)
    func received(_ command: [ByteBuffer], on connection: ScriptedConnection)
}

/// One connection of a client to a scripted server; replies may be sent at any time and from any thread.
package final class ScriptedConnection: Sendable {
    private let channel: any Channel
    private let spoken = Mutex(RESPVersion.v2)

    init(_ channel: any Channel) { self.channel = channel }

    package var version: RESPVersion {
        get { spoken.withLock { $0 } }
        set { spoken.withLock { $0 = newValue } }
    }

    /// Whether the client or this side has closed the connection.
    package var isClosed: Bool { !channel.isActive }

    package func send(_ reply: Reply) {
        var writer = RESPWriter(version: version)
        reply.encode(into: &writer)
        send(writer.buffer)
    }

    package func send(_ push: Push) {
        var writer = RESPWriter(version: .v3)
        push.encode(into: &writer)
        send(writer.buffer)
    }

    package func send(_ bytes: ByteBuffer) { channel.writeAndFlush(bytes, promise: nil) }

    package func close() { channel.close(promise: nil) }

    /// Closes, and returns when it is closed.
    func closed() async { try? await channel.close().get() }
}

extension ScriptedServer {
    /// Listens on a Unix socket.
    package func listen(path: String) async throws -> any Channel {
        try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ScriptedConnectionHandler(self))
                }
            }
            .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
    }

    /// The reply to commands that Redis clients send first; `nil`: it is another command.
    package func answerToHandshake(_ request: Request, greeting: Greeting) -> Reply? {
        switch request {
        case .hello: .greeting(greeting)
        case .ping(let text): text.map { .bulk($0) } ?? .simple(.pong)
        case .echo(let text): .bulk(text)
        case .client(.id): .integer(1)
        case .client(.getName): .null
        case .client(.info), .client(.list): .bulk(ByteBuffer())
        case .command(.count): .integer(0)
        case .command(.docs), .configGet: .emptyMap
        case .command: .emptyArray
        case .reset: .simple(.reset)
        case .client, .select, .quit, .report: .ok
        case .setMetrics(let worker, _): .bulk(worker)
        case .metrics: .emptyArray
        case .info: .bulk(ByteBuffer())
        default: nil
        }
    }
}

private final class ScriptedConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let server: any ScriptedServer
    private var connection: ScriptedConnection?
    private var decoder = CommandDecoder(limits: WireLimits())

    init(_ server: any ScriptedServer) { self.server = server }

    func channelActive(context: ChannelHandlerContext) {
        let connection = ScriptedConnection(context.channel)
        self.connection = connection
        server.opened(connection)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let connection { server.closed(connection) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let connection else { return }
        decoder.feed(unwrapInboundIn(data))
        do {
            while let command = try decoder.next() { server.received(command, on: connection) }
        } catch {
            connection.send(.error(ReplyError(.generic, "Protocol error: \(error)")))
            connection.close()
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

extension Greeting {
    /// The greeting of scripted servers; a test names only the values that it is about.
    package static func scripted(
        proto: RESPVersion = .v3, epoch: Epoch = 1, applied: LogPosition = 0, state: SyncState = .attached,
        logMode: LogMode = .redis, table: String = "", journal: String = "",
        arena: String? = nil
    ) -> Greeting {
        Greeting(
            version: "scripted", proto: proto, clientID: 1, epoch: epoch,
            incarnation: String(repeating: "0", count: 31) + "1", applied: applied, state: state, logMode: logMode,
            table: table, journal: journal, arena: arena,
            trustWindowMilliseconds: TrustTiming.trustWindowNanoseconds / 1_000_000)
    }
}
