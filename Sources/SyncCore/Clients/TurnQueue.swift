/// Shares the event loop's time among clients, so that no command is so dear that others wait long for it.
///
/// A client's turn ends after ``turnNanoseconds``, counted in time: what a command costs depends on how many clients,
/// patterns and subscribers there are. A client that has more to ask is suspended. All turns together have a slice of
/// time; when it is used up, everybody is suspended until the event loop has been to its sockets and timers, the
/// heartbeat's among them. Then those go on first whose process has used least.
struct TurnQueue {
    /// Maximum time of one client before the others have their turn.
    static let turnNanoseconds: UInt64 = 1_000_000
    /// Maximum time of all connections before the event loop continues.
    private static let sliceNanoseconds: UInt64 = 5_000_000
    /// Long enough for the event loop to serve its sockets in between; a task without delay would come before them.
    static let pauseNanoseconds: UInt64 = 100_000

    private var waiting: [ClientConnection] = []
    /// Clients of the present slice that have not had their turn.
    private var slice: [ClientConnection] = []
    /// Time used in the present slice.
    private var used: UInt64 = 0
    /// Time that each process has used lately.
    private var usedBy: [Int32: UInt64] = [:]
    private var isScheduled = false
    /// Clients have their turns of one slice, one after the other.
    private(set) var isInSlice = false

    /// Whether a turn may begin.
    var hasTime: Bool { used < Self.sliceNanoseconds }

    /// A client has used some time.
    mutating func charge(_ peer: Peer, _ nanoseconds: UInt64) {
        if nanoseconds == 0 { return }
        used += nanoseconds
        usedBy[peer.pid, default: 0] += nanoseconds
    }

    /// The client goes on in a later slice. Returns whether that has to be scheduled now. Within a slice it is not, but at
    /// its end: a task that is due when the slice ends would go before the sockets.
    mutating func suspend(_ client: ClientConnection) -> Bool {
        waiting.append(client)
        if isScheduled || isInSlice { return false }
        isScheduled = true
        return true
    }

    /// Reduces old usage; called at each heartbeat.
    mutating func age() { usedBy = usedBy.compactMapValues { $0 < 1_000_000 ? nil : $0 / 2 } }

    mutating func beginSlice() {
        isScheduled = false
        isInSlice = true
        used = 0
        // Connections whose turn ends in this slice come back with the next one.
        slice = waiting
        waiting = []
    }

    /// Whose turn it is in this slice. `nil`: it is over, and `isMore` says whether another one has to be scheduled.
    mutating func next() -> (client: ClientConnection?, isMore: Bool) {
        while hasTime, !slice.isEmpty {
            let client = slice.remove(at: leastUsed)
            if client.phase < .cutOff { return (client, false) }
        }
        waiting = slice + waiting
        slice = []
        isInSlice = false
        let isMore = !waiting.isEmpty && !isScheduled
        isScheduled = isScheduled || isMore
        return (nil, isMore)
    }

    private var leastUsed: Int {
        var best = 0
        for index in slice.indices where use(slice[index]) < use(slice[best]) { best = index }
        return best
    }

    private func use(_ client: ClientConnection) -> UInt64 { usedBy[client.peer.pid] ?? 0 }
}
