/// Why a request was not answered. Whoever made it goes on without syncd.
enum RequestFailure: Error, Sendable, Hashable {
    /// There is no connection, or it is not greeted yet.
    case notConnected
    /// Too much is waiting for an answer already.
    case backlogFull
    /// The connection ended first. Whether the request was carried out is unknown.
    case unanswered

    /// Whether syncd can't have seen the request.
    var wasNeverSent: Bool { self != .unanswered }
}

/// Why a connection to syncd was closed.
enum CloseReason: String, Sendable, Hashable {
    /// Something that is not RESP, or no reply to what was asked.
    case malformed
    /// A reply that nothing had been asked for.
    case unexpectedReply = "unexpected-reply"
    /// syncd refused the greeting, the tracking or a subscription.
    case refused
    /// No beat for 500 ms.
    case silent
    /// A request was not answered in time.
    case overdue
    /// syncd closed it.
    case peer
    /// The worker closed it.
    case ours

    var label: String { rawValue }
}
