import IPCWire
import NIOCore
import SyncCore

/// One client's socket: hands its bytes to the loop, and writes what the loop gives it.
final class WorkerConnection: ChannelInboundHandler, ClientChannel {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let loop: EngineLoop
    private let peer: Peer
    private var id: ClientID?
    private var context: ChannelHandlerContext?

    /// Bytes that are read of one client before the others have their turn: requests of some hundred microseconds at
    /// most. A client that sends as fast as it can would otherwise have tens of thousands answered while everybody
    /// waits. The rest stays with the kernel: tasks of the event loop would go before the sockets of others.
    static let requestBuffer = FixedSizeRecvByteBufferAllocator(capacity: 4096)
    /// Bytes that are read at a time in the middle of a value, which is only copied.
    private static let argumentBuffer = FixedSizeRecvByteBufferAllocator(capacity: 65_536)
    /// A channel counts as writable while at most one byte is left.
    static let waterMark = ChannelOptions.Types.WriteBufferWaterMark(low: 1, high: 1)

    init(peer: Peer, loop: EngineLoop) {
        self.peer = peer
        self.loop = loop
    }

    // MARK: Events of the channel

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func channelActive(context: ChannelHandlerContext) { id = loop.connect(self, peer: peer) }

    // Each reading is followed by its end: one message is read at a time, so that it is a turn.
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if let id { loop.submit(.received(id, unwrapInboundIn(data))) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? ChannelEvent, event == .inputClosed else {
            return context.fireUserInboundEventTriggered(event)
        }
        if let id { loop.submit(.inputClosed(id)) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        if let id { loop.submit(.disconnected(id)) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    // MARK: Actions of the loop

    func write(_ bytes: ByteBuffer) -> Bool {
        guard let context else { return true }
        let count = bytes.readableBytes
        context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
        // Usually the kernel has accepted everything by now. A callback for it would cost four allocations.
        if context.channel.isWritable { return true }
        tellWhenSent(count, context)
        return false
    }

    func write(_ parts: [ByteBuffer]) -> Bool {
        guard let context else { return true }
        for part in parts { context.write(wrapOutboundOut(part), promise: nil) }
        tellWhenSent(parts.reduce(0) { $0 + $1.readableBytes }, context)
        return false
    }

    /// Nothing comes after what was written before: it is sent when that is.
    private func tellWhenSent(_ bytes: Int, _ context: ChannelHandlerContext) {
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [self] _ in
            if let id { loop.submit(.sent(id, bytes)) }
        }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
    }

    func setReading(_ isReading: Bool) {
        // An error here means that the channel is closing, which `channelInactive` will report.
        try? context?.channel.syncOptions?.setOption(.autoRead, value: isReading)
    }

    func setReadingArgument(_ isLong: Bool) {
        try? context?.channel.syncOptions?.setOption(
            .recvAllocator, value: isLong ? Self.argumentBuffer : Self.requestBuffer)
    }

    func close() { context?.close(promise: nil) }
}
