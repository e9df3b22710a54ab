import IPCWire
import NIOCore

/// Restores the order of replies: Redis' protocol relates them to requests by order only.
struct ReplyQueue {
    /// A reply that waits for an earlier one.
    enum Early: Equatable {
        case reply(Reply)
        /// A reply with many parts, in the form in which it is sent. Its encoding is the asker's time, not that of whoever
        /// answers the earlier request.
        case encoded(ByteBuffer)

        /// Memory, in bytes.
        fileprivate var bytes: Int {
            switch self {
            case .encoded(let bytes), .reply(.bulk(let bytes)): ReplyQueue.entryBytes + bytes.readableBytes
            case .reply(.fetched(.hit(let hit))): ReplyQueue.entryBytes + (hit.entry.value?.readableBytes ?? 0)
            case .reply: ReplyQueue.entryBytes
            }
        }
    }

    /// The request whose reply is sent next.
    private var first: RequestID = 0
    /// The next request to be registered.
    private var end: RequestID = 0
    /// Replies that wait for an earlier one.
    private var early: [RequestID: Early] = [:]
    /// Memory of the replies that wait, in bytes.
    private(set) var earlyBytes = 0

    /// Memory of a short reply that waits.
    private static let entryBytes = 64

    /// Number of requests without a sent reply.
    var count: Int { Int(end - first) }
    /// Number of requests since the start.
    var opened: UInt64 { end.number }

    /// Registers a request.
    mutating func open() -> RequestID {
        defer { end += 1 }
        return end
    }

    /// Whether it is this request's turn already, the usual case. It is then removed, and its reply need not be stored.
    mutating func takeTurn(_ id: RequestID) -> Bool {
        guard id == first, first < end, early.isEmpty || early[id] == nil else { return false }
        first += 1
        return true
    }

    /// Stores the reply until it is its turn. A second reply to one request is dropped.
    mutating func fill(_ id: RequestID, _ reply: Early) {
        guard id >= first, id < end, early[id] == nil else { return }
        early[id] = reply
        earlyBytes += reply.bytes
    }

    /// The next reply whose turn it is.
    mutating func next() -> Early? {
        guard !early.isEmpty, let reply = early.removeValue(forKey: first) else { return nil }
        first += 1
        earlyBytes -= reply.bytes
        return reply
    }

    /// Forgets the replies that wait.
    mutating func discard() { (early, earlyBytes) = ([:], 0) }
}
