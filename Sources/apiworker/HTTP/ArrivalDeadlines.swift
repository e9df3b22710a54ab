import NIOCore

/// The deadlines of a connection. Times are passed in.
struct ArrivalDeadlines: Sendable {
    /// The next part of a request that is expected.
    enum Phase: Sendable, Hashable {
        /// Nothing of the next request has arrived.
        case idle
        case head
        case body
    }

    private(set) var phase = Phase.idle
    private var arrival: NIODeadline?
    private var write: NIODeadline?
    private let limits: HTTPLimits

    init(limits: HTTPLimits) { self.limits = limits }

    /// The earliest time at which the connection is to be cut.
    var next: NIODeadline? {
        guard let arrival, let write else { return arrival ?? write }
        return min(arrival, write)
    }

    /// The connection waits for a request: it is new, or everything is answered.
    mutating func becameIdle(now: NIODeadline) { arrival = now + limits.idle }

    /// Bytes have arrived. Between requests they begin the next one; slowly arriving bytes don't move its deadline.
    mutating func bytesArrived(now: NIODeadline) {
        guard phase == .idle else { return }
        phase = .head
        arrival = now + limits.arrival
    }

    mutating func headArrived(now: NIODeadline) {
        phase = .body
        arrival = now + limits.arrival
    }

    mutating func requestCompleted() {
        phase = .idle
        arrival = nil
    }

    /// The client has taken a part of a response.
    mutating func partWritten(now: NIODeadline) {
        if write != nil { write = now + limits.stalledWrite }
    }

    /// Whether the client has not read for too long.
    func isWriteOver(now: NIODeadline) -> Bool { write.map { $0 <= now } ?? false }

    /// The client reads, or lets a response wait.
    mutating func writabilityChanged(isWritable: Bool, now: NIODeadline) {
        write = isWritable ? nil : now + limits.stalledWrite
    }
}
