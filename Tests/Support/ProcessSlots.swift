import Synchronization
import Testing

/// Limits the number of concurrent tests that start processes: they check times, and a machine with two cores and fifty
/// servers cannot meet any of them.
package struct ProcessSlots: TestTrait, SuiteTrait, TestScoping {
    private static let gate = Gate(slots: 4)

    /// Applies to every test of a suite, not to the suite as a whole.
    package let isRecursive = true

    package func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        guard testCase != nil else { return try await function() }
        await Self.gate.enter()
        defer { Self.gate.leave() }
        try await function()
    }
}

extension Trait where Self == ProcessSlots {
    /// The test starts processes.
    package static var processes: Self { ProcessSlots() }
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
