import NIOCore
import NIOHTTP1

/// The next step for a request whose head has arrived.
enum Beginning: Sendable {
    /// The response; a body of the request is not read.
    case answered(Response)
    /// The response depends on the body.
    case needsBody
    /// The response takes time.
    case needsTime
}

/// The application behind a server. Both functions run on the event loop of the connection.
struct Answering: Sendable {
    /// Looks at a request whose body has not arrived. It must not block.
    var begin: @Sendable (Request, any Channel) -> Beginning
    /// Answers a request for which ``begin`` had no response, also with errors.
    var respond: @Sendable (Request) async -> Response
    /// The response to a request that the server itself refuses.
    var refuse: @Sendable (Request, Refusal) -> Response
    /// Called once for each response, when it is known.
    var count: @Sendable (Request, Response) -> Void = { _, _ in }
}

/// The reason why a server refuses a request.
enum Refusal: Sendable {
    /// The request's body is longer than allowed.
    case bodyTooLarge
    /// The request's body is truncated, or its framing is invalid.
    case bodyMalformed
    /// Too many long responses are being sent, to clients that read them.
    case busy
}

/// Answers the requests of one connection, one after the other: the guard and NIO's pipelining stand before it. The
/// handler belongs to the connection's event loop.
///
/// A response that is known at once is written in the same turn, without a task. Others are tasks on the event loop.
final class RequestHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let answering: Answering
    private let connections: OpenConnections
    private let sending: SendingBodies
    private let executor: EventLoopExecutor
    private let limits: HTTPLimits
    /// The request whose body arrives. Other parts of bodies are dropped.
    private var reading: Request?
    /// A response is being written: the next request, which NIO delivers in the middle of this, gets a task, so that
    /// pipelined requests take no stack.
    private var isWriting = false
    private var needsFlush = false
    /// A response has told the client that the connection closes: requests behind it are not carried out.
    private var isOver = false
    private var isReadDue = false
    private var whenWritable: CheckedContinuation<Void, Never>?
    /// The task of a request that changes nothing; it ends when the client has left.
    private var read: Task<Void, Never>?
    private var context: ChannelHandlerContext?

    init(
        _ answering: Answering, connections: OpenConnections, sending: SendingBodies, executor: EventLoopExecutor,
        limits: HTTPLimits
    ) {
        self.answering = answering
        self.connections = connections
        self.sending = sending
        self.executor = executor
        self.limits = limits
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { end() }

    func channelInactive(context: ChannelHandlerContext) { end() }

    private func end() {
        read?.cancel()
        (context, reading, read) = (nil, nil, nil)
        resumeWriting()
    }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isOver else { return }
        switch unwrapInboundIn(data) {
        case .head(let head): begin(Request(head: head), context)
        case .body(let part):
            guard var request = reading else { return }
            reading = nil
            guard request.body.readableBytes + part.readableBytes <= limits.bodyBytes else {
                return answer(request, answering.refuse(request, .bodyTooLarge), context)
            }
            if request.body.readableBytes == 0 { request.body = part } else { request.body.writeImmutableBuffer(part) }
            reading = request
        case .end:
            guard let request = reading else { return }
            reading = nil
            start(request, context)
        }
    }

    private func begin(_ request: Request, _ context: ChannelHandlerContext) {
        switch answering.begin(request, context.channel) {
        case .answered(let response): answer(request, response, context)
        case .needsBody:
            reading = request
            guard request.headers.contains(name: "expect"), request.head.mayContinue(limits.bodyBytes) else { return }
            put(.head(HTTPResponseHead(version: .http1_1, status: .continue)))
            needsFlush = true
        case .needsTime: start(request, context)
        }
    }

    private func answer(_ request: Request, _ response: Response, _ context: ChannelHandlerContext) {
        let outgoing = outgoing(response, to: request)
        guard !isWriting, context.channel.isWritable, outgoing.isShort else {
            run { handler in await handler.send(outgoing) }
            return
        }
        isWriting = true
        defer { isWriting = false }
        write(outgoing)
        needsFlush = true
    }

    private func start(_ request: Request, _ context: ChannelHandlerContext) {
        let task = run { [answering] handler in
            let response = await answering.respond(request)
            guard !Task.isCancelled else { return }
            await handler.send(response, to: request)
        }
        if request.method == .GET || request.method == .HEAD { read = task }
    }

    /// The response that is sent, counted: another one if there is no room for a long body.
    private func outgoing(_ response: Response, to request: Request) -> Outgoing {
        var (response, place) = (response, SendingBodies.Place?.none)
        if request.method != .HEAD, case .bytes(let body) = response.body, body.readableBytes > limits.progressBytes,
            let context
        {
            place = sending.begin(body, on: context.channel)
            if place == nil { response = answering.refuse(request, .busy) }
        }
        answering.count(request, response)
        return Outgoing(head: response.head, body: request.method == .HEAD ? .none : response.body, place: place)
    }

    /// Runs a task on the event loop. The server waits for it at its end, also when the client has left.
    @discardableResult
    private func run(_ body: @escaping @Sendable (HandlerOnLoop) async -> Void) -> Task<Void, Never>? {
        guard let context else { return nil }
        let this = HandlerOnLoop(self, context.eventLoop)
        connections.taskBegan()
        return Task(executorPreference: executor) { [connections] in
            await body(this)
            connections.taskEnded()
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if needsFlush {
            needsFlush = false
            context.flush()
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard error is HTTPParserError else { return context.close(promise: nil) }
        guard let request = reading else { return }
        reading = nil
        answer(request, answering.refuse(request, .bodyMalformed), context)
        channelReadComplete(context: context)
    }

    // MARK: Responses

    /// A client that does not read its responses sends no further requests.
    func read(context: ChannelHandlerContext) {
        if context.channel.isWritable { context.read() } else { isReadDue = true }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        guard context.channel.isWritable else { return }
        resumeWriting()
        if isReadDue {
            isReadDue = false
            context.read()
        }
    }

    private func resumeWriting() {
        whenWritable?.resume()
        whenWritable = nil
    }

    /// A response on its way to the client.
    private struct Outgoing: Sendable {
        let head: HTTPResponseHead
        let body: Response.Body
        /// The room of a long body; `nil`: it is short, or comes in parts.
        let place: SendingBodies.Place?

        /// Whether it is written in one step.
        var isShort: Bool { if case .parts = body { false } else { place == nil } }
    }

    private func write(_ outgoing: Outgoing) {
        put(.head(outgoing.head))
        if case .bytes(let body) = outgoing.body, body.readableBytes > 0 { put(.body(.byteBuffer(body))) }
        put(.end(nil))
    }

    /// Writes the last part of a long body, which keeps its room until the kernel has it.
    private func putLast(_ part: ByteBuffer, _ place: SendingBodies.Place?) {
        guard let context else { return }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.whenComplete { _ in withExtendedLifetime(place) {} }
        put(.body(.byteBuffer(part)), promise)
    }

    /// A handler as a task sees it that runs on the event loop.
    private struct HandlerOnLoop: Sendable {
        private let bound: NIOLoopBound<RequestHandler>

        init(_ handler: RequestHandler, _ eventLoop: any EventLoop) {
            bound = NIOLoopBound(handler, eventLoop: eventLoop)
        }

        /// Sends a response when the client has read enough of the earlier ones.
        func send(_ response: Response, to request: Request) async {
            await send(bound.value.outgoing(response, to: request))
        }

        func send(_ outgoing: Outgoing) async {
            await writable()
            switch outgoing.body {
            case .parts(let next):
                bound.value.put(.head(outgoing.head))
                while let parts = await next() {
                    for part in parts { bound.value.put(.body(.byteBuffer(part))) }
                    bound.value.context?.flush()
                    await writable()
                }
                bound.value.finish { $0.put(.end(nil)) }
            case .bytes(let body) where !outgoing.isShort:
                bound.value.put(.head(outgoing.head))
                await send(body, outgoing.place)
                bound.value.finish { $0.put(.end(nil)) }
            default: bound.value.finish { $0.write(outgoing) }
            }
        }

        /// Sends a long body part by part, as the client reads: one that has left costs no more than a part.
        private func send(_ body: ByteBuffer, _ place: SendingBodies.Place?) async {
            var rest = body
            let bytes = bound.value.limits.progressBytes
            while rest.readableBytes > bytes, bound.value.context != nil, let part = rest.readSlice(length: bytes) {
                bound.value.finish { $0.put(.body(.byteBuffer(part))) }
                await writable()
            }
            bound.value.putLast(rest, place)
        }

        private func writable() async {
            guard let context = bound.value.context, !context.channel.isWritable else { return }
            await withCheckedContinuation { bound.value.whenWritable = $0 }
        }
    }

    private func put(_ part: HTTPServerResponsePart, _ promise: EventLoopPromise<Void>? = nil) {
        if case .head(let head) = part { isOver = head.headers.contains(name: "connection") }
        context?.write(wrapOutboundOut(part), promise: promise)
    }

    private func finish(_ write: (RequestHandler) -> Void) {
        write(self)
        context?.flush()
    }
}
