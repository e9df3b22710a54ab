import NIOCore
import NIOHTTP1

/// Enforces the limits of one HTTP connection, and answers unparsable requests in JSON.
///
/// The guard sits between NIO's HTTP codec and the handler that answers. It counts the requests whose responses are not
/// finished: a rejection is only written after the earlier responses, and with the last one the connection is closed.
/// The guard belongs to the connection's event loop.
final class ConnectionGuard: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// Properties of a request that the form of its response depends on.
    private struct PendingRequest {
        var isHead: Bool
        /// HTTP/1.0 has no chunks, and closes connections unless both sides say otherwise.
        var isOld: Bool
    }

    private let limits: HTTPLimits
    private let worker: WorkerIdentity
    private let sending: SendingBodies
    private let onRejection: @Sendable (_ statusCode: Int) -> Void
    private var deadlines: ArrivalDeadlines
    /// The time for which the timer is set.
    private var armedFor: NIODeadline?
    /// Requests whose response is not finished, the oldest first.
    private var pending = CircularBuffer<PendingRequest>(initialCapacity: 2)
    /// No further request is accepted.
    private var isLast = false
    /// The process is ending: the next response says that the connection closes.
    private var isQuiescing = false
    /// Bytes of a body since its last content bytes.
    private var bytesWithoutContent = 0
    /// Bytes of the present request's body so far.
    private var bodyBytes = 0
    /// The status to write after the responses in progress.
    private var rejection: HTTPResponseStatus?
    /// The last response is written; further input is dropped.
    private var isLingering = false
    /// The kernel has all of it, and the output is closed.
    private var isEverythingSent = false
    /// The response continues as long as the client is connected.
    private var isStreaming = false
    /// The client has closed its side.
    private var isInputClosed = false
    private var context: ChannelHandlerContext?

    /// - Parameter onRejection: called with the status of a rejection.
    init(
        limits: HTTPLimits, worker: WorkerIdentity, sending: SendingBodies,
        onRejection: @escaping @Sendable (_ statusCode: Int) -> Void
    ) {
        self.limits = limits
        self.worker = worker
        self.sending = sending
        self.onRejection = onRejection
        deadlines = ArrivalDeadlines(limits: limits)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        deadlines.becameIdle(now: .now())
        armTimer()
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelInactive(context: ChannelHandlerContext) {
        failIncompleteRequest(context)
        context.fireChannelInactive()
        self.context = nil
    }

    // MARK: Requests

    /// Called for every read from the socket, before it is parsed.
    func bytesArrived(_ count: Int) {
        bytesWithoutContent += count
        // No request follows the last one: further bytes are dropped, and need no deadline.
        guard !isLingering, !isLast else { return }
        deadlines.bytesArrived(now: .now())
        armTimer()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isLingering, rejection == nil else { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            guard !isLast else { return }
            guard head.isAcceptable else { return reject(.badRequest, context) }
            // `100-continue` is the only expectation that exists (RFC 9110, 10.1.1).
            guard head.headers.list("expect").map({ $0.lowercased() == "100-continue" }) != false else {
                return reject(.expectationFailed, context)
            }
            deadlines.headArrived(now: .now())
            (bytesWithoutContent, bodyBytes) = (0, 0)
            pending.append(PendingRequest(isHead: head.method == .HEAD, isOld: head.version == .http1_0))
            // The rest of a body that is too long is not waited for.
            isLast = !head.isKeepAlive || head.asksForUpgrade || head.announces(more: limits.bodyBytes)
        case .body(let part):
            guard deadlines.phase == .body else { return }
            bytesWithoutContent = 0
            bodyBytes += part.readableBytes
            if bodyBytes > limits.bodyBytes, !isLast {
                // A handler that reads the body says so. If none does, the rest is not waited for.
                isLast = true
                if pending.isEmpty { return linger(context) }
            }
        case .end:
            guard deadlines.phase == .body else { return }
            deadlines.requestCompleted()
            // The response was written before the body arrived.
            if pending.isEmpty {
                deadlines.becameIdle(now: .now())
                armTimer()
            }
        }
        context.fireChannelRead(data)
    }

    /// The decoder accepts chunk extensions of any length, and does not report them.
    func channelReadComplete(context: ChannelHandlerContext) {
        if deadlines.phase == .body, bytesWithoutContent > limits.chunkHeadBytes {
            endBody(HTTPParserError.invalidChunkSize, context)
        }
        context.fireChannelReadComplete()
    }

    /// The reader of the body learns that it is not complete, and answers.
    private func endBody(_ error: HTTPParserError, _ context: ChannelHandlerContext) {
        isLast = true
        deadlines.requestCompleted()
        context.fireErrorCaught(error)
        // The response was written before the body arrived.
        if pending.isEmpty { linger(context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? HTTPParserError else {
            // The decoder repeats its first error.
            if !isLast { context.fireErrorCaught(error) }
            return
        }
        guard !isLast || deadlines.phase == .body else { return }
        if deadlines.phase == .body {
            endBody(error, context)
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
            (isInputClosed, isLast) = (true, true)
            if isStreaming || isEverythingSent {
                context.close(promise: nil)
            } else if pending.isEmpty, rejection == nil {
                linger(context)
            }
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    // MARK: Responses

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(var head) where head.status.code >= 200:
            let (isOld, hasKnownEnd) = (pending.first?.isOld == true, head.hasKnownEnd)
            if head.headers.contains(name: "connection") {
                // The only value that a response is made with is "close". Requests behind it are not answered.
                (isLast, rejection) = (true, nil)
                if pending.count > 1 { pending.removeLast(pending.count - 1) }
            } else if (isLast || isQuiescing) && pending.count == 1 || isOld && !hasKnownEnd {
                isLast = true
                head.headers.add(name: "Connection", value: "close")
            } else if isOld {
                head.headers.add(name: "Connection", value: "keep-alive")
            } else if hasKnownEnd {
                return context.write(data, promise: promise)
            }
            if !hasKnownEnd {
                // Without chunks, the body ends with the connection.
                if isOld {
                    head.version = .http1_0
                } else {
                    head.headers.add(name: "Transfer-Encoding", value: "chunked")
                }
            }
            context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .end:
            guard let request = pending.popFirst() else { return context.write(data, promise: promise) }
            // The response to HEAD ends with its head. The codec does not know this and would write an empty last
            // chunk.
            let end = request.isHead ? wrapOutboundOut(.body(.byteBuffer(ByteBuffer()))) : data
            context.write(end, promise: promise)
            guard pending.isEmpty else { return }
            if rejection != nil {
                writeRejection(context)
            } else if isLast {
                linger(context)
            } else if deadlines.phase == .idle {
                deadlines.becameIdle(now: .now())
                armTimer()
                // The client was not told that the connection closes: it may have sent the next request already.
                if isQuiescing { closeUnlessAsked(context) }
            }
        case .body(.byteBuffer(let bytes)) where isStreaming || bytes.readableBytes >= limits.progressBytes:
            writeInParts(bytes, context, promise)
        case .head, .body: context.write(data, promise: promise)
        }
    }

    /// A client that reads slowly makes progress with each part.
    private func writeInParts(
        _ bytes: ByteBuffer, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?
    ) {
        var rest = bytes
        while let part = rest.readSlice(length: min(rest.readableBytes, limits.progressBytes)), part.readableBytes > 0 {
            let written = context.eventLoop.makePromise(of: Void.self)
            if rest.readableBytes == 0 { written.futureResult.cascade(to: promise) }
            context.write(wrapOutboundOut(.body(.byteBuffer(part))), promise: written)
            let channel = context.channel
            written.futureResult.assumeIsolated().whenSuccess { [self] in
                let now = NIODeadline.now()
                deadlines.partWritten(now: now)
                sending.clientHasRead(channel, now: now)
            }
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
        let message =
            switch status {
            case .requestHeaderFieldsTooLarge: "Request headers too large"
            case .expectationFailed: "Unknown expectation"
            default: "Malformed HTTP request"
            }
        let body = ByteBuffer(string: "{\"message\":\"\(message)\"}")
        let headers: HTTPHeaders = [
            "Content-Type": JSONResponse.contentType, "Content-Length": "\(body.readableBytes)",
            "Connection": "close", "X-Worker": worker.text,
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
            guard connection.pending.isEmpty, connection.deadlines.phase == .idle, !connection.isLast,
                let context = connection.context
            else { return }
            connection.isLast = true
            connection.linger(context)
        }
    }

    /// Closes the output when everything is sent, and gives the client time to read it.
    private func linger(_ context: ChannelHandlerContext) {
        guard !isLingering else { return }
        isLingering = true
        deadlines.requestCompleted()
        // Written after everything else. NIO closes an output at once if the input is closed, whatever waits in it.
        let sent = context.eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(ByteBuffer()))), promise: sent)
        let channel = context.channel
        sent.futureResult.assumeIsolated().whenComplete { [self] _ in
            isEverythingSent = true
            // A client that has closed its side, too, sends nothing that would have to be read.
            guard !isInputClosed else { return channel.close(promise: nil) }
            channel.close(mode: .output, promise: nil)
            channel.eventLoop.scheduleTask(in: limits.linger) { channel.close(promise: nil) }
        }
    }

    /// A timer that is set again for the current deadline when it fires: most requests never touch it. An earlier
    /// deadline needs a separate timer.
    private func armTimer() {
        guard let context, let deadline = deadlines.next else { return }
        if let armedFor, armedFor <= deadline { return }
        armedFor = deadline
        let this = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(deadline: deadline) {
            if this.value.armedFor == deadline { this.value.armedFor = nil }
            this.value.timerFired()
        }
    }

    private func timerFired() {
        guard let context, let deadline = deadlines.next else { return }
        guard deadline <= .now() else { return armTimer() }
        guard !deadlines.isWriteOver(now: .now()) else { return context.close(promise: nil) }
        // No request, or the rest of one, has come in time. Responses to earlier ones may still be on their way.
        isLast = true
        if deadlines.phase == .body { failIncompleteRequest(context) } else { deadlines.requestCompleted() }
        if pending.isEmpty { linger(context) }
        armTimer()
    }
}

/// The response that begins now ends with the connection. After a client has closed its side, its disconnect cannot be
/// noticed, so it counts as disconnected.
struct StreamBegan: Sendable {}

/// NIO's decoder, which reports nothing before a head is complete. The guard learns of every read before it is parsed.
final class MeasuredDecoder: ByteToMessageDecoder {
    typealias InboundOut = HTTPServerRequestPart

    private let decoder: HTTPRequestDecoder
    private let connection: ConnectionGuard

    init(_ decoder: HTTPRequestDecoder, _ connection: ConnectionGuard) {
        self.decoder = decoder
        self.connection = connection
    }

    func decoderAdded(context: ChannelHandlerContext) { decoder.decoderAdded(context: context) }

    func decoderRemoved(context: ChannelHandlerContext) { decoder.decoderRemoved(context: context) }

    /// The decoder takes all bytes of each read.
    func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        connection.bytesArrived(buffer.readableBytes)
        return try decoder.decode(context: context, buffer: &buffer)
    }

    func decodeLast(
        context: ChannelHandlerContext, buffer: inout ByteBuffer, seenEOF: Bool
    ) throws -> DecodingState {
        try decoder.decodeLast(context: context, buffer: &buffer, seenEOF: seenEOF)
    }
}
