import IPCWire
import NIOCore

/// Opening and limits of one connection to syncd.
struct ConnectionSettings: Sendable {
    /// The name of `CLIENT SETNAME`, sent in `HELLO`.
    var clientName: String
    /// Whether heartbeats, epochs and invalidations are wanted (`TRACK ON`). Without heartbeats only overdue replies
    /// show that syncd is silent.
    var isTracking: Bool
    /// Channels to subscribe.
    var channels: [ByteBuffer] = []
    /// Maximum time of a reply. After it the connection is given up.
    var replyNanoseconds = TrustTiming.silenceNanoseconds
    /// Maximum number of requests without a reply. syncd stops reading earlier while its window for Redis is full, and at
    /// 1024 in any case.
    var maximumPending = 1000
    /// Maximum number of reads among them. The database can answer reads, too: the rest is reserved for writes.
    var maximumPendingReads = 750
    /// Fetches that wait for another worker's load.
    var maximumTickets = 4096
    /// Bytes of requests without a reply: the maximum that a stopped syncd may make a worker hold.
    var maximumPendingBytes = 32 << 20

    /// The first requests, sent without waiting for their replies.
    var opening: [Request] {
        var requests: [Request] = [.hello(version: .v3, name: ByteBuffer(string: clientName))]
        if isTracking { requests.append(.track(true)) }
        if !channels.isEmpty { requests.append(.subscribe(channels)) }
        return requests
    }
}

/// The kind of reply that a request gets.
enum ReplyKind: Sendable, Hashable {
    /// A single reply, of any type.
    case reply
    /// A reply with the outcome of the fetch, or a ticket first and the outcome as a push.
    case fetch(waitNanoseconds: UInt64)
    /// This number of pushes, which confirm subscriptions.
    case confirmations(Int)
}

/// The cost of a waiting request.
struct RequestCost: Sendable, Hashable {
    /// Approximate number of bytes.
    var bytes = 0
    /// Whether the request may use the room that is reserved for writes.
    var isUrgent = false
}
