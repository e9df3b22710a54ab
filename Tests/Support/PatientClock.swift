import Synchronization

/// The time for limits of tests: it goes on only while this process does.
///
/// On a machine that others use, all of it or the threads of this process may stand still for seconds. Whoever waits
/// would wake up to find the time over that the program under test has not had, and that nobody has looked at.
package enum PatientClock {
    private static let ticker = Ticker()
    private static let interval = Duration.milliseconds(10)
    /// What counts at most between two ticks.
    private static let longestInterval = Duration.milliseconds(100)

    /// Since some instant of this process.
    package static var now: Duration { ticker.now }

    private final class Ticker: Sendable {
        private struct State {
            var counted = Duration.zero
            var last = ContinuousClock.now

            var now: Duration { counted + min(ContinuousClock.now - last, PatientClock.longestInterval) }
        }

        private let state = Mutex(State())

        init() {
            // It needs a thread of those that tests run on: while it gets none, they get none.
            Task.detached { [self] in
                while true {
                    state.withLock { state in
                        state.counted = state.now
                        state.last = .now
                    }
                    try? await Task.sleep(for: PatientClock.interval)
                }
            }
        }

        var now: Duration { state.withLock { $0.now } }
    }
}
