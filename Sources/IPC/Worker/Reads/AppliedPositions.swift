import IPCWire
import NIOCore
import Synchronization

/// Waits of reads for positions that this host has not applied yet (docs/consistency.md, "Reading your own writes").
///
/// The tag table shows the applied position, so no message is needed. One task looks at the table for all waiting
/// reads.
final class AppliedPositions: Sendable {
    /// Maximum time of a wait.
    static let patienceNanoseconds: UInt64 = 50_000_000
    /// Interval at which the table is read meanwhile.
    static let stepNanoseconds: UInt64 = 500_000
    /// Maximum number of waiting reads; others read the database at once.
    static let limit = 1024

    private struct Waiter {
        var place: SyncPosition.Place
        var deadline: BootTime
        var continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var waiters: [Waiter] = []
        var isWatching = false
    }

    private let state = Mutex(State())
    private let l1: L1Cache
    private let clock: WorkerClock
    private let executor: (any TaskExecutor)?

    init(l1: L1Cache, clock: WorkerClock, executor: (any TaskExecutor)?) {
        self.l1 = l1
        self.clock = clock
        self.executor = executor
    }

    /// Number of waiting reads.
    var waitingCount: Int { state.withLock { $0.waiters.count } }

    /// Whether a position is applied at this moment.
    func contains(_ position: SyncPosition) -> Bool {
        position.place.map { verdict(on: $0) == .applied } ?? false
    }

    /// Whether a position is applied, at once or after a wait. False: the database has to be read.
    nonisolated(nonsending) func contain(_ position: SyncPosition) async -> Bool {
        guard let place = position.place else { return false }
        switch verdict(on: place) {
        case .applied: return true
        case .incomparable: return false
        case .pending: if breaks(.positionNotAwaited) { return true }
        }
        let deadline = clock.now() + Self.patienceNanoseconds
        return await withCheckedContinuation { continuation in
            let (hasRoom, begins) = state.withLock { state in
                guard state.waiters.count < Self.limit else { return (false, false) }
                state.waiters.append(Waiter(place: place, deadline: deadline, continuation: continuation))
                defer { state.isWatching = true }
                return (true, !state.isWatching)
            }
            if !hasRoom { continuation.resume(returning: false) }
            if begins { Task(executorPreference: executor) { [self] in await watch() } }
        }
    }

    /// The verdict of the table that judges the values of L1. syncd that is isolated, or was not heard of for a trust
    /// window, applies nothing.
    private func verdict(on place: SyncPosition.Place) -> PositionVerdict {
        guard let table = l1.table else { return .incomparable }
        let verdict = table.verdict(on: place)
        guard verdict == .pending else { return verdict }
        switch Trust(table).distrust(at: clock.now()) {
        case .isolated, .heartbeatTooOld: return .incomparable
        // An idle host applies entries, too.
        case .freshAsOfTooOld, .notAskedSinceSleep, nil: return .pending
        }
    }

    private func watch() async {
        var isWaitedFor = true
        while isWaitedFor {
            try? await clock.sleep(clock.now() + Self.stepNanoseconds)
            let now = clock.now()
            var ended: [(Waiter, Bool)] = []
            isWaitedFor = state.withLock { state in
                state.waiters.removeAll { waiter in
                    let verdict = verdict(on: waiter.place)
                    guard verdict != .pending || now >= waiter.deadline else { return false }
                    ended.append((waiter, verdict == .applied))
                    return true
                }
                state.isWatching = !state.waiters.isEmpty
                return state.isWatching
            }
            for (waiter, isApplied) in ended { waiter.continuation.resume(returning: isApplied) }
        }
    }
}
