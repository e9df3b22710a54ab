import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix

/// SwiftNIO's HTTP codec without anything else: one event loop, one answer. The maximum for a worker.
enum ConstantServer {
    /// - Parameter drain: a cursor that is read to its end on another thread before each answer.
    static func run(port: Int, file: String, before drain: (@Sendable () -> Void)? = nil) async throws {
        let body = ByteBuffer(bytes: try Data(contentsOf: URL(fileURLWithPath: file)))
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup(numberOfThreads: 1))
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Answer(body, before: drain))
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        try await listener.closeFuture.get()
    }

    private final class Answer: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let head: HTTPResponseHead
        private let body: ByteBuffer
        private let drain: (@Sendable () -> Void)?

        init(_ body: ByteBuffer, before drain: (@Sendable () -> Void)?) {
            self.body = body
            self.drain = drain
            // The headers of a worker's hit in L1.
            head = HTTPResponseHead(
                version: .http1_1, status: .ok,
                headers: [
                    "Content-Type": "application/json; charset=utf-8", "Content-Length": "\(body.readableBytes)",
                    "ETag": "\"\(String(repeating: "a", count: 48))\"", "X-Cache": "L1",
                    "Date": "Sat, 28 Nov 2026 12:00:00 GMT", "X-Worker": "12345",
                ])
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = unwrapInboundIn(data) else { return }
            guard let drain else { return answer(context) }
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            NIOThreadPool.singleton.runIfActive(eventLoop: context.eventLoop, drain)
                .whenComplete { _ in bound.value.0.answer(bound.value.1) }
        }

        private func answer(_ context: ChannelHandlerContext) {
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }
}
