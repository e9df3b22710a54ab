import Synchronization
import Testing

/// Limits the number of concurrent tests that start processes: they check times, and a machine with two cores and fifty
/// servers cannot meet any of them.
///
/// A test that hangs is cancelled after `limit`, counted from its turn. (The limit of `.timeLimit` includes the wait for
/// it, which is as long as the machine is slow.)
package struct ProcessSlots: TestTrait, SuiteTrait, TestScoping {
    private static let gate = Gate(slots: 4)

    /// Applies to every test of a suite, not to the suite as a whole.
    package let isRecursive = true
    package let limit: Duration?

    package init(limit: Duration?) { self.limit = limit }

    package func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        guard testCase != nil else { return try await function() }
        await Self.gate.enter()
        defer { Self.gate.leave() }
        guard let limit else { return try await function() }
        // The group has ended when the closure does.
        try await withoutActuallyEscaping(function) { function in
            try await withThrowingTaskGroup { group in
                group.addTask { try await function() }
                group.addTask {
                    try await Task.sleep(for: limit)
                    throw TestFailure("the test has not ended after \(limit)")
                }
                try await group.next()
                group.cancelAll()
            }
        }
    }
}

extension Trait where Self == ProcessSlots {
    /// The test starts processes, and takes less than ten minutes.
    package static var processes: Self { .processes(limit: .seconds(600)) }

    /// The test starts processes, and takes less than `limit`.
    package static func processes(limit: Duration?) -> Self { ProcessSlots(limit: limit) }
}

/// A counting semaphore that suspends instead of blocking, first come, first served.
private final class Gate: Sendable {
    private struct State {
        var free: Int
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    init(slots: Int) { state = Mutex(State(free: slots)) }

    func enter() async {
        await withCheckedContinuation { continuation in
            let mayGo = state.withLock { state in
                if state.free > 0 {
                    state.free -= 1
                    return true
                }
                state.waiting.append(continuation)
                return false
            }
            if mayGo { continuation.resume() }
        }
    }

    func leave() {
        let next: CheckedContinuation<Void, Never>? = state.withLock { state in
            guard !state.waiting.isEmpty else {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
