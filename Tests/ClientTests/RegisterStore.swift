import DequeModule
import IPCWire
import NIOCore
import NIOPosix
import TestSupport

/// A connection to the database of these tests: registers in a real Redis, read by GET and written by INCR, so that
/// every write has a separate number.
final class RegisterStore: Sendable {
    private let channel: any Channel

    private init(_ channel: any Channel) { self.channel = channel }

    static func connect(_ path: String) async throws -> RegisterStore {
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ReplyHandler())
                }
            }
        return RegisterStore(try await bootstrap.connect(unixDomainSocketPath: path).get())
    }

    /// The register's value; `nil`: it was never written.
    func read(_ key: String) async throws -> ByteBuffer? {
        switch try await ask("GET", key) {
        case .bulkString(let value): return value
        case .null: return nil
        case let other: throw TestFailure("GET: \(other.errorText ?? "\(other)")")
        }
    }

    /// Counts a register up and returns its value.
    func write(_ key: String) async throws -> Int {
        let reply = try await ask("INCR", key)
        guard let value = reply.number else { throw TestFailure("INCR: \(reply.errorText ?? "\(reply)")") }
        return value
    }

    func close() { channel.close(promise: nil) }

    private func ask(_ words: String...) async throws -> RESPValue {
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(words.count)
        for word in words { writer.bulkString(word) }
        let question = Question(bytes: writer.buffer, reply: channel.eventLoop.makePromise())
        channel.writeAndFlush(question, promise: nil)
        return try await question.reply.futureResult.get()
    }
}

private struct Question: Sendable {
    var bytes: ByteBuffer
    var reply: EventLoopPromise<RESPValue>
}

/// Gives each reply to the question whose turn it is.
private final class ReplyHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = Question
    typealias OutboundOut = ByteBuffer

    private var decoder = RESPDecoder(limits: WireLimits())
    private var waiting: Deque<EventLoopPromise<RESPValue>> = []

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let question = unwrapOutboundIn(data)
        guard context.channel.isActive else { return question.reply.fail(TestFailure("the database is gone")) }
        waiting.append(question.reply)
        context.write(wrapOutboundOut(question.bytes), promise: promise)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        decoder.feed(unwrapInboundIn(data))
        do {
            while let value = try decoder.next() { waiting.popFirst()?.succeed(value) }
        } catch {
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        while let promise = waiting.popFirst() { promise.fail(TestFailure("the database is gone")) }
    }
}
