import DequeModule
import IPCWire

/// Puts replies back into the order of their requests: Redis' protocol knows no other way to tell whose they are.
struct ReplyQueue {
    private var slots: Deque<Reply?> = []
    private var first: RequestID = 0

    /// Requests that are not answered yet, or whose answer waits for an earlier one.
    var count: Int { slots.count }

    /// A new request's place.
    mutating func open() -> RequestID {
        slots.append(nil)
        return first + RequestID(slots.count - 1)
    }

    /// Whether it is this one's turn already, as it mostly is. Then it has been taken out: its answer need not be kept.
    mutating func takeTurn(_ id: RequestID) -> Bool {
        guard id == first, !slots.isEmpty, slots[0] == nil else { return false }
        slots.removeFirst()
        first += 1
        return true
    }

    /// Keeps the answer until it is its turn. A second answer to one request is dropped.
    mutating func fill(_ id: RequestID, _ reply: Reply) {
        guard id >= first, id - first < slots.count else { return }
        let index = Int(id - first)
        if slots[index] == nil { slots[index] = reply }
    }

    /// The next answer whose turn it is.
    mutating func next() -> Reply? {
        guard let head = slots.first, let reply = head else { return nil }
        slots.removeFirst()
        first += 1
        return reply
    }
}
