import IPCWire
import NIOCore
import SyncCore

/// One client's connection: decodes its requests, hands them to the daemon, and writes what comes back.
///
/// Output has three stages. `output` collects what one turn of the event loop produces and is flushed once.
/// `inChannel` counts what the kernel has not taken yet. While that is much, pushes wait in `backlog`, apart from
/// replies; a backlog beyond its limit collapses into one `epoch` push, which says all that it said. A client that
/// lets even that grow is closed. Nobody else waits for it.
final class WorkerConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let id: ClientID
    let peer: Peer
    private let daemon: Daemon
    private let limits: Limits
    private var context: ChannelHandlerContext?
    private var decoder: CommandDecoder
    private var replies = ReplyQueue()
    private var writer = RESPWriter(version: .v2)
    private var version = RESPVersion.v2
    private var backlog = RESPWriter(version: .v3)
    private var isCollapsed = false
    private var inChannel = 0
    private var isReadingPaused = false
    private var isDecoding = false
    /// A frame was malformed or the client said QUIT: what is queued is still answered, nothing more is read.
    private var isEnding = false
    private(set) var isClosed = false

    init(id: ClientID, peer: Peer, daemon: Daemon, limits: Limits) {
        self.id = id
        self.peer = peer
        self.daemon = daemon
        self.limits = limits
        decoder = CommandDecoder(limits: limits.wire)
    }

    var transport: Transport {
        Transport(requestsInFlight: replies.count, unsentBytes: unsentBytes)
    }

    private var unsentBytes: Int {
        inChannel + writer.buffer.readableBytes + backlog.buffer.readableBytes
    }

    // MARK: Reading

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
            while !isEnding, replies.count < limits.requestsInFlight, let arguments = try decoder.next() {
                handle(arguments)
            }
            setReadingPaused(replies.count >= limits.requestsInFlight)
        } catch {
            let id = replies.open()
            replies.fill(id, .error(ReplyError(.generic, "Protocol error: \(error.description)")))
            isEnding = true
            daemon.protocolError(self, error)
            drain()
        }
    }

    private func handle(_ arguments: [ByteBuffer]) {
        let request = replies.open()
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

    // MARK: Writing

    func reply(_ request: RequestID, _ reply: Reply) {
        guard !isClosed else { return }
        replies.fill(request, reply)
        drain()
    }

    private func drain() {
        while let reply = replies.next() {
            // HELLO's own answer is in the protocol that it chose.
            if case .greeting(let greeting) = reply { setVersion(greeting.proto) }
            if case .simple(.reset) = reply { setVersion(.v2) }
            reply.encode(into: &writer)
        }
        daemon.needsFlush(self)
    }

    private func setVersion(_ version: RESPVersion) {
        self.version = version
        writer = RESPWriter(version: version, buffer: writer.buffer)
    }

    /// A push for this client alone. The outcome of a fetch is an answer and never waits behind other pushes.
    func push(_ push: Push) {
        guard !isClosed else { return }
        if case .fetched = push {
            push.encode(into: &writer)
        } else if mayPushNow {
            push.encode(into: &writer)
        } else if !isCollapsed {
            backlog = RESPWriter(version: version, buffer: backlog.buffer)
            push.encode(into: &backlog)
        }
        daemon.needsFlush(self)
    }

    /// A push that was encoded once for all who track; those speak RESP3.
    func push(encoded: ByteBuffer) {
        guard !isClosed, !isCollapsed else { return }
        if mayPushNow {
            writer.buffer.writeImmutableBuffer(encoded)
        } else {
            backlog.buffer.writeImmutableBuffer(encoded)
        }
        daemon.needsFlush(self)
    }

    private var mayPushNow: Bool {
        !isCollapsed && backlog.buffer.readableBytes == 0 && inChannel < Self.comfortableBytes
    }

    /// Pushes wait apart from replies while more than this is unsent.
    private static let comfortableBytes = 256 << 10

    /// Hands the output of this turn to the channel, once.
    func flush() {
        guard !isClosed, let context else { return }
        if backlog.buffer.readableBytes > limits.waitingPushBytes {
            backlog.buffer.clear()
            isCollapsed = true
            daemon.pushesCollapsed(self)
        }
        if unsentBytes > limits.unsentBytes {
            daemon.closing(self, reason: "it does not read: \(unsentBytes) bytes are unsent")
            context.close(promise: nil)
            return
        }
        if writer.buffer.readableBytes > 0 {
            write(writer.buffer, context)
            // The channel keeps the old storage until it is sent.
            writer = RESPWriter(version: version)
        }
        if isEnding && replies.count == 0 { closeWhenSent() }
        if !isEnding, isReadingPaused, replies.count < limits.requestsInFlight / 2 { resume() }
    }

    private func write(_ buffer: ByteBuffer, _ context: ChannelHandlerContext) {
        let bytes = buffer.readableBytes
        inChannel += bytes
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [weak self] _ in self?.sent(bytes) }
        context.writeAndFlush(wrapOutboundOut(buffer), promise: promise)
    }

    private func sent(_ bytes: Int) {
        inChannel -= bytes
        guard !isClosed, inChannel < Self.comfortableBytes else { return }
        if isCollapsed {
            isCollapsed = false
            daemon.pushEpoch(self)
            daemon.turnEnded()
        } else if backlog.buffer.readableBytes > 0, let context {
            let buffer = backlog.buffer
            backlog = RESPWriter(version: version)
            write(buffer, context)
        }
    }

    private func resume() {
        decode()
        daemon.turnEnded()
    }

    // MARK: Ending

    /// Tells a client that it cannot be served, and closes.
    func refuse(_ why: String) {
        isEnding = true
        writer.error(code: ErrorCode.generic.rawValue, message: why)
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
