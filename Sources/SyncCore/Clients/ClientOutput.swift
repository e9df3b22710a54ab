import DequeModule
import IPCWire
import NIOCore

/// The pending output of one client and its order. This class decides; the connection writes.
///
/// Output has three stages. `writer` collects the output of one turn of the event loop and is flushed once. `inChannel`
/// counts bytes that the kernel has not accepted yet. As long as there are any, `writer` collects further output: a
/// client that does not read must not cost a buffer for each of its messages. While unread bytes are many, pushes wait in
/// `backlog`, apart from replies; a backlog beyond its limit collapses into one `epoch` push, which replaces all of them.
/// Requests are not read while the replies to earlier ones are unread. A client whose output grows nevertheless is closed.
/// No other client waits for it. With a ``BufferBudget`` long data is not copied, and all clients' output is counted there.
package final class ClientOutput {
    private struct SharedData {
        /// The end of these data in the byte count of all output.
        var end: UInt64
        var bytes: Int
        var address: UInt
    }

    private let limits: Limits
    private var replies = ReplyQueue()
    private var writer = RESPWriter(version: .v2)
    private var version = RESPVersion.v2
    /// Versions that replies which still wait will select, for the requests after theirs.
    private var nextVersions: Deque<(after: RequestID, version: RESPVersion)> = []
    /// The buffer that was passed to the channel last.
    private var spare = ByteBuffer()
    private var backlog = RESPWriter(version: .v3)
    private var isCollapsed = false
    /// Whether pushes have collapsed since the last flush.
    private var hasCollapsed = false
    private var inChannel = 0
    private let budget: BufferBudget?
    /// Bytes reported to the budget that belong to this client alone.
    private var counted = 0
    private var isDiscarded = false
    private var hasExceededLimit = false
    /// Data in the channel that others may hold, too.
    private var shared: Deque<SharedData> = []
    private var sharedBytes = 0
    /// Bytes of all output so far, and those of them that the kernel has taken.
    private var (written, taken): (UInt64, UInt64) = (0, 0)

    /// The initial capacity of a turn's output, in bytes.
    private static let leastCapacity = 512
    /// The maximum capacity that is kept for the next turn: most connections are idle most of the time.
    private static let keptCapacity = 8192

    package init(limits: Limits, budget: BufferBudget? = nil) {
        self.limits = limits
        self.budget = budget
        writer.sharesData = budget != nil
    }

    /// Number of unanswered requests.
    package var requestsInFlight: Int { replies.count }
    package var unsentBytes: Int { unreadBytes + backlog.buffer.readableBytes }
    /// Whether the kernel has everything but pushes that wait.
    var isTaken: Bool { unreadBytes == 0 }
    /// Properties of the connection for STATUS.
    package var transport: Transport {
        Transport(requests: replies.opened, requestsInFlight: requestsInFlight, unsentBytes: unsentBytes)
    }

    /// Replies that the client has not read, in bytes.
    private var unreadBytes: Int {
        inChannel + writer.partBytes + writer.buffer.readableBytes + replies.earlyBytes
    }
    /// Whether one more request may be read. False while too many are unanswered or too many replies are unread.
    package var hasRoomForRequest: Bool {
        requestsInFlight < limits.requestsInFlight && unreadBytes < limits.unreadBytes
    }
    /// Whether reading may resume after a pause: when half of the room is free again.
    package var mayResume: Bool {
        requestsInFlight < limits.requestsInFlight / 2 + 1 && unreadBytes < limits.unreadBytes / 2
    }

    /// Registers a request and returns its place among the replies.
    package func open() -> RequestID { replies.open() }

    /// The reply to a request. It is written after all earlier ones.
    package func reply(_ request: RequestID, _ reply: Reply) {
        if replies.takeTurn(request) { write(reply) } else { fill(request, reply) }
        while let reply = replies.next() {
            switch reply {
            case .reply(let reply):
                if Self.selectedVersion(reply) != nil { nextVersions.removeFirst() }
                write(reply)
            case .encoded(let bytes):
                if isBeyondLimit { continue }
                makeRoom()
                writer.buffer.writeImmutableBuffer(bytes)
            }
        }
    }

    /// Keeps the reply until the earlier ones have come.
    private func fill(_ request: RequestID, _ reply: Reply) {
        if isBeyondLimit { return replies.fill(request, .reply(.null)) }
        if let version = Self.selectedVersion(reply) { nextVersions.append((request, version)) }
        switch reply {
        case .fields, .array, .subscriptions:
            let version = nextVersions.last { $0.after < request }?.version ?? version
            var writer = RESPWriter(version: version)
            reply.encode(into: &writer)
            replies.fill(request, .encoded(writer.buffer))
        default: replies.fill(request, .reply(reply))
        }
    }

    /// HELLO's own reply is in the protocol that it selects.
    private static func selectedVersion(_ reply: Reply) -> RESPVersion? {
        switch reply {
        case .greeting(let greeting): greeting.proto
        case .simple(.reset): .v2
        default: nil
        }
    }

    /// True from the moment on at which the limit was exceeded. Further output is dropped, since the connection will be
    /// closed at the end of the turn: later replies would seem to answer earlier requests.
    private var isBeyondLimit: Bool {
        if unsentBytes > limits.unsentBytes { hasExceededLimit = true }
        return hasExceededLimit
    }

    private func write(_ reply: Reply) {
        if isBeyondLimit { return }
        if let selected = Self.selectedVersion(reply) { setVersion(selected) }
        makeRoom()
        if case .fetched(.hit(let hit)) = reply, !hasRoom(for: hit) {
            Reply.error(Self.noRoom).encode(into: &writer)
        } else {
            reply.encode(into: &writer)
        }
    }

    private static let noRoom = ReplyError(.busy, "no room for one more long value: read the database")

    /// Whether a value is short, is in memory for others already, or fits into the budget.
    private func hasRoom(for hit: Hit) -> Bool {
        guard let budget, budget.isTight, let data = hit.entry.sharedData, data.readableBytes >= RESPWriter.sharedBytes
        else { return true }
        return budget.isHeld(data)
    }

    /// Reuses the memory of the previous turn's output, if the channel has released it.
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
        writer.version = version
    }

    /// A push for this client alone. The outcome of a fetch is a reply and never waits behind other pushes.
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

    /// A push that was encoded once for all tracking clients; those speak RESP3.
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

    /// Output of this turn counts: one turn may bring as many pushes as all hosts together have invalidated.
    private var mayPushNow: Bool {
        !isCollapsed && backlog.buffer.readableBytes == 0 && unreadBytes < limits.comfortableBytes
    }

    package enum FlushAction: Equatable {
        case nothing
        case write(ByteBuffer)
        /// Write these parts one after the other; some are shared with other clients.
        case writeParts([ByteBuffer])
        /// Close: the client does not read.
        case close(unsentBytes: Int)
    }

    /// Ends the turn: returns the output for the channel, and whether its pushes have just collapsed.
    package func flush() -> (action: FlushAction, hasCollapsed: Bool) {
        defer {
            hasCollapsed = false
            count()
        }
        if isBeyondLimit { return (.close(unsentBytes: unsentBytes), hasCollapsed) }
        // Long data go to the channel at once: only there do all their readers share one copy.
        guard inChannel == 0 || writer.partBytes > 0 else { return (.nothing, hasCollapsed) }
        takeBacklog()
        guard writer.buffer.readableBytes > 0 || writer.partBytes > 0 else { return (.nothing, hasCollapsed) }
        let (buffer, parts) = (writer.buffer, writer.parts)
        // The channel keeps the storage until it is sent.
        let bytes = writer.partBytes + buffer.readableBytes
        writer = RESPWriter(version: version)
        writer.sharesData = budget != nil
        if buffer.storageCapacity <= Self.keptCapacity, parts.isEmpty { spare = buffer }
        inChannel += bytes
        written += UInt64(bytes)
        guard !parts.isEmpty else { return (.write(buffer), hasCollapsed) }
        hold(parts, before: buffer.readableBytes)
        return (.writeParts(parts + [buffer]), hasCollapsed)
    }

    /// Pushes that waited follow what was written before them.
    private func takeBacklog() {
        guard inChannel == 0, backlog.buffer.readableBytes > 0 else { return }
        if writer.buffer.storageCapacity == 0 {
            writer.buffer = backlog.buffer
        } else {
            writer.buffer.writeImmutableBuffer(backlog.buffer)
        }
        backlog = RESPWriter(version: version)
    }

    /// Holds long parts in the budget: other connections may hold them as well.
    private func hold(_ parts: [ByteBuffer], before rest: Int) {
        guard let budget, !isDiscarded else { return }
        var end = written - UInt64(rest) - UInt64(parts.reduce(0) { $0 + $1.readableBytes })
        for part in parts {
            end += UInt64(part.readableBytes)
            guard part.readableBytes >= RESPWriter.sharedBytes else { continue }
            shared.append(SharedData(end: end, bytes: part.readableBytes, address: budget.hold(part)))
            sharedBytes += part.readableBytes
        }
    }

    /// Reports the bytes of this client alone to the budget.
    private func count() {
        guard let budget, !isDiscarded else { return }
        let bytes = unsentBytes + unusedCapacity - sharedBytes
        if bytes != counted { budget.changeOwn(by: bytes - counted) }
        counted = bytes
    }

    /// Memory of waiting output that is reserved and not used yet, in bytes.
    private var unusedCapacity: Int { Self.unused(writer.buffer) + Self.unused(backlog.buffer) }

    private static func unused(_ buffer: ByteBuffer) -> Int {
        buffer.readableBytes > 0 ? buffer.storageCapacity - buffer.readableBytes : 0
    }

    /// The bytes attributed to this client: its own, and its share of data that others hold, too.
    package var heldBytes: Int {
        guard let budget else { return unsentBytes }
        return counted + shared.reduce(0) { $0 + budget.share(of: $1.address) }
    }

    /// The connection is closed: releases everything.
    package func discard() {
        guard let budget, !isDiscarded else { return }
        isDiscarded = true
        replies.discard()
        budget.changeOwn(by: -counted)
        for data in shared { budget.drop(data.address) }
        (counted, sharedBytes) = (0, 0)
        shared = []
    }

    package enum SentAction: Equatable {
        case nothing
        /// Push one `epoch` in place of the collapsed pushes.
        case pushEpoch
        /// Flush what has been waiting.
        case flush
    }

    /// The kernel has accepted this many bytes.
    package func sent(_ bytes: Int) -> SentAction {
        inChannel -= bytes
        taken += UInt64(bytes)
        dropTaken()
        defer { count() }
        guard inChannel < limits.comfortableBytes else { return .nothing }
        if isCollapsed {
            isCollapsed = false
            return .pushEpoch
        }
        return inChannel == 0 && unsentBytes > 0 ? .flush : .nothing
    }

    private func dropTaken() {
        while let first = shared.first, first.end <= taken {
            budget?.drop(first.address)
            sharedBytes -= first.bytes
            shared.removeFirst()
        }
    }
}
