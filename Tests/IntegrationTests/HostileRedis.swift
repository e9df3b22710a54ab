import IPCWire
import NIOCore
import NIOPosix
import Synchronization
import TestSupport

/// Stands before a real Redis, and answers in its place what it is told, good or bad.
final class HostileRedis: Sendable {
    /// The treatment of a client's command.
    enum Answer: Sendable {
        /// The real server answers.
        case honest
        /// These bytes are the answer.
        case bytes(ByteBuffer)
        /// The bytes, and then the same piece again and again until the client has gone.
        case endless(ByteBuffer, piece: ByteBuffer)
        /// The bytes, and the end of the connection.
        case last(ByteBuffer)
    }

    typealias Rule = @Sendable (_ command: [ByteBuffer], _ name: String) -> Answer

    fileprivate struct State {
        var rule: Rule = { _, _ in .honest }
        var lies = 0
        var connections = 0
        var subscribers: [any Channel] = []
    }

    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let listener: any Channel
    private let state: StateBox

    /// Shared with the connections.
    fileprivate final class StateBox: Sendable {
        private let state = Mutex(State())
        func with<Result>(_ body: (inout State) -> Result) -> Result { state.withLock { body(&$0) } }
    }

    init(before redis: RedisServer) async throws {
        let state = StateBox()
        self.state = state
        let group = group
        let port = redis.portNumber
        listener = try await ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { client in
                state.with { $0.connections += 1 }
                return ClientBootstrap(group: client.eventLoop).connect(host: "127.0.0.1", port: port).flatMap {
                    server in
                    server.eventLoop.makeCompletedFuture {
                        try server.pipeline.syncOperations.addHandler(Relay(to: client))
                        try client.pipeline.syncOperations.addHandler(Liar(state: state, server: server))
                    }
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    deinit { group.shutdownGracefully { _ in } }

    var url: String { "redis://127.0.0.1:\(listener.localAddress?.port ?? 0)" }
    /// Answers that were not the real server's.
    var lies: Int { state.with { $0.lies } }
    var connections: Int { state.with { $0.connections } }

    func lie(_ rule: @escaping Rule) { state.with { $0.rule = rule } }
    func behave() { lie { _, _ in .honest } }

    /// Sends bytes that nobody asked for to every connection that has subscribed.
    func push(_ bytes: ByteBuffer) async throws {
        for channel in state.with({ $0.subscribers }) where channel.isActive {
            try? await channel.writeAndFlush(bytes)
        }
    }

    /// Looks at the commands of one client.
    private final class Liar: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let state: StateBox
        private let server: any Channel
        private var decoder = CommandDecoder(limits: WireLimits())
        private var piece: ByteBuffer?

        init(state: StateBox, server: any Channel) {
            self.state = state
            self.server = server
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            decoder.feed(unwrapInboundIn(data))
            while let command = try? decoder.next() { take(command, context) }
        }

        private func take(_ command: [ByteBuffer], _ context: ChannelHandlerContext) {
            let name = command.first.map { String(buffer: $0) } ?? ""
            let answer = state.with { state in
                if name == "SUBSCRIBE" { state.subscribers.append(context.channel) }
                let answer = state.rule(command, name)
                if case .honest = answer {} else { state.lies += 1 }
                return answer
            }
            switch answer {
            case .honest:
                var writer = RESPWriter(version: .v2)
                writer.arrayHeader(command.count)
                for argument in command { writer.bulkString(argument) }
                server.writeAndFlush(writer.buffer, promise: nil)
            case .bytes(let bytes): context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
            case .last(let bytes):
                context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
                context.close(promise: nil)
            case .endless(let bytes, let piece):
                self.piece = piece
                context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
                pour(context)
            }
        }

        /// Writes as long as the client takes it.
        private func pour(_ context: ChannelHandlerContext) {
            guard let piece, context.channel.isActive, context.channel.isWritable else { return }
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            context.writeAndFlush(wrapOutboundOut(piece)).whenSuccess { bound.value.0.pour(bound.value.1) }
        }

        func channelInactive(context: ChannelHandlerContext) { server.close(promise: nil) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    /// Hands on what the real server answers.
    private final class Relay: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let client: any Channel

        init(to client: any Channel) { self.client = client }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            client.writeAndFlush(unwrapInboundIn(data), promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) { client.close(promise: nil) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
