import Logging
import Synchronization
import TestSupport
import Testing

@testable import apiworker

@Suite struct DatabaseHealthTests {
    private final class Clock: Sendable {
        private let instant = Mutex(ContinuousClock.now)
        var now: ContinuousClock.Instant { instant.withLock { $0 } }
        func advance(_ duration: Duration) { instant.withLock { $0 += duration } }
    }

    private let clock = Clock()
    private let log = CapturedLog()
    private let health: DatabaseHealth

    init() {
        health = DatabaseHealth(
            logger: Logger(label: "test", factory: { [log] _ in log }), now: { [clock] in clock.now })
    }

    private func failure(_ detail: String) -> StorageFailure {
        StorageFailure(kind: .unavailable, evidence: .silent, detail: detail)
    }

    @Test func `an outage is said once for each reason, and its end once`() {
        for _ in 0..<3 {
            health.note(failure("a"))
            health.note(failure("b"))
        }
        #expect(!health.isReachable)
        for _ in 0..<3 { health.noteAnswer() }
        #expect(health.isReachable)
        #expect(
            log.lines == [
                "MongoDB is unreachable detail=a", "MongoDB is unreachable detail=b", "MongoDB is reachable again ",
            ])
    }

    @Test func `a database that answers now and then is not said to be lost each time`() {
        for _ in 0..<100 {
            health.note(failure("no answer in time"))
            health.noteAnswer()
            clock.advance(.milliseconds(50))
        }
        #expect(log.lines == ["MongoDB is unreachable detail=no answer in time", "MongoDB is reachable again "])
        clock.advance(DatabaseHealth.betweenSameLines)
        health.note(failure("no answer in time"))
        #expect(log.lines.count == 3)
    }

    @Test func `an outage with a reason that is not news yet has an end`() {
        health.note(failure("a"))
        health.noteAnswer()
        health.note(failure("a"))
        health.note(failure("b"))
        health.noteAnswer()
        #expect(
            log.lines == [
                "MongoDB is unreachable detail=a", "MongoDB is reachable again ", "MongoDB is unreachable detail=b",
                "MongoDB is reachable again ",
            ])
    }
}
