/// The reason why a request was not answered. The caller continues without syncd.
enum RequestFailure: Error, Sendable, Hashable {
    /// There is no connection, or it is not greeted yet.
    case notConnected
    /// Too many requests are waiting for a reply already.
    case backlogFull
    /// The connection ended first. Whether the request was carried out is unknown.
    case unanswered

    /// Whether syncd certainly has not received the request.
    var wasNeverSent: Bool { self != .unanswered }
}

/// The reason why a connection to syncd was closed.
enum CloseReason: String, Sendable, Hashable {
    /// Input that is not RESP, or no reply to the request.
    case malformed
    /// A reply without a request.
    case unexpectedReply = "unexpected-reply"
    /// syncd refused the greeting, the tracking or a subscription.
    case refused
    /// No heartbeat for 500 ms.
    case silent
    /// A request was not answered in time.
    case overdue
    /// syncd closed it.
    case peer
    /// The worker closed it.
    case ours

    var label: String { rawValue }
}
