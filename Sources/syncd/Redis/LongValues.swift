import DequeModule
import IPCWire
import NIOCore
import SyncCore

/// Long values that Redis is to send, a few at a time: the replies to appends and probes come after them over the same
/// connection. The first query for a value asks for it only if it is short. Else Redis says how long it is.
struct LongValues {
    struct Query {
        var id: UpstreamID
        var key: ByteBuffer
        var bytes: Int
    }

    /// Values up to this length, in bytes, are sent at once.
    static let shortBytes = 16 << 10
    /// Bytes under way at a time; one longer value may always be.
    private static let bytesUnderWay = 2 << 20
    /// Bytes that may wait in addition: a good server sends them within the time of a lookup.
    private static let waitingBytes = 8 << 20

    private var waiting: Deque<Query> = []
    private var bytesWaiting = 0
    private var underWay: [UpstreamID: Int] = [:]
    private var bytes = 0

    /// Puts a query into the queue. Returns whether there was room.
    mutating func add(_ query: Query) -> Bool {
        guard bytesWaiting + query.bytes <= Self.waitingBytes else { return false }
        waiting.append(query)
        bytesWaiting += query.bytes
        return true
    }

    /// The next query that may be sent now.
    mutating func next() -> Query? {
        guard let first = waiting.first, underWay.isEmpty || bytes + first.bytes <= Self.bytesUnderWay else {
            return nil
        }
        waiting.removeFirst()
        bytesWaiting -= first.bytes
        underWay[first.id] = first.bytes
        bytes += first.bytes
        return first
    }

    /// A query was answered, or refused.
    mutating func answered(_ id: UpstreamID) { bytes -= underWay.removeValue(forKey: id) ?? 0 }
}
