import NIOCore
import NIOPosix
import Synchronization

/// Finds out when writes that ended without an answer can't land any more.
///
/// Each write has a deadline that its server compares with its own clock when it begins with the write. So one thread
/// asks the server for its time, for all writes, until two answers that are ``settlingTime`` apart both show that the
/// deadline is over. The first answer shows that the server runs, and that it begins with no such write any more. The
/// second one gives it time to end a write that it had begun when it was stopped (a stopped process, a frozen machine):
/// such a write is ended by its `maxTimeMS`, or is done within that time.
///
/// A server that doesn't answer for ``bound`` is given up.
final class LateWrites: Sendable {
    /// No write lands later than this after its call began (docs/consistency.md, "Writes that land late").
    static let bound = TimeAmount.seconds(120)
    static let interval = TimeAmount.milliseconds(500)
    static let settlingTime = TimeAmount.seconds(1)

    /// A write of unknown outcome.
    private struct Late {
        var landing: MongoCall.Landing?
        var settlement: Settlement
        var end: NIODeadline
        /// The time when an answer first showed that the deadline is over.
        var passedAt: NIODeadline?
    }

    private struct State {
        var writes: [Late] = []
        var isScheduled = false
    }

    private let pool: MongoClientPool
    private let eventLoop: any EventLoop
    private let thread = NIOThreadPool(numberOfThreads: 1)
    private let state = Mutex(State())

    init(pool: MongoClientPool, eventLoop: any EventLoop) {
        self.pool = pool
        self.eventLoop = eventLoop
        thread.start()
    }

    /// Adds a write that its thread has left with an unknown outcome. Ends its settlement when the outcome is certain.
    func add(_ call: MongoCall) {
        let late = Late(landing: call.landing, settlement: call.settlement, end: call.madeAt + Self.bound)
        let mustSchedule = state.withLock { state -> Bool in
            state.writes.append(late)
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        if mustSchedule { schedule() }
    }

    private func schedule() {
        eventLoop.scheduleTask(in: Self.interval) { [self] in
            thread.submit { [self] state in
                guard state == .active else { return }
                pass()
            }
        }
    }

    /// Asks each server once, and ends the writes whose deadline is over.
    private func pass() {
        let servers = Set(state.withLock { $0.writes.compactMap(\.landing?.server) })
        var times: [UInt32: Int64] = [:]
        for server in servers { times[server] = time(of: server) }
        let now = NIODeadline.now()
        let (over, isDone) = state.withLock { state -> ([Late], Bool) in
            for index in state.writes.indices {
                guard let landing = state.writes[index].landing, let time = times[landing.server] else { continue }
                if time >= landing.deadline, state.writes[index].passedAt == nil { state.writes[index].passedAt = now }
            }
            // Only an answer of this very pass confirms that the server runs.
            let isOver = { (late: Late) -> Bool in
                if now >= late.end { return true }
                guard let landing = late.landing, let passedAt = late.passedAt else { return false }
                return times[landing.server] != nil && now >= passedAt + Self.settlingTime
            }
            let over = state.writes.filter(isOver)
            state.writes.removeAll(where: isOver)
            state.isScheduled = !state.writes.isEmpty
            return (over, state.writes.isEmpty)
        }
        for late in over { late.settlement.finish() }
        if !isDone { schedule() }
    }

    /// The time of a server's clock; `nil` without an answer.
    private func time(of server: UInt32) -> Int64? {
        do throws(StorageFailure) {
            return try pool.withClient(for: MongoCall(now: .now())) { client throws(StorageFailure) in
                try client.serverTime(of: server)
            }
        } catch {
            return nil
        }
    }
}
