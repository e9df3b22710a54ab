import NIOCore
import SyncCore

/// Shares the event loop's time among connections, so that expensive commands of one do not delay the others for long.
///
/// A connection's turn ends after ``turnNanoseconds``, counted in time: the cost of a command depends on the number of
/// clients, patterns and subscribers. A connection with more requests is suspended. All turns together have a slice of
/// time. When it is used up, all connections are suspended until the event loop has served its sockets and timers, the
/// heartbeat's among them. Then the connections whose process has used least go first.
final class TurnQueue {
    /// Maximum time of one connection before the others have their turn.
    static let turnNanoseconds: UInt64 = 1_000_000
    /// Maximum time of all connections before the event loop continues.
    private static let sliceNanoseconds: UInt64 = 5_000_000
    /// Long enough for the event loop to serve its sockets in between; a task without delay would come before them.
    private static let pause = TimeAmount.microseconds(100)

    private let eventLoop: any EventLoop
    private let clock: () -> UInt64
    private var waiting: [WorkerConnection] = []
    /// Time used in the present slice.
    private var used: UInt64 = 0
    /// Time that each process has used lately.
    private var usedBy: [Int32: UInt64] = [:]
    private var isScheduled = false
    /// Called after a connection had its turn.
    var onTurnEnd: () -> Void = {}

    init(eventLoop: any EventLoop, clock: @escaping () -> UInt64) {
        self.eventLoop = eventLoop
        self.clock = clock
    }

    /// Whether a turn may begin.
    var hasTime: Bool { used < Self.sliceNanoseconds }

    /// Adds the time that a connection has used.
    func charge(_ peer: Peer, _ nanoseconds: UInt64) {
        used += nanoseconds
        usedBy[peer.pid, default: 0] += nanoseconds
    }

    /// The connection continues in a later slice.
    func suspend(_ connection: WorkerConnection) {
        waiting.append(connection)
        schedule()
    }

    /// Reduces old usage; called at each heartbeat.
    func age() { usedBy = usedBy.compactMapValues { $0 < 1_000_000 ? nil : $0 / 2 } }

    private func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        eventLoop.scheduleTask(in: Self.pause) { [bound = NIOLoopBound(self, eventLoop: eventLoop)] in
            bound.value.runSlice()
        }
    }

    private func runSlice() {
        isScheduled = false
        used = 0
        // Connections whose turn ends in this slice come back with the next one.
        var turns = waiting
        waiting = []
        while hasTime, !turns.isEmpty {
            let connection = turns.remove(at: leastUsed(turns))
            guard !connection.isClosed else { continue }
            let began = clock()
            connection.proceed()
            onTurnEnd()
            charge(connection.peer, clock() - began)
        }
        waiting = turns + waiting
        if !waiting.isEmpty { schedule() }
    }

    private func leastUsed(_ turns: [WorkerConnection]) -> Int {
        var best = 0
        for index in turns.indices where use(turns[index]) < use(turns[best]) { best = index }
        return best
    }

    private func use(_ connection: WorkerConnection) -> UInt64 { usedBy[connection.peer.pid] ?? 0 }
}
