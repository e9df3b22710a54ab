import IPCWire

/// Restores the order of replies: Redis' protocol relates them to requests by order only.
struct ReplyQueue {
    /// The request whose reply is sent next.
    private var first: RequestID = 0
    /// The next request to be registered.
    private var end: RequestID = 0
    /// Replies that wait for an earlier one.
    private var early: [RequestID: Reply] = [:]

    /// Number of requests without a sent reply.
    var count: Int { Int(end - first) }
    /// Number of requests since the start.
    var opened: UInt64 { end }

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
    mutating func fill(_ id: RequestID, _ reply: Reply) {
        guard id >= first, id < end, early[id] == nil else { return }
        early[id] = reply
    }

    /// The next reply whose turn it is.
    mutating func next() -> Reply? {
        guard !early.isEmpty, let reply = early.removeValue(forKey: first) else { return nil }
        first += 1
        return reply
    }
}
