import DequeModule
import IPCWire
import NIOCore
import NIOPosix

/// One connection to Redis: writes commands in order, and gives each reply to whoever asked, in the same order. On
/// a connection that has subscribed, everything that nobody asked for goes to `onMessage`.
///
/// All on one event loop. It closes itself when the server sends nonsense, or leaves a command unanswered for 3 s:
/// a cut network is silent, so that only a deadline tells.
final class RedisConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    typealias ReplyHandler = (RESPValue) -> Void

    private struct Pending {
        var sentAt: NIODeadline
        var handler: ReplyHandler
    }

    private let reader: HiredisReader?
    private var context: ChannelHandlerContext?
    private var pending: Deque<Pending> = []
    private var output = ByteBuffer()
    private var unsentBytes = 0
    private var watch: RepeatedTask?
    private var isSubscriber = false
    private var lastRead = NIODeadline.now()
    private(set) var isClosed = false
    private var closeReason = "Redis closed the connection"

    var onActive: () -> Void = {}
    /// A message of a subscription: `message`, `pmessage` and its parts.
    var onMessage: ([RESPValue]) -> Void = { _ in }
    var onClosed: (String) -> Void = { _ in }

    private static let replyTimeout = TimeAmount.seconds(3)
    /// More commands without an answer, or more bytes that the server doesn't take, are refused.
    private static let maximumPending = 65_536
    private static let maximumUnsentBytes = 64 << 20

    init() { reader = HiredisReader() }

    // MARK: Sending

    /// Whether a command can be sent now.
    var hasRoom: Bool {
        !isClosed && context != nil && pending.count < Self.maximumPending && unsentBytes < Self.maximumUnsentBytes
    }

    /// Queues a command; `flush` sends it. Returns whether it was taken: if so, `handler` gets its reply unless the
    /// connection ends before.
    @discardableResult
    func send(_ arguments: [ByteBuffer], handler: @escaping ReplyHandler) -> Bool {
        guard hasRoom else { return false }
        let before = output.readableBytes
        HiredisFormatter.format(arguments, into: &output)
        unsentBytes += output.readableBytes - before
        pending.append(Pending(sentAt: .now(), handler: handler))
        return true
    }

    /// Queues a command of a subscriber: its confirmations come as messages.
    func sendSubscription(_ arguments: [ByteBuffer]) {
        guard !isClosed else { return }
        let before = output.readableBytes
        HiredisFormatter.format(arguments, into: &output)
        unsentBytes += output.readableBytes - before
    }

    /// From here on replies are messages.
    func becomeSubscriber() { isSubscriber = true }

    func flush() {
        guard output.readableBytes > 0, let context, !isClosed else { return }
        let bytes = output.readableBytes
        let buffer = output
        output = ByteBuffer()
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [weak self] _ in self?.unsentBytes -= bytes }
        context.writeAndFlush(wrapOutboundOut(buffer), promise: promise)
    }

    func close(reason: String) {
        guard !isClosed else { return }
        closeReason = reason
        context?.close(promise: nil)
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func channelActive(context: ChannelHandlerContext) {
        lastRead = .now()
        watch = context.eventLoop.scheduleRepeatedTask(initialDelay: .milliseconds(500), delay: .milliseconds(500)) {
            [bound = NIOLoopBound(self, eventLoop: context.eventLoop)] _ in bound.value.checkDeadlines()
        }
        onActive()
        flush()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosed, let reader else { return close(reason: "no memory for a reader") }
        lastRead = .now()
        do throws(MalformedServerReply) {
            try reader.feed(unwrapInboundIn(data))
            while !isClosed, let value = try reader.next() { received(value) }
        } catch {
            close(reason: "malformed reply: \(error.description)")
        }
    }

    private func received(_ value: RESPValue) {
        if isSubscriber {
            if case .array(let parts) = value {
                onMessage(parts)
            } else if case .error(let text) = value {
                close(reason: "subscription refused: \(text.escaped)")
            }
            return
        }
        guard let asker = pending.popFirst() else { return close(reason: "a reply that nobody asked for") }
        asker.handler(value)
    }

    private func checkDeadlines() {
        let now = NIODeadline.now()
        if let oldest = pending.first, now - oldest.sentAt > Self.replyTimeout {
            close(reason: "Redis has not answered for 3 s")
        } else if isSubscriber, now - lastRead > Self.replyTimeout {
            close(reason: "nothing came on the subscription for 3 s")
        } else if isSubscriber {
            sendSubscription([ByteBuffer(staticString: "PING")])
            flush()
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        guard !isClosed else { return }
        isClosed = true
        self.context = nil
        watch?.cancel()
        pending.removeAll()
        onClosed(closeReason)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        close(reason: "\(error)")
    }
}
