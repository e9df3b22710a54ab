import IPCWire

/// Puts replies back into the order of their requests: Redis' protocol knows no other way to tell whose they are.
struct ReplyQueue {
    /// The request whose answer goes out next.
    private var first: RequestID = 0
    /// The request that will come next.
    private var end: RequestID = 0
    /// Answers that wait for an earlier one.
    private var early: [RequestID: Reply] = [:]

    /// Requests that are not answered yet, or whose answer waits for an earlier one.
    var count: Int { Int(end - first) }
    /// Requests so far.
    var opened: UInt64 { end }

    /// A new request's place.
    mutating func open() -> RequestID {
        defer { end += 1 }
        return end
    }

    /// Whether it is this one's turn already, as it mostly is. Then it has been taken out: its answer need not be kept.
    mutating func takeTurn(_ id: RequestID) -> Bool {
        guard id == first, first < end, early.isEmpty || early[id] == nil else { return false }
        first += 1
        return true
    }

    /// Keeps the answer until it is its turn. A second answer to one request is dropped.
    mutating func fill(_ id: RequestID, _ reply: Reply) {
        guard id >= first, id < end, early[id] == nil else { return }
        early[id] = reply
    }

    /// The next answer whose turn it is.
    mutating func next() -> Reply? {
        guard !early.isEmpty, let reply = early.removeValue(forKey: first) else { return nil }
        first += 1
        return reply
    }
}
