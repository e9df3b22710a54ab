import NIOCore
import NIOHTTP1

/// Keeps one HTTP connection within its limits, and says in JSON what is wrong with what can't be parsed.
///
/// It sits between NIO's HTTP codec and Hummingbird, which knows neither deadlines nor bodies of errors and, of a
/// truncated body, believes that it is complete. It counts the requests whose responses are not finished: a rejection
/// is only written after those that came before, and with the last one the connection is closed. Belongs to the
/// connection's event loop.
final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// What the form of a response depends on.
    private struct PendingRequest {
        var isHead: Bool
        var knowsChunks: Bool
    }

    private let limits: HTTPLimits
    private let worker: WorkerIdentity
    private let onRejection: @Sendable (_ statusCode: Int) -> Void
    private var deadlines: ArrivalDeadlines
    private var isTimerArmed = false
    /// Requests whose response is not finished, the oldest first.
    private var pending = CircularBuffer<PendingRequest>(initialCapacity: 2)
    /// No further request is accepted.
    private var isLast = false
    /// The process is ending: the next response says that the connection closes.
    private var isQuiescing = false
    /// What is to be written after the responses in progress.
    private var rejection: HTTPResponseStatus?
    /// The last response is written; what still arrives is dropped.
    private var isLingering = false
    /// A response goes on as long as the client is there.
    private var isStreaming = false
    /// The client has said all that it has to say.
    private var isInputClosed = false
    private var context: ChannelHandlerContext?

    /// - Parameter onRejection: called with the status of what is rejected.
    init(limits: HTTPLimits, worker: WorkerIdentity, onRejection: @escaping @Sendable (_ statusCode: Int) -> Void) {
        self.limits = limits
        self.worker = worker
        self.onRejection = onRejection
        deadlines = ArrivalDeadlines(limits: limits)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelInactive(context: ChannelHandlerContext) {
        failIncompleteRequest(context)
        context.fireChannelInactive()
        self.context = nil
    }

    // MARK: Requests

    /// Called for every read from the socket, before it is parsed.
    func bytesArrived() {
        // After the last request nothing is expected: what comes is dropped, and needs no deadline.
        guard !isLingering, !isLast else { return }
        deadlines.bytesArrived(now: .now())
        armTimer()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isLingering, rejection == nil else { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            guard !isLast else { return }
            guard isAcceptable(head) else { return reject(.badRequest, context) }
            deadlines.headArrived(now: .now())
            pending.append(PendingRequest(isHead: head.method == .HEAD, knowsChunks: head.version != .http1_0))
            isLast = !head.isKeepAlive || asksForUpgrade(head)
            if pending.count == 1, isWaitingForContinue(head) {
                let goOn = HTTPResponseHead(version: .http1_1, status: .continue)
                context.writeAndFlush(wrapOutboundOut(.head(goOn)), promise: nil)
            }
        case .body:
            guard deadlines.phase == .body else { return }
        case .end:
            guard deadlines.phase == .body else { return }
            deadlines.requestCompleted()
        }
        context.fireChannelRead(data)
    }

    /// Nothing is tunnelled here, and what follows a CONNECT is no HTTP. HTTP/1.1 wants one `Host` (RFC 9112, 3.2). Of
    /// transfer codings only chunks are known; the decoder would take others before them for nothing (6.1).
    private func isAcceptable(_ head: HTTPRequestHead) -> Bool {
        let codings = head.headers["transfer-encoding"]
        guard codings.isEmpty || (codings.count == 1 && codings[0].lowercased() == "chunked") else { return false }
        return head.method != .CONNECT && (head.version == .http1_0 || head.headers["host"].count == 1)
    }

    /// Some clients try for HTTP/2 with their first request. It is answered as if they had not; but after it the decoder
    /// expects another protocol and reads nothing more.
    private func asksForUpgrade(_ head: HTTPRequestHead) -> Bool {
        head.headers.contains(name: "upgrade")
            && head.headers[canonicalForm: "connection"].contains { $0.lowercased() == "upgrade" }
    }

    /// A body that is too long anyway is not asked for.
    private func isWaitingForContinue(_ head: HTTPRequestHead) -> Bool {
        guard head.version.major == 1, head.version.minor >= 1, head.headers.contains(name: "expect"),
            head.headers["expect"].contains(where: { $0.lowercased() == "100-continue" })
        else { return false }
        guard let length = head.headers.first(name: "content-length") else { return true }
        return Int(length) ?? .max <= limits.bodyBytes
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? HTTPParserError else {
            // The decoder repeats itself after its first error.
            if !isLast { context.fireErrorCaught(error) }
            return
        }
        guard !isLast || deadlines.phase == .body else { return }
        if deadlines.phase == .body {
            isLast = true
            deadlines.requestCompleted()
            // Whoever reads the body learns that it is not complete, and answers.
            context.fireErrorCaught(error)
        } else {
            reject(error == .headerOverflow ? .requestHeaderFieldsTooLarge : .badRequest, context)
        }
    }

    private func failIncompleteRequest(_ context: ChannelHandlerContext) {
        guard deadlines.phase == .body else { return }
        deadlines.requestCompleted()
        context.fireErrorCaught(HTTPParserError.invalidEOFState)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ChannelShouldQuiesceEvent:
            isQuiescing = true
            if pending.isEmpty, rejection == nil, !isLast { closeUnlessAsked(context) }
        case ChannelEvent.inputClosed:
            failIncompleteRequest(context)
            isInputClosed = true
            if isLingering || isStreaming {
                context.close(promise: nil)
            } else {
                context.fireUserInboundEventTriggered(event)
            }
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    // MARK: Responses

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(var head) where head.status.code >= 200:
            // Where there are no chunks, a body whose length nobody knows ends with the connection.
            if pending.first?.knowsChunks == false, !head.headers.contains(name: "content-length") {
                head.version = .http1_0
                head.headers.replaceOrAdd(name: "connection", value: "close")
            }
            if head.headers[canonicalForm: "connection"].contains(where: { $0.lowercased() == "close" }) {
                isLast = true
            } else if isLast || isQuiescing, pending.count == 1 {
                isLast = true
                head.headers.replaceOrAdd(name: "connection", value: "close")
            }
            context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .end:
            guard let request = pending.popFirst() else { return context.write(data, promise: promise) }
            // The response to HEAD ends with its head. The codec, which doesn't know, would write an empty last chunk.
            let end = request.isHead ? wrapOutboundOut(.body(.byteBuffer(ByteBuffer()))) : data
            context.write(end, promise: promise)
            guard pending.isEmpty else { return }
            if rejection != nil {
                writeRejection(context)
            } else if isLast {
                linger(context)
            } else if isQuiescing {
                // The client was not told that the connection closes: it may have sent the next request already.
                closeUnlessAsked(context)
            }
        case .head, .body: context.write(data, promise: promise)
        }
    }

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard event is StreamBegan else { return context.triggerUserOutboundEvent(event, promise: promise) }
        isStreaming = true
        promise?.succeed()
        if isInputClosed { context.close(promise: nil) }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        deadlines.writabilityChanged(isWritable: context.channel.isWritable, now: .now())
        armTimer()
        context.fireChannelWritabilityChanged()
    }

    private func reject(_ status: HTTPResponseStatus, _ context: ChannelHandlerContext) {
        isLast = true
        rejection = status
        deadlines.requestCompleted()
        if pending.isEmpty { writeRejection(context) }
    }

    private func writeRejection(_ context: ChannelHandlerContext) {
        guard let status = rejection else { return }
        rejection = nil
        onRejection(Int(status.code))
        let message = status == .requestHeaderFieldsTooLarge ? "Request headers too large" : "Malformed HTTP request"
        let body = ByteBuffer(string: "{\"message\":\"\(message)\"}")
        let headers: HTTPHeaders = [
            "content-type": JSONResponse.contentType, "content-length": "\(body.readableBytes)",
            "connection": "close", "x-worker": worker.text,
        ]
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        context.write(wrapOutboundOut(.end(nil)), promise: nil)
        linger(context)
    }

    // MARK: Ends

    /// Closes an idle connection of a process that is ending, unless a request comes in time.
    private func closeUnlessAsked(_ context: ChannelHandlerContext) {
        let this = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: limits.lastRequest) {
            let connection = this.value
            guard connection.pending.isEmpty, connection.deadlines.phase == .idle, !connection.isLast else {
                return
            }
            connection.context?.close(promise: nil)
        }
    }

    /// Says that nothing more is coming, and gives the client time to read what came.
    private func linger(_ context: ChannelHandlerContext) {
        guard !isLingering else { return }
        isLingering = true
        context.flush()
        context.close(mode: .output, promise: nil)
        let context = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: limits.linger) { context.value.close(promise: nil) }
    }

    /// One timer, armed again for the current deadline when it goes off: most requests never touch it.
    private func armTimer() {
        guard !isTimerArmed, let context, let deadline = deadlines.next else { return }
        isTimerArmed = true
        let this = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(deadline: deadline) {
            this.value.isTimerArmed = false
            this.value.timerFired()
        }
    }

    private func timerFired() {
        guard let context, let deadline = deadlines.next else { return }
        guard deadline <= .now() else { return armTimer() }
        failIncompleteRequest(context)
        context.close(promise: nil)
    }
}

/// The response that begins now ends with the connection. Of a client that has closed its side nobody could tell that
/// it has left: it counts as gone.
struct StreamBegan: Sendable {}

/// Tells the guard of every read, since the decoder says nothing before a head is complete.
final class ByteSensor: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let connection: ConnectionGuard

    init(_ connection: ConnectionGuard) { self.connection = connection }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        connection.bytesArrived()
        context.fireChannelRead(data)
    }
}
