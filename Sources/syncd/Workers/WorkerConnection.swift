import IPCWire
import NIOCore
import SyncCore

/// One client's connection: decodes its requests, hands them to the daemon, and writes what comes back, as
/// ``ClientOutput`` decides.
final class WorkerConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let id: ClientID
    let peer: Peer
    private let daemon: Daemon
    private let limits: Limits
    private var context: ChannelHandlerContext?
    private var decoder: CommandDecoder
    private let output: ClientOutput
    private var isReadingPaused = false
    private var isReadingArgument = false
    private var isDecoding = false
    /// A frame was malformed or the client said QUIT: what is queued is still answered, nothing more is read.
    private var isEnding = false
    private(set) var isClosed = false
    /// It is among those that are flushed at the end of the turn.
    var isFlushDue = false

    init(id: ClientID, peer: Peer, daemon: Daemon, limits: Limits) {
        self.id = id
        self.peer = peer
        self.daemon = daemon
        self.limits = limits
        decoder = CommandDecoder(limits: limits.wire)
        output = ClientOutput(limits: limits)
    }

    var transport: Transport { output.transport }

    // MARK: Reading

    /// What is read of one client before the others have their turn: requests of some hundred microseconds at most. Who
    /// sends as fast as he can would otherwise have tens of thousands answered while everybody waits. The rest stays
    /// with the kernel: tasks of the event loop would go before the sockets of others.
    static let requestBuffer = FixedSizeRecvByteBufferAllocator(capacity: 4096)
    /// The same in the middle of a value, of which nothing but a copy is made.
    private static let argumentBuffer = FixedSizeRecvByteBufferAllocator(capacity: 65_536)

    /// A channel counts as writable while the kernel has taken everything but a byte.
    static let waterMark = ChannelOptions.Types.WriteBufferWaterMark(low: 1, high: 1)

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func channelActive(context: ChannelHandlerContext) { daemon.connectionOpened(self) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isEnding else { return }
        decoder.feed(unwrapInboundIn(data))
        decode()
    }

    func channelReadComplete(context: ChannelHandlerContext) { daemon.turnEnded() }

    /// Takes requests until there are no more, or too many are not answered yet.
    private func decode() {
        guard !isDecoding else { return }
        isDecoding = true
        defer { isDecoding = false }
        do throws(RESPError) {
            while !isEnding, output.hasRoomForRequest, let arguments = try decoder.next() { handle(arguments) }
            setReadingPaused(!output.hasRoomForRequest)
            setReadingArgument(decoder.missingBytes > Self.requestBuffer.capacity)
        } catch {
            let id = output.open()
            output.reply(id, .error(ReplyError(.generic, "Protocol error: \(error.description)")))
            isEnding = true
            daemon.protocolError(self, error)
            daemon.needsFlush(self)
        }
    }

    private func handle(_ arguments: [ByteBuffer]) {
        let request = output.open()
        do throws(ReplyError) {
            let parsed = try Request.parse(arguments, limits: limits.wire)
            daemon.request(self, request, parsed)
        } catch {
            reply(request, .error(error))
        }
    }

    private func setReadingPaused(_ isPaused: Bool) {
        guard isPaused != isReadingPaused, !isClosed, let context else { return }
        isReadingPaused = isPaused
        // An error here means that the channel is closing, which `channelInactive` will tell.
        try? context.channel.syncOptions?.setOption(.autoRead, value: !isPaused)
    }

    private func setReadingArgument(_ isLarge: Bool) {
        guard isLarge != isReadingArgument, !isClosed, let context else { return }
        isReadingArgument = isLarge
        try? context.channel.syncOptions?.setOption(
            .recvAllocator, value: isLarge ? Self.argumentBuffer : Self.requestBuffer)
    }

    // MARK: Writing

    func reply(_ request: RequestID, _ reply: Reply) {
        guard !isClosed else { return }
        output.reply(request, reply)
        daemon.needsFlush(self)
    }

    /// A push for this client alone.
    func push(_ push: Push) {
        guard !isClosed else { return }
        output.push(push)
        daemon.needsFlush(self)
    }

    /// A push that was encoded once for all who track; those speak RESP3.
    func push(encoded: ByteBuffer) {
        guard !isClosed else { return }
        output.push(encoded: encoded)
        daemon.needsFlush(self)
    }

    /// Hands the output of this turn to the channel, once.
    func flush() {
        guard !isClosed, let context else { return }
        let (action, hasCollapsed) = output.flush()
        if hasCollapsed { daemon.pushesCollapsed(self) }
        switch action {
        case .nothing: break
        case .write(let buffer): write(buffer, context)
        case .close(let bytes):
            daemon.closing(self, reason: "it does not read: \(bytes) bytes are unsent")
            context.close(promise: nil)
            return
        }
        if isEnding && output.requestsInFlight == 0 { closeWhenSent() }
        resumeIfPossible()
    }

    private func write(_ buffer: ByteBuffer, _ context: ChannelHandlerContext) {
        let bytes = buffer.readableBytes
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        // The kernel has mostly taken everything by now. To hear of it later costs four pieces of memory.
        if context.channel.isWritable { return sent(bytes) }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [self] _ in sent(bytes) }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
    }

    private func sent(_ bytes: Int) {
        let action = output.sent(bytes)
        guard !isClosed, let context else { return }
        // What has waited goes before what is asked for now.
        switch action {
        case .nothing: break
        case .pushEpoch:
            daemon.pushEpoch(self)
            daemon.turnEnded()
        case .write(let buffer): write(buffer, context)
        }
        resumeIfPossible()
    }

    /// Goes on with what was read already, and then with reading.
    private func resumeIfPossible() {
        guard isReadingPaused, !isEnding, !isClosed, output.mayResume else { return }
        decode()
        daemon.turnEnded()
    }

    // MARK: Ending

    /// Tells a client that it cannot be served, and closes.
    func refuse(_ why: String) {
        isEnding = true
        output.refuse(why)
        flush()
    }

    /// Closes after everything that was asked before has been answered.
    func endAfterReplies() {
        isEnding = true
        daemon.needsFlush(self)
    }

    private func closeWhenSent() {
        guard let context, !isClosed else { return }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()))
            .assumeIsolated().whenComplete { _ in context.close(promise: nil) }
    }

    func close() { context?.close(promise: nil) }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        self.context = nil
        daemon.connectionClosed(self)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
