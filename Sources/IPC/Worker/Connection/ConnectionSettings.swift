import IPCWire
import NIOCore

/// What one connection to syncd is opened with, and its bounds.
struct ConnectionSettings: Sendable {
    /// `CLIENT SETNAME`, by way of `HELLO`.
    var clientName: String
    /// Whether beats, epochs and invalidations are wanted (`TRACK ON`). Without beats only overdue replies show
    /// that syncd is silent.
    var isTracking: Bool
    /// Channels to subscribe.
    var channels: [ByteBuffer] = []
    /// How long a reply may take before the connection is given up.
    var replyNanoseconds = TrustTiming.silenceNanoseconds
    /// Requests without a reply. syncd stops reading at 1024; beyond this nothing more is sent.
    var maximumPending = 1000
    /// The same for requests that can go without (reads): what is left is for writes.
    var maximumPendingReads = 750
    /// Fetches that wait for somebody else's load.
    var maximumTickets = 4096
    /// Bytes of requests without a reply: what a stopped syncd may make us hold.
    var maximumPendingBytes = 32 << 20

    /// What is sent before anything else, without waiting for an answer in between.
    var opening: [Request] {
        var requests: [Request] = [.hello(version: .v3, name: ByteBuffer(string: clientName))]
        if isTracking { requests.append(.track(true)) }
        if !channels.isEmpty { requests.append(.subscribe(channels)) }
        return requests
    }
}

/// What kind of answer a request gets.
enum ReplyKind: Sendable, Hashable {
    /// One reply, of any type.
    case reply
    /// One reply that says how the fetch ends, or a ticket first and the end as a push.
    case fetch(waitNanoseconds: UInt64)
    /// So many pushes that confirm subscriptions.
    case confirmations(Int)
}

/// What it costs to have a request waiting.
struct RequestCost: Sendable, Hashable {
    /// Its bytes, about.
    var bytes = 0
    /// Whether it may use the room that reads leave free.
    var isUrgent = false
}
