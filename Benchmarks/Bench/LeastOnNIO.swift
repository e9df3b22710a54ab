import IPCWire
import Least
import NIOCore
import NIOPosix
import TestSupport

/// The least process (`Benchmarks/Least`) on SwiftNIO's event loop and pipeline: what stands between a client and Redis at
/// least if it is written as syncd is.
struct LeastOnNIO {
    let redis: String
    let channel: String?
    /// The command, encoded.
    let append: [UInt8]
    let number: UnsafeMutablePointer<UInt64>

    /// Serves one client at a time, until a connection to Redis ends.
    func run(socket: String) async throws {
        let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
        let commands = Frames()
        let commandsChannel = try await connect(commands, loop)
        if let channel {
            let subscription = Frames()
            subscription.received = { [number] frame in
                // The payload is the incarnation, the position and the body.
                guard case .array(let parts) = frame, parts.count == 3, case .bulkString(let payload) = parts[2],
                    let words = Optional(String(buffer: payload).split(separator: " ", maxSplits: 2)), words.count > 1
                else { return }
                least_store(number, UInt64(words[1]) ?? 0)
            }
            let connection = try await connect(subscription, loop)
            try await connection.writeAndFlush(ByteBuffer(bytes: Wire.encoded("SUBSCRIBE", channel)))
        }
        let request = ByteBuffer(bytes: append)
        // Unchecked: the number is accessed by atomics, and is never unmapped.
        nonisolated(unsafe) let number = number
        _ = try await ServerBootstrap(group: loop)
            .childChannelInitializer { client in
                client.eventLoop.makeCompletedFuture {
                    let frames = Frames()
                    frames.received = { _ in commandsChannel.write(request, promise: nil) }
                    frames.readingEnded = { commandsChannel.flush() }
                    commands.received = { frame in
                        guard case .array(let parts) = frame, parts.count == 3, case .bulkString(let text) = parts[2]
                        else { return }
                        let position = String(buffer: text)
                        least_store(number, UInt64(position) ?? 0)
                        client.writeAndFlush(ByteBuffer(string: ":\(position)\r\n"), promise: nil)
                    }
                    try client.pipeline.syncOperations.addHandler(frames)
                }
            }
            .bind(unixDomainSocketPath: socket).get()
        try await commandsChannel.closeFuture.get()
    }

    private func connect(_ frames: Frames, _ loop: any EventLoop) async throws -> any Channel {
        try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(frames) }
            }
            .connect(unixDomainSocketPath: redis).get()
    }
}

/// The frames of one connection.
// Unchecked: it is used on the one event loop.
private final class Frames: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer

    private var decoder = RESPDecoder(limits: WireLimits())
    var received: (RESPValue) -> Void = { _ in }
    var readingEnded: () -> Void = {}

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        decoder.feed(unwrapInboundIn(data))
        while let frame = try? decoder.next() { received(frame) }
    }

    func channelReadComplete(context: ChannelHandlerContext) { readingEnded() }
}
