import IPCWire
import NIOCore
import NIOPosix

/// An open connection to syncd, for use from any thread. A lease belongs to the connection that got it.
struct SyncdConnection: Sendable {
    private let eventLoop: any EventLoop
    private let handler: NIOLoopBound<ConnectionHandler>
    private let identity: ObjectIdentifier

    /// Must be called on the event loop.
    init(eventLoop: any EventLoop, handler: NIOLoopBound<ConnectionHandler>) {
        self.eventLoop = eventLoop
        self.handler = handler
        self.identity = ObjectIdentifier(handler.value)
    }

    /// Connects to a Unix socket.
    static func connect(
        path: String, eventLoop: any EventLoop, makeHandler: @escaping @Sendable () -> any ChannelHandler
    ) async throws -> any Channel {
        try await ClientBootstrap(group: eventLoop)
            .connectTimeout(.nanoseconds(Int64(TrustTiming.silenceNanoseconds)))
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.recvAllocator, value: ConnectionHandler.pushBuffer)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(makeHandler())
                }
            }
            .connect(unixDomainSocketPath: path)
            .get()
    }

    /// Whether both are the same connection.
    func isSame(as other: SyncdConnection?) -> Bool { other?.identity == identity }

    /// Requests a key. An unreadable reply or an error is a miss.
    func fetch(_ key: CacheKey, waitMilliseconds: UInt64) async -> Result<FetchOutcome, RequestFailure> {
        await withCheckedContinuation { continuation in
            submit(
                .fetch(key: key.bytes, waitMilliseconds: waitMilliseconds == 0 ? nil : waitMilliseconds),
                as: .fetch(waitNanoseconds: waitMilliseconds * 1_000_000),
                cost: RequestCost(bytes: key.bytes.readableBytes), waiter: .fetch(continuation))
        }
    }

    /// Asks for permission to load anew a value that may live for `ttlMilliseconds` still. An older syncd does not know the
    /// question: a miss.
    func renew(_ key: CacheKey, ttlMilliseconds: UInt64) async -> Result<FetchOutcome, RequestFailure> {
        await withCheckedContinuation { continuation in
            submit(
                .renew(key: key.bytes, ttlMilliseconds: ttlMilliseconds), as: .fetch(waitNanoseconds: 0),
                cost: RequestCost(bytes: key.bytes.readableBytes), waiter: .fetch(continuation))
        }
    }

    /// Sends any request that has one reply.
    func request(
        _ request: Request, as kind: ReplyKind = .reply, cost: RequestCost = RequestCost()
    ) async -> Result<RESPValue, RequestFailure> {
        await withCheckedContinuation { continuation in
            submit(request, as: kind, cost: cost, waiter: .reply(continuation))
        }
    }

    /// Sends a request and ignores its reply.
    func tell(_ request: Request) {
        submit(request, as: .reply, cost: RequestCost(), waiter: .nobody)
    }

    /// Switches the pushes heartbeat, epoch and invalidate on or off.
    func track(_ isOn: Bool) {
        onEventLoop { $0.track(isOn) }
    }

    /// Ends the connection.
    func close() {
        onEventLoop { $0.giveUp(.ours) }
    }

    private func submit(_ request: Request, as kind: ReplyKind, cost: RequestCost, waiter: ReplyWaiter) {
        onEventLoop { $0.send(request, as: kind, cost: cost, waiter: waiter) }
    }

    private func onEventLoop(_ body: @escaping @Sendable (ConnectionHandler) -> Void) {
        if eventLoop.inEventLoop {
            body(handler.value)
        } else {
            eventLoop.execute { body(handler.value) }
        }
    }
}
