import IPCWire
import NIOCore

/// The origin of a request to syncd.
enum ReplyWaiter: Sendable {
    case reply(CheckedContinuation<Result<RESPValue, RequestFailure>, Never>)
    case fetch(CheckedContinuation<Result<FetchOutcome, RequestFailure>, Never>)
    /// The reply is ignored.
    case nobody

    func fail(_ failure: RequestFailure) {
        switch self {
        case .reply(let continuation): continuation.resume(returning: .failure(failure))
        case .fetch(let continuation): continuation.resume(returning: .failure(failure))
        case .nobody: break
        }
    }
}

/// Receives the events of a connection, on its event loop.
protocol ConnectionObserver: AnyObject, Sendable {
    /// Requests may be made from now on.
    func becameReady(_ connection: SyncdConnection, greeting: Greeting)
    func received(_ push: Push)
    /// Called once, after every waiting request was failed; also when the connection never became ready.
    func closed(_ connection: SyncdConnection, reason: CloseReason)
    /// The time of the heartbeat in the mapped table; `nil` if none is mapped.
    var tableHeartbeat: BootTime? { get }
}

/// Drives one ``ConnectionStateMachine``: decodes, asks it, performs its actions, and writes once per turn of the event
/// loop. Belongs to its event loop.
final class ConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var machine: ConnectionStateMachine<ReplyWaiter>
    private var decoder = RESPDecoder(limits: WireLimits())
    private var writer = RESPWriter(version: .v3)
    private let clock: WorkerClock
    private let observer: any ConnectionObserver
    private var context: ChannelHandlerContext?
    private var connection: SyncdConnection?
    private var isFlushScheduled = false
    private var isReadingValue = false

    /// Bytes to read before others on this event loop have their turn: some dozens of pushes. With NIO's 256 KiB at a
    /// time, their requests would wait for thousands of pushes during a flood of invalidations.
    static let pushBuffer = FixedSizeRecvByteBufferAllocator(capacity: 4096)
    /// Bytes to read at a time in the middle of a value, which is only copied.
    private static let valueBuffer = FixedSizeRecvByteBufferAllocator(capacity: 65_536)

    init(settings: ConnectionSettings, clock: WorkerClock, observer: any ConnectionObserver) {
        self.machine = ConnectionStateMachine(settings: settings)
        self.clock = clock
        self.observer = observer
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { open(context: context) }
    }

    func channelActive(context: ChannelHandlerContext) { open(context: context) }

    func channelInactive(context: ChannelHandlerContext) {
        giveUp(.peer)
        self.context = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { giveUp(.peer) }

    private func open(context: ChannelHandlerContext) {
        guard connection == nil else { return }
        connection = SyncdConnection(
            eventLoop: context.eventLoop, handler: NIOLoopBound(self, eventLoop: context.eventLoop))
        for request in machine.opened(now: clock.now()) { request.encode(into: &writer) }
        scheduleFlush()
        lookAtDeadlines()
    }

    /// Sends a request, if there is room for it and a connection.
    func send(_ request: Request, as kind: ReplyKind, cost: RequestCost, waiter: ReplyWaiter) {
        switch machine.requestMade(kind, cost: cost, waiter: waiter, now: clock.now()) {
        case .send:
            request.encode(into: &writer)
            scheduleFlush()
        case .refuse(let waiter, let failure): waiter.fail(failure)
        }
    }

    /// Asks for the pushes heartbeat, epoch and invalidate, or for none of them any more.
    func track(_ isOn: Bool) {
        let now = clock.now()
        switch machine.requestMade(.reply, cost: RequestCost(isUrgent: true), waiter: .nobody, now: now) {
        case .send:
            machine.setTracking(isOn, now: now)
            Request.track(isOn).encode(into: &writer)
            scheduleFlush()
        // The next connection begins with pushes.
        case .refuse: giveUp(.ours)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard connection != nil else { return }
        decoder.feed(unwrapInboundIn(data))
        do {
            while let value = try decoder.next() {
                guard handle(value) else { return }
            }
            setReadingValue(decoder.missingBytes > Self.pushBuffer.capacity, context)
        } catch {
            giveUp(.malformed)
        }
    }

    private func setReadingValue(_ isLarge: Bool, _ context: ChannelHandlerContext) {
        guard isLarge != isReadingValue else { return }
        isReadingValue = isLarge
        // An error here means that the channel is closing.
        try? context.channel.syncOptions?.setOption(
            .recvAllocator, value: isLarge ? Self.valueBuffer : Self.pushBuffer)
    }

    /// Returns whether to continue reading.
    private func handle(_ value: RESPValue) -> Bool {
        switch machine.received(value, now: clock.now()) {
        case .nothing: break
        case .becomeReady(let greeting):
            guard let connection else { break }
            observer.becameReady(connection, greeting: greeting)
        case .resume(.reply(let continuation), let value): continuation.resume(returning: .success(value))
        case .resumeConfirmed(.reply(let continuation)):
            continuation.resume(returning: .success(.simpleString(ByteBuffer(string: "OK"))))
        case .resumeFetch(.fetch(let continuation), let outcome): continuation.resume(returning: .success(outcome))
        case .resume(let waiter, _), .resumeConfirmed(let waiter), .resumeFetch(let waiter, _):
            // Only `nobody` is left: kind and waiter are chosen together.
            waiter.fail(.unanswered)
        case .deliver(let push): observer.received(push)
        case .close(let reason):
            giveUp(reason)
            return false
        }
        return true
    }

    /// Ends the connection. Every waiting request fails, and further input is ignored.
    func giveUp(_ reason: CloseReason) {
        guard let connection else { return }
        self.connection = nil
        for waiter in machine.closed() { waiter.fail(.unanswered) }
        observer.closed(connection, reason: reason)
        context?.close(promise: nil)
    }

    // MARK: Writing

    private func scheduleFlush() {
        guard !isFlushScheduled, let context else { return }
        isFlushScheduled = true
        let handler = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.execute { handler.value.flush() }
    }

    private func flush() {
        isFlushScheduled = false
        guard let context, connection != nil, writer.buffer.readableBytes > 0 else { return }
        let output = writer.buffer
        writer = RESPWriter(version: .v3)
        context.writeAndFlush(wrapOutboundOut(output), promise: nil)
    }

    // MARK: Deadlines

    /// Sets a single callback for all deadlines, for at most the time that a reply may take: later requests are due later.
    private func lookAtDeadlines() {
        switch machine.timePassed(now: clock.now(), tableHeartbeat: observer.tableHeartbeat) {
        case .nothing: break
        case .close(let reason): giveUp(reason)
        case .wait(let deadline):
            guard let context else { return }
            let handler = NIOLoopBound(self, eventLoop: context.eventLoop)
            clock.schedule(context.eventLoop, deadline) { handler.value.lookAtDeadlines() }
        }
    }
}
