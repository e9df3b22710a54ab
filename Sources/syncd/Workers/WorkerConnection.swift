import IPCWire
import NIOCore
import SyncCore

/// One client's connection: decodes its requests, passes them to the daemon, and writes the output of ``ClientOutput``.
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
    /// The connection has had its turn and continues in a later slice (``TurnQueue``).
    private(set) var isSuspended = false
    /// Its request needs more memory than is available at the moment.
    private(set) var isWaitingForRoom = false
    /// Memory in bytes that the budget reserves for the incomplete request, and the time of the reservation.
    private(set) var reservedBytes = 0
    private(set) var requestBegan: UInt64 = 0
    private var lastRequest: UInt64 = 0
    private var turnBegan: UInt64 = 0
    /// The connection was closed in favour of others; the channel may not have reported this yet.
    private(set) var isCutOff = false
    /// A frame was malformed or the client said QUIT: queued requests are still answered, and no more are read.
    private var isEnding = false
    private(set) var isClosed = false
    /// The client has closed its side.
    private var isInputClosed = false
    /// The connection is in the list of those to flush at the end of the turn.
    var isFlushDue = false

    init(id: ClientID, peer: Peer, daemon: Daemon, limits: Limits) {
        self.id = id
        self.peer = peer
        self.daemon = daemon
        self.limits = limits
        decoder = CommandDecoder(limits: limits.wire)
        output = ClientOutput(limits: limits, budget: daemon.budget)
    }

    var transport: Transport {
        var transport = output.transport
        transport.unreadRequestBytes = decoder.neededBytes
        transport.lastRequestAt = lastRequest
        return transport
    }

    /// The client's process; if the kernel shows none (another container), its user.
    var holder: Int64 { peer.pid > 0 ? Int64(peer.pid) : -1 - Int64(peer.uid) }
    /// Memory attributed to the connection, in bytes.
    var heldBytes: Int { output.heldBytes + reservedBytes }

    // MARK: Reading

    /// Bytes to read of one client before the others have their turn: requests of some hundred microseconds at most.
    /// Otherwise tens of thousands of requests of a fast client would be answered while all others wait. The rest stays
    /// in the kernel: tasks of the event loop would come before the sockets of others.
    static let requestBuffer = FixedSizeRecvByteBufferAllocator(capacity: 4096)
    /// The same in the middle of a value, which is only copied.
    private static let argumentBuffer = FixedSizeRecvByteBufferAllocator(capacity: 65_536)

    /// A channel counts as writable while at most one byte is left.
    static let waterMark = ChannelOptions.Types.WriteBufferWaterMark(low: 1, high: 1)

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func channelActive(context: ChannelHandlerContext) { daemon.connectionOpened(self) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isEnding else { return }
        turnBegan = daemon.now
        decoder.feed(unwrapInboundIn(data))
        decode()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? ChannelEvent, event == .inputClosed else {
            return context.fireUserInboundEventTriggered(event)
        }
        isInputClosed = true
        endIfAllIsAsked()
        daemon.turnEnded()
    }

    /// The client has closed its side, and every complete request is under way: only replies are left.
    private func endIfAllIsAsked() {
        guard isInputClosed, !isSuspended, output.hasRoomForRequest, !isEnding, !isClosed else { return }
        endAfterReplies()
    }

    func channelReadComplete(context: ChannelHandlerContext) { daemon.turnEnded(of: self, since: turnBegan) }

    /// Decodes requests until there are no more, too many are unanswered, or its turn is over.
    private func decode() {
        guard !isDecoding, !isSuspended, !isCutOff, !isClosed else { return }
        guard daemon.turns.hasTime else { return suspend() }
        isDecoding = true
        defer { isDecoding = false }
        do throws(RESPError) {
            let began = daemon.now
            var now = began
            while !isEnding, output.hasRoomForRequest, !isSuspended, let arguments = try decoder.next() {
                handle(arguments)
                now = daemon.now
                if now - began >= TurnQueue.turnNanoseconds { suspend() }
            }
            lastRequest = now
            endIfAllIsAsked()
            reserve(now)
            updateReading()
            setReadingArgument(decoder.missingBytes > Self.requestBuffer.capacity)
        } catch {
            let id = output.open()
            output.reply(id, .error(ReplyError(.generic, "Protocol error: \(error.description)")))
            isEnding = true
            releaseReservation()
            daemon.protocolError(self, error)
            daemon.needsFlush(self)
        }
    }

    private func suspend() {
        isSuspended = true
        updateReading()
        daemon.turns.suspend(self)
    }

    /// The next turn of the connection begins.
    func proceed() {
        guard isSuspended else { return }
        isSuspended = false
        decode()
        updateReading()
    }

    // MARK: Memory for requests

    /// Smaller requests are not counted.
    private static let freeBytes = 16 << 10

    /// Reserves the memory of the present request in the budget.
    private func reserve(_ now: UInt64) {
        let needed = decoder.neededBytes
        guard needed > Self.freeBytes else { return releaseReservation() }
        guard needed > reservedBytes else { return }
        // Memory is reserved in steps: the sum of many arguments is not known before.
        let step = max(needed, 2 * reservedBytes) - reservedBytes
        isWaitingForRoom = !daemon.budget.reserve(step, besides: reservedBytes)
        if requestBegan == 0 { requestBegan = now }
        if isWaitingForRoom { daemon.waitForRoom(self) } else { reservedBytes += step }
    }

    private func releaseReservation() {
        requestBegan = 0
        isWaitingForRoom = false
        guard reservedBytes > 0 else { return }
        daemon.budget.release(reservedBytes)
        reservedBytes = 0
    }

    /// There may be room now. Returns whether there is.
    func takeRoom() -> Bool {
        guard isWaitingForRoom, !isClosed else { return true }
        reserve(daemon.now)
        updateReading()
        return !isWaitingForRoom
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

    private func updateReading() {
        setReadingPaused(!output.hasRoomForRequest || isSuspended || isWaitingForRoom)
    }

    private func setReadingPaused(_ isPaused: Bool) {
        guard isPaused != isReadingPaused, !isClosed, let context else { return }
        isReadingPaused = isPaused
        // An error here means that the channel is closing, which `channelInactive` will report.
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

    /// A push that was encoded once for all tracking clients; those speak RESP3.
    func push(encoded: ByteBuffer) {
        guard !isClosed else { return }
        output.push(encoded: encoded)
        daemon.needsFlush(self)
    }

    /// Passes the output of this turn to the channel, once.
    func flush() {
        guard !isClosed, !isCutOff, let context else { return }
        let (action, hasCollapsed) = output.flush()
        if hasCollapsed { daemon.pushesCollapsed(self) }
        switch action {
        case .nothing: break
        case .write(let buffer): write(buffer, context)
        case .writeParts(let parts): write(parts, context)
        case .close(let bytes): return cutOff("it does not read: \(bytes) bytes are unsent")
        }
        if isEnding && output.requestsInFlight == 0 { closeWhenSent() }
        resumeIfPossible()
    }

    private func write(_ buffer: ByteBuffer, _ context: ChannelHandlerContext) {
        let bytes = buffer.readableBytes
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        // Usually the kernel has accepted everything by now. A callback for it would cost four allocations.
        if context.channel.isWritable { return sent(bytes) }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [self] _ in sent(bytes) }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
    }

    /// Long parts are memory that other connections may send as well.
    private func write(_ parts: [ByteBuffer], _ context: ChannelHandlerContext) {
        let bytes = parts.reduce(0) { $0 + $1.readableBytes }
        for part in parts { context.write(wrapOutboundOut(part), promise: nil) }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [self] _ in sent(bytes) }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
    }

    private func sent(_ bytes: Int) {
        let action = output.sent(bytes)
        guard !isClosed, let context else { return }
        // Waiting output goes before new output.
        switch action {
        case .nothing: break
        case .pushEpoch:
            daemon.pushEpoch(self)
            daemon.turnEnded()
        case .write(let buffer): write(buffer, context)
        }
        resumeIfPossible()
    }

    /// Continues with received data, and then with reading.
    private func resumeIfPossible() {
        guard isReadingPaused, !isSuspended, !isWaitingForRoom, !isEnding, !isClosed, output.mayResume else { return }
        decode()
        daemon.turnEnded()
    }

    // MARK: Ending

    /// Sends a client an error that it cannot be served, and closes.
    func refuse(_ why: String) {
        isEnding = true
        output.refuse(why)
        flush()
    }

    /// Closes after all earlier requests have been answered.
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

    /// Closes without another reply, in favour of other connections.
    func cutOff(_ reason: String) {
        guard !isClosed, !isCutOff, let context else { return }
        daemon.closing(self, reason: reason)
        isEnding = true
        isCutOff = true
        forget()
        context.close(promise: nil)
    }

    /// Releases the resources of the connection.
    private func forget() {
        output.discard()
        releaseReservation()
        decoder = CommandDecoder(limits: limits.wire)
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        forget()
        self.context = nil
        daemon.connectionClosed(self)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
