import Synchronization

/// The time for limits of tests: it goes on only while this process does.
///
/// On a machine that others use, all of it or the threads of this process may stand still for seconds. Whoever waits
/// would wake up to find the time over that the program under test has not had, and that nobody has looked at.
package enum PatientClock {
    private static let ticker = Ticker()

    /// Since some instant of this process.
    package static var now: Duration { ticker.now }

    private final class Ticker: Sendable {
        private let time = Mutex(PatientTime(at: .now))

        init() {
            // It needs a thread of those that tests run on: while it gets none, they get none.
            Task.detached { [self] in
                while true {
                    time.withLock { $0.tick(at: .now) }
                    try? await Task.sleep(for: .milliseconds(10))
                }
            }
        }

        var now: Duration { time.withLock { $0.elapsed(at: .now) } }
    }
}

/// Counts the time between ticks, but of a long pause without any only its beginning.
package struct PatientTime {
    /// What counts at most between two ticks.
    package static let longestInterval = Duration.milliseconds(100)

    private var counted = Duration.zero
    private var last: ContinuousClock.Instant

    package init(at instant: ContinuousClock.Instant) { last = instant }

    package mutating func tick(at instant: ContinuousClock.Instant) {
        counted = elapsed(at: instant)
        last = instant
    }

    package func elapsed(at instant: ContinuousClock.Instant) -> Duration {
        counted + min(instant - last, Self.longestInterval)
    }
}
