import IPCWire
import NIOCore

/// What one client is still to be told, and in which order. Decides; the connection writes.
///
/// Output has three stages. `writer` collects what one turn of the event loop produces and is flushed once.
/// `inChannel` counts what the kernel has not taken yet. While that is much, pushes wait in `backlog`, apart from
/// replies; a backlog beyond its limit collapses into one `epoch` push, which says all that it said. Requests are not
/// taken while the answers to earlier ones are not read. A client that lets its output grow all the same is closed.
/// Nobody else waits for it.
package final class ClientOutput {
    private let limits: Limits
    private var replies = ReplyQueue()
    private var writer = RESPWriter(version: .v2)
    private var version = RESPVersion.v2
    /// What was handed to the channel last.
    private var spare = ByteBuffer()
    private var backlog = RESPWriter(version: .v3)
    private var isCollapsed = false
    /// Since the last flush.
    private var hasCollapsed = false
    private var inChannel = 0

    /// A turn's output grows from here.
    private static let leastCapacity = 512
    /// More is not kept for the next turn: most connections are idle most of the time.
    private static let keptCapacity = 8192

    package init(limits: Limits) { self.limits = limits }

    /// Requests that are not answered yet.
    package var requestsInFlight: Int { replies.count }
    package var unsentBytes: Int { inChannel + writer.buffer.readableBytes + backlog.buffer.readableBytes }
    /// What STATUS says of the connection.
    package var transport: Transport {
        Transport(requests: replies.opened, requestsInFlight: requestsInFlight, unsentBytes: unsentBytes)
    }

    /// Answers that the client has not read, in bytes.
    private var unreadBytes: Int { inChannel + writer.buffer.readableBytes }
    /// Whether one more request is taken: not while too many are not answered or too many answers are not read.
    package var hasRoomForRequest: Bool {
        requestsInFlight < limits.requestsInFlight && unreadBytes < limits.unreadBytes
    }
    /// Whether reading goes on after a pause: when half of the room is free again.
    package var mayResume: Bool {
        requestsInFlight < limits.requestsInFlight / 2 + 1 && unreadBytes < limits.unreadBytes / 2
    }

    /// A request has come: its place among the replies.
    package func open() -> RequestID { replies.open() }

    /// The answer to a request. It is written when all before it are.
    package func reply(_ request: RequestID, _ reply: Reply) {
        if replies.takeTurn(request) { write(reply) } else { replies.fill(request, reply) }
        while let reply = replies.next() { write(reply) }
    }

    /// More is not even written down: the connection will be closed at the end of the turn.
    private var isBeyondLimit: Bool { unsentBytes > limits.unsentBytes }

    private func write(_ reply: Reply) {
        if isBeyondLimit { return }
        // HELLO's own answer is in the protocol that it chose.
        if case .greeting(let greeting) = reply { setVersion(greeting.proto) }
        if case .simple(.reset) = reply { setVersion(.v2) }
        makeRoom()
        reply.encode(into: &writer)
    }

    /// Takes the memory of the former turn's output again, if the channel needs it no more.
    private func makeRoom() {
        guard writer.buffer.storageCapacity == 0 else { return }
        swap(&writer.buffer, &spare)
        writer.buffer.clear(minimumCapacity: Self.leastCapacity)
    }

    /// An error that answers no request.
    package func refuse(_ why: String) {
        writer.error(code: ErrorCode.generic.rawValue, message: why)
    }

    private func setVersion(_ version: RESPVersion) {
        self.version = version
        writer = RESPWriter(version: version, buffer: writer.buffer)
    }

    /// A push for this client alone. The outcome of a fetch is an answer and never waits behind other pushes.
    package func push(_ push: Push) {
        var isNow = mayPushNow
        if case .fetched = push { isNow = true }
        if isBeyondLimit { return }
        if isNow {
            makeRoom()
            push.encode(into: &writer)
        } else if !isCollapsed {
            backlog = RESPWriter(version: version, buffer: backlog.buffer)
            push.encode(into: &backlog)
            collapseIfLong()
        }
    }

    /// A push that was encoded once for all who track; those speak RESP3.
    package func push(encoded: ByteBuffer) {
        if mayPushNow {
            makeRoom()
            writer.buffer.writeImmutableBuffer(encoded)
        } else if !isCollapsed {
            backlog.buffer.writeImmutableBuffer(encoded)
            collapseIfLong()
        }
    }

    private func collapseIfLong() {
        guard backlog.buffer.readableBytes > limits.waitingPushBytes else { return }
        backlog = RESPWriter(version: version)
        (isCollapsed, hasCollapsed) = (true, true)
    }

    /// What this turn has already written counts: it may bring as much as all hosts together have invalidated.
    private var mayPushNow: Bool {
        !isCollapsed && backlog.buffer.readableBytes == 0 && unreadBytes < limits.comfortableBytes
    }

    package enum FlushAction: Equatable {
        case nothing
        case write(ByteBuffer)
        /// It does not read.
        case close(unsentBytes: Int)
    }

    /// The turn is over: what is to be handed to the channel, and whether its pushes have just collapsed.
    package func flush() -> (action: FlushAction, hasCollapsed: Bool) {
        defer { hasCollapsed = false }
        if isBeyondLimit { return (.close(unsentBytes: unsentBytes), hasCollapsed) }
        guard writer.buffer.readableBytes > 0 else { return (.nothing, hasCollapsed) }
        let buffer = writer.buffer
        // The channel keeps its storage until it is sent.
        writer = RESPWriter(version: version)
        if buffer.storageCapacity <= Self.keptCapacity { spare = buffer }
        inChannel += buffer.readableBytes
        return (.write(buffer), hasCollapsed)
    }

    package enum SentAction: Equatable {
        case nothing
        /// The pushes that collapsed are made up for by this one.
        case pushEpoch
        case write(ByteBuffer)
    }

    /// The kernel has taken so much.
    package func sent(_ bytes: Int) -> SentAction {
        inChannel -= bytes
        guard inChannel < limits.comfortableBytes else { return .nothing }
        if isCollapsed {
            isCollapsed = false
            return .pushEpoch
        }
        guard backlog.buffer.readableBytes > 0 else { return .nothing }
        let buffer = backlog.buffer
        backlog = RESPWriter(version: version)
        inChannel += buffer.readableBytes
        return .write(buffer)
    }
}
