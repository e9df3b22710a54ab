import IPC
import NIOCore
import Synchronization

/// A clock that is moved by hand. Sleepers and timers fire, in the order of their times, when it passes them.
///
/// Use it for a ``ScriptedSyncd`` and for the caches that are connected to it.
public final class ManualClock: Sendable {
    private struct Timer {
        var deadline: BootTime
        var id: UInt64
        var isSleeper = false
        var fire: @Sendable () -> Void
    }

    private struct State {
        var now: BootTime = 1_000_000_000_000
        var timers: [Timer] = []
        var nextID: UInt64 = 0
    }

    private let state = Mutex(State())

    /// A clock that stands still.
    public init() {}

    /// Nanoseconds since a boot that never was.
    package var now: BootTime { state.withLock { $0.now } }
    /// When the tasks go on that sleep until some time: those that wait to connect anew, and writes that wait for distrust.
    package var sleeperDeadlines: [BootTime] { state.withLock { $0.timers.filter(\.isSleeper).map(\.deadline) } }
    /// Number of these tasks.
    package var sleeperCount: Int { state.withLock { $0.timers.count { $0.isSleeper } } }

    /// Moves the clock forward. Everything that is due on the way has been called when this returns; what tasks and event
    /// loops make of that comes later.
    public func advance(by duration: Duration) {
        let target = now + UInt64(max(.zero, duration) / .nanoseconds(1))
        while true {
            let timer = state.withLock { state -> Timer? in
                guard let next = state.timers.min(by: { ($0.deadline, $0.id) < ($1.deadline, $1.id) }),
                    next.deadline <= target
                else {
                    state.now = target
                    return nil
                }
                state.now = max(state.now, next.deadline)
                state.timers.removeAll { $0.id == next.id }
                return next
            }
            guard let timer else { return }
            timer.fire()
        }
    }

    @discardableResult
    private func add(_ deadline: BootTime, isSleeper: Bool = false, _ fire: @escaping @Sendable () -> Void) -> UInt64 {
        state.withLock { state in
            state.nextID += 1
            state.timers.append(Timer(deadline: deadline, id: state.nextID, isSleeper: isSleeper, fire: fire))
            return state.nextID
        }
    }

    private func sleep(until deadline: BootTime) async throws {
        let (ends, end) = AsyncStream.makeStream(of: Void.self)
        let id = add(deadline, isSleeper: true) { end.finish() }
        defer { state.withLock { $0.timers.removeAll { $0.id == id } } }
        for await _ in ends {}
        try Task.checkCancellation()
    }

    package var workerClock: WorkerClock {
        WorkerClock(
            now: { self.now },
            sleep: { try await self.sleep(until: $0) },
            schedule: { eventLoop, deadline, work in
                self.add(deadline) { eventLoop.execute(work) }
            })
    }
}
