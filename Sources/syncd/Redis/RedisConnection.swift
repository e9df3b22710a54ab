import DequeModule
import EngineHosting
import IPCWire
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS

/// One connection to Redis: writes commands in order, and passes each reply to the command's handler, in the same
/// order. On a connection that has subscribed, every other message goes to `onMessage`.
///
/// All on one event loop. It closes itself when the server sends nonsense, or is silent for too long (``TrafficWatch``).
final class RedisConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    typealias ReplyHandler = (RESPValue) -> Void

    /// Progress of a connection.
    enum Stage {
        case new
        /// The addresses of the host are unknown yet.
        case lookingUp
        case connecting
        case handshaking
        case open
    }

    private let eventLoop: any EventLoop
    /// `nil`: no TLS.
    private let tls: TLSContextSource?
    private let reader: HiredisReader?
    private var context: ChannelHandlerContext?
    /// One for each command that is not answered.
    private var handlers: Deque<ReplyHandler> = []
    /// One for each command of a subscriber that is not confirmed: what is done with the error that may come instead.
    private var refusals: Deque<(ByteBuffer) -> Void> = []
    private var traffic = TrafficWatch(now: .now())
    private var output = ByteBuffer()
    private(set) var unsentBytes = 0
    private var watch: RepeatedTask?
    private var isSubscriber = false
    /// Whether anything was received; over TLS, after the handshake.
    private(set) var hasRead = false
    private(set) var stage = Stage.new { didSet { stageBegins[stage] = .now() } }
    /// Time when each stage began.
    private(set) var stageBegins: [Stage: NIODeadline] = [:]
    private(set) var isClosed = false
    /// Whether received data are being delivered.
    private(set) var isReading = false

    /// The addresses of the host are known: connecting ends by itself from now on.
    var onConnecting: () -> Void = {}
    var onActive: () -> Void = {}
    /// TLS has proved who the server is.
    var onHandshake: () -> Void = {}
    /// Called with a message of a subscription: `message`, `pmessage`, `smessage` and its parts, and confirmations.
    var onMessage: ([RESPValue]) -> Void = { _ in }
    /// Called when all received data have been delivered.
    var onChunkEnd: () -> Void = {}
    /// Called once, at the end.
    var onClosed: (ConnectionLoss) -> Void = { _ in }
    /// Cancels the attempt to connect.
    var cancelConnecting: () -> Void = {}

    /// Maximum number of unanswered commands, and of bytes that the server has not accepted.
    private static let maximumPending = 65_536
    private static let maximumUnsentBytes = 64 << 20
    /// Maximum number of unconfirmed subscription commands: every client's channels, several times over.
    private static let maximumConfirmations = 262_144
    /// Maximum initial capacity of the next turn's output, in bytes.
    private static let keptCapacity = 16_384
    /// The first byte of a TLS alert.
    private static let alertOfTLS: UInt8 = 0x15
    private static let silentEnd = "Redis closed the connection without a word: is this its TLS port (rediss://)?"

    init(eventLoop: any EventLoop, tls: TLSContextSource?) {
        self.eventLoop = eventLoop
        self.tls = tls
        reader = HiredisReader()
    }

    var usesTLS: Bool { tls != nil }

    /// `nil`: the connection has no TLS, or is not open.
    var tlsSession: TLSSession? {
        guard stage == .open, let pipeline = context?.pipeline.syncOperations,
            let handler = try? pipeline.handler(type: NIOSSLClientHandler.self)
        else { return nil }
        return TLSSession(handler, try? pipeline.handler(type: CipherWitness.self))
    }

    // MARK: Connecting

    func beginLookup() { stage = .lookingUp }

    func beginConnecting() {
        stage = .connecting
        onConnecting()
    }

    // MARK: Sending

    /// Whether a command can be sent now.
    var hasRoom: Bool {
        !isClosed && context != nil && handlers.count < Self.maximumPending && unsentBytes < Self.maximumUnsentBytes
    }

    /// Whether output is queued.
    var hasOutput: Bool { output.readableBytes > 0 }

    /// Queues a command; `flush` sends it. Returns whether it was accepted. If so, `handler` gets its reply unless the
    /// connection ends before.
    @discardableResult
    func send(_ arguments: [ByteBuffer], handler: @escaping ReplyHandler) -> Bool {
        guard hasRoom else { return false }
        write(arguments)
        handlers.append(handler)
        traffic.sent(now: .now())
        return true
    }

    /// Queues a subscription command: its confirmations come as messages. `onRefused` gets the error that may come
    /// instead.
    func sendSubscription(_ arguments: [ByteBuffer], onRefused: @escaping (ByteBuffer) -> Void = { _ in }) {
        guard !isClosed, arguments.count > 1 else { return }
        guard refusals.count < Self.maximumConfirmations, unsentBytes < Self.maximumUnsentBytes else {
            return close(reason: "too many subscriptions wait for Redis")
        }
        write(arguments)
        refusals.append(onRefused)
        traffic.sentSubscription(channels: arguments.count - 1, now: .now())
    }

    private func sendPing() {
        write([.word("PING")])
        refusals.append { _ in }
        traffic.sentPing(now: .now())
    }

    /// The server is asked something over the other connection.
    func askedElsewhere(now: NIODeadline) { traffic.askedElsewhere(now: now) }

    private func write(_ arguments: [ByteBuffer]) {
        var writer = RESPWriter(version: .v2, buffer: output)
        // Afterwards the writer is the only owner: shared memory would be copied.
        output = ByteBuffer()
        let before = writer.buffer.readableBytes
        writer.command(arguments)
        unsentBytes += writer.buffer.readableBytes - before
        output = writer.buffer
    }

    /// From here on replies are messages.
    func becomeSubscriber() {
        isSubscriber = true
        traffic.becomeSubscriber()
    }

    /// Sends the queued output. Nothing is sent before the server has proved its identity: the first command has the
    /// password.
    func flush() {
        guard output.readableBytes > 0, stage == .open, let context, !isClosed else { return }
        let bytes = output.readableBytes
        let buffer = output
        output = ByteBuffer()
        // Commands come in bursts of similar size.
        output.reserveCapacity(min(buffer.storageCapacity, Self.keptCapacity))
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        // Usually the kernel has accepted everything by now. A callback for it would cost allocations.
        guard !context.channel.isWritable else {
            unsentBytes -= bytes
            return
        }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [weak self] _ in self?.unsentBytes -= bytes }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
    }

    // MARK: Ending

    /// Ends the connection, also while it is still being made. Later input is ignored, and the callback runs later: the
    /// caller may be in the middle of performing effects.
    func close(_ loss: ConnectionLoss) {
        guard !isClosed else { return }
        let context = self.context
        end()
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute { bound.value.tell(loss) }
        context?.close(promise: nil)
    }

    func close(reason: String) { close(ConnectionLoss(reason)) }

    private func end() {
        isClosed = true
        cancelConnecting()
        cancelConnecting = {}
        context = nil
        watch?.cancel()
        handlers.removeAll()
        refusals.removeAll()
    }

    private func tell(_ loss: ConnectionLoss) {
        let onClosed = self.onClosed
        // The callbacks hold references to their owner, and to this connection.
        self.onClosed = { _ in }
        onConnecting = {}
        onActive = {}
        onHandshake = {}
        onMessage = { _ in }
        onChunkEnd = {}
        onClosed(loss)
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin(context) }
    }

    func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard !isClosed, watch == nil else { return }
        cancelConnecting = {}
        stage = tls == nil ? .open : .handshaking
        traffic.read(now: .now())
        let interval = TrafficWatch.interval
        watch = context.eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) {
            [bound = NIOLoopBound(self, eventLoop: context.eventLoop)] _ in bound.value.checkDeadlines()
        }
        onActive()
        flush()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSUserEvent {
            stage = .open
            onHandshake()
            flush()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosed else { return }
        guard let reader else { return close(reason: "no memory for a reader") }
        let bytes = unwrapInboundIn(data)
        if !hasRead, tls == nil, bytes.getInteger(at: bytes.readerIndex) == Self.alertOfTLS {
            return close(ConnectionLoss("the server speaks TLS on this port: use rediss://", isDenied: true))
        }
        hasRead = true
        traffic.read(now: .now())
        isReading = true
        let onChunkEnd = self.onChunkEnd
        defer {
            isReading = false
            onChunkEnd()
        }
        do throws(MalformedServerReply) {
            try reader.feed(bytes)
            while !isClosed, let value = try reader.next() { received(value) }
        } catch {
            var loss = ConnectionLoss("malformed reply: \(error.description): is this Redis?")
            loss.isTooLong = error.isTooLong
            close(loss)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        guard !isClosed else { return }
        end()
        tell(ConnectionLoss(isSilent ? Self.silentEnd : "Redis closed the connection"))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let handler = try? context.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
        let loss = ConnectionLoss(tls: error, certificate: handler?.peerCertificate, faults: tls?.faults())
        close(loss ?? (isSilent ? ConnectionLoss(Self.silentEnd) : ConnectionLoss(broken: error)))
    }

    /// Nothing was ever received over this connection, which is without TLS.
    private var isSilent: Bool { !hasRead && tls == nil }

    private func checkDeadlines() {
        switch traffic.check(now: .now()) {
        case .fine: break
        case .ping:
            sendPing()
            flush()
        case .silent(let why): close(reason: why)
        }
    }

    // MARK: Replies

    private func received(_ value: RESPValue) {
        if isSubscriber { return receivedBySubscriber(value) }
        if let handler = handlers.popFirst() {
            traffic.answered()
            return handler(value)
        }
        if case .error(let text) = value {
            close(ConnectionLoss(redisError: text))
        } else {
            close(reason: "a reply that nobody asked for")
        }
    }

    private func receivedBySubscriber(_ value: RESPValue) {
        switch value {
        case .array(let parts):
            guard case .bulkString(let kind)? = parts.first else {
                return close(reason: "a message without a kind")
            }
            // syncd never asks for it, and the connection stays open: the subscription would be lost without a word.
            if kind == ReplyDecoding.shardUnsubscribeWord {
                return close(reason: "the slot of the log has left this node (sunsubscribe)")
            }
            if !ReplyDecoding.isMessage(kind) {
                switch traffic.confirmed() {
                case .unexpected: return close(reason: "a confirmation that nobody asked for")
                case .partial: break
                case .last: refusals.removeFirst()
                }
            }
            onMessage(parts)
        case .error(let text):
            guard let refused = refusals.popFirst() else { return close(ConnectionLoss(redisError: text)) }
            traffic.refused()
            refused(text)
        default: close(reason: "an unexpected reply to a subscriber")
        }
    }
}
