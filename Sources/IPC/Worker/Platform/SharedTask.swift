import Synchronization

/// One piece of work whose result several tasks wait for. A task that is cancelled only stops waiting; the work is
/// cancelled when no task is left.
///
/// A task that wants the result joins first, synchronously, and then awaits ``value()`` exactly once.
final class SharedTask<Success: Sendable>: Sendable {
    private struct State {
        var result: Success?
        var waiting: [UInt64: CheckedContinuation<Success?, Never>] = [:]
        var nextID: UInt64 = 0
        /// Tasks that joined and neither got the result nor gave up.
        var interested = 1
        var isAbandoned = false
        var work: Task<Void, Never>?
    }

    private let state = Mutex(State())

    /// The creating task has joined.
    init() {}

    /// Adds one task. False if all earlier ones had given up: then there will be no result.
    func join() -> Bool {
        state.withLock { state in
            guard !state.isAbandoned else { return false }
            state.interested += 1
            return true
        }
    }

    /// Whether all tasks gave up before there was a result.
    var isAbandoned: Bool { state.withLock { $0.isAbandoned } }

    /// Tasks that joined and neither got the result nor gave up.
    var interestedCount: Int { state.withLock { $0.result == nil ? $0.interested : 0 } }

    /// Begins the work in a separate task.
    ///
    /// - Parameter executor: `nil`: Swift's own threads.
    func begin(on executor: (any TaskExecutor)? = nil, _ work: @escaping @Sendable () async -> Void) {
        let task = Task(executorPreference: executor) { await work() }
        let isAbandoned = state.withLock { state in
            state.work = task
            return state.isAbandoned
        }
        if isAbandoned { task.cancel() }
    }

    /// The work is done. Only the first result counts.
    func finish(_ result: Success) { _ = finishFirst(result) }

    /// The same; false if there was a result already.
    func finishFirst(_ result: Success) -> Bool {
        let waiting = state.withLock { state -> [UInt64: CheckedContinuation<Success?, Never>]? in
            guard state.result == nil else { return nil }
            state.result = result
            state.work = nil
            defer { state.waiting = [:] }
            return state.waiting
        }
        guard let waiting else { return false }
        for continuation in waiting.values { continuation.resume(returning: result) }
        return true
    }

    /// Waits for the result.
    func value() async throws(CancellationError) -> Success {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { wait(id, $0) }
        } onCancel: {
            giveUp(id)
        }
        guard let result else { throw CancellationError() }
        return result
    }

    private func wait(_ id: UInt64, _ continuation: CheckedContinuation<Success?, Never>) {
        // The flag is set before the handler runs: either it is seen here, or the handler finds the continuation.
        let isCancelled = Task.isCancelled
        let (result, isDone) = state.withLock { state -> (Success?, Bool) in
            if let result = state.result { return (result, true) }
            if isCancelled || Task.isCancelled { return (nil, true) }
            state.waiting[id] = continuation
            return (nil, false)
        }
        guard isDone else { return }
        if result == nil { leave() }
        continuation.resume(returning: result)
    }

    private func giveUp(_ id: UInt64) {
        guard let continuation = state.withLock({ $0.waiting.removeValue(forKey: id) }) else { return }
        leave()
        continuation.resume(returning: nil)
    }

    private func leave() {
        let abandoned = state.withLock { state -> Task<Void, Never>? in
            state.interested -= 1
            guard state.interested == 0, state.result == nil else { return nil }
            state.isAbandoned = true
            return state.work
        }
        abandoned?.cancel()
    }
}
