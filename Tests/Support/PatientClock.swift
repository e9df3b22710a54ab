import Synchronization

/// The clock for time limits of tests: it stops while this process is stopped.
///
/// On a busy machine, the whole machine or the threads of this process may stop for seconds. A waiting test would then
/// find its time over, although the program under test had no time either.
package enum PatientClock {
    private static let ticker = Ticker()

    /// Since some instant of this process.
    package static var now: Duration { ticker.now }

    private final class Ticker: Sendable {
        private let time = Mutex(PatientTime(at: .now))

        init() {
            // The task needs one of the threads that tests run on: while it gets none, they get none.
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

/// Sums the time between ticks; of a long pause only its beginning counts.
package struct PatientTime {
    /// Maximum time that counts between two ticks.
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
