import Synchronization

/// Writes of unknown outcome whose end is waited for (``UnknownOutcome``).
///
/// Each has a task, and their number is bounded. A write beyond the bound is not waited for; its tags are repeated
/// until it can't land any more instead.
final class UnsettledWrites: Sendable {
    /// Maximum number of such writes.
    static let maximum = 256

    private struct State {
        var tasks: [UInt64: Task<Void, Never>] = [:]
        var nextID: UInt64 = 0
        var isEnded = false
    }

    private let state = Mutex(State())

    /// Number of such writes.
    var count: Int { state.withLock { $0.tasks.count } }

    /// Runs `then` when `settled` has returned. Not if there is no room, or if ``end()`` comes first.
    func follow(until settled: @escaping @Sendable () async -> Void, _ then: @escaping @Sendable () async -> Void) {
        state.withLock { state in
            guard !state.isEnded, state.tasks.count < Self.maximum else { return }
            state.nextID += 1
            let id = state.nextID
            state.tasks[id] = Task { [self] in
                // `settled` may ignore cancellation. It is not waited for then.
                let isSettled = SharedTask<Void>()
                isSettled.begin {
                    await settled()
                    isSettled.finish(())
                }
                if (try? await isSettled.value()) != nil, !Task.isCancelled { await then() }
                self.state.withLock { $0.tasks[id] = nil }
            }
        }
    }

    /// Stops waiting. syncd repeats the tags in the journal.
    func end() {
        let tasks = state.withLock { state in
            state.isEnded = true
            return state.tasks.values.map { $0 }
        }
        for task in tasks { task.cancel() }
    }
}
