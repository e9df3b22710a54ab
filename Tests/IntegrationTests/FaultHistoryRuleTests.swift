import TestSupport
import Testing

/// The checker itself, with histories that are made up.
@Suite struct FaultHistoryRuleTests {
    private let history = FaultHistory(hosts: 2, keys: 1)
    private let start = ContinuousClock.now

    private func at(_ seconds: Double) -> ContinuousClock.Instant { start + .seconds(seconds) }

    /// Begins the next round, and acknowledges it on a host.
    private func write(on host: Int, at seconds: Double) {
        history.acknowledged(0, round: history.roundBegins(0), on: host, by: "PUT 200", now: at(seconds))
    }

    /// Reads on a host; says what is wrong with it.
    private func read(_ shown: FaultHistory.Shown, on host: Int, at seconds: Double) -> String? {
        let before = history.stale.count
        history.showed(history.readBegins([0], on: host, now: at(seconds)), 0, shown, from: "L1", worker: "w")
        return history.stale.count > before ? history.stale.last : nil
    }

    @Test func `what its host acknowledged, a read must show`() throws {
        write(on: 0, at: 10)
        let before = history.readBegins([0], on: 0, now: at(11))
        write(on: 0, at: 12)
        history.showed(before, 0, .round(1), from: "L1", worker: "w")
        history.showed(before, 0, .round(2), from: "L1", worker: "w")
        #expect(history.stale.isEmpty, "2 came while it read")
        let text = try #require(read(.round(1), on: 0, at: 13))
        #expect(text.contains("read round(1) of key 0 from L1; possible are 2…2: PUT 200 on this host 1000 ms before"))
        #expect(read(.round(3), on: 0, at: 13) != nil, "nobody has written that")
    }

    @Test func `another host has two seconds, while nothing is wrong`() {
        write(on: 0, at: 10)
        #expect(read(.round(0), on: 1, at: 11.9) == nil)
        #expect(read(.round(0), on: 1, at: 12) != nil)
        history.faultBegan("cut", .host(0))
        write(on: 0, at: 20)
        #expect(read(.round(1), on: 1, at: 30) == nil, "a host that is cut off can tell nobody")
        #expect(read(.round(1), on: 0, at: 30) != nil, "but itself")
        history.faultEnded(.host(0), now: at(31))
        write(on: 0, at: 32)
        #expect(read(.round(1), on: 1, at: 40) == nil, "it has just come back")
        history.faultBegan("slow database", .nobody)
        write(on: 0, at: 40)
        #expect(read(.round(3), on: 1, at: 43) != nil, "not every fault is an excuse")
    }

    @Test func `a read that brings the position of a write shows it on every host at once`() throws {
        write(on: 0, at: 10)
        let read = history.readBegins([0], on: 1, after: 1, now: at(10.001))
        history.showed(read, 0, .round(1), from: "L1", worker: "w")
        #expect(history.stale.isEmpty)
        history.showed(read, 0, .round(0), from: "L1", worker: "w")
        #expect(try #require(history.stale.first).contains("possible are 1…1: its position is brought"))
    }

    @Test func `an equal write that was answered elsewhere acknowledges the state on its host, too`() {
        let round = history.roundBegins(0)
        history.acknowledged(0, round: round, on: 0, by: "PUT 200, one of several", now: at(10))
        #expect(read(.round(0), on: 1, at: 10.1) == nil)
        history.acknowledged(0, round: round, on: 1, by: "PUT 200, one of several", now: at(10.2))
        #expect(read(.round(0), on: 1, at: 10.3) != nil)
    }

    @Test func `a round that nobody knows to have happened is written again`() {
        #expect(history.roundBegins(0) == 1)
        #expect(history.roundBegins(0) == 1, "of unknown outcome")
        #expect(read(.round(0), on: 0, at: 10) == nil && read(.round(1), on: 0, at: 10) == nil)
        history.acknowledged(0, round: 1, on: 1, now: at(11))
        #expect(history.roundBegins(0) == 2)
    }

    @Test func `states that come again are judged when only one round is possible`() {
        write(on: 0, at: 10)
        #expect(read(.odd(true), on: 0, at: 11) == nil)
        #expect(read(.odd(false), on: 0, at: 11) != nil, "a link that was acknowledged")
        let unlink = history.roundBegins(0)
        #expect(read(.odd(true), on: 0, at: 12) == nil && read(.odd(false), on: 0, at: 12) == nil)
        history.acknowledged(0, round: unlink, on: 0, by: "unlink 200", now: at(13))
        #expect(read(.odd(true), on: 0, at: 14) != nil)
    }

    @Test func `who was deleted is not there, and who was created is`() {
        write(on: 0, at: 10)
        #expect(read(.otherThan(1), on: 0, at: 11) != nil, "404 after a creation")
        let deletion = history.roundBegins(0)
        #expect(read(.otherThan(1), on: 0, at: 11) == nil && read(.owner(1), on: 0, at: 11) == nil)
        history.acknowledged(0, round: deletion, on: 0, by: "DELETE 404, one of several", now: at(12))
        #expect(read(.owner(1), on: 0, at: 13) != nil, "200 after a deletion")
        #expect(read(.otherThan(1), on: 0, at: 13) == nil)
        history.acknowledged(0, round: history.roundBegins(0), on: 1, by: "POST 201", now: at(13.1))
        #expect(read(.owner(1), on: 1, at: 13.2) == nil, "a creation on another host says nothing of that deletion")
    }

    @Test func `what the database has had for long, all must see`() throws {
        write(on: 0, at: 10)
        let unknown = history.roundBegins(0)
        history.observed(0, round: unknown, now: at(20))
        #expect(read(.round(1), on: 0, at: 27.9) == nil)
        let text = try #require(read(.round(1), on: 1, at: 28))
        #expect(text.contains("the database had it 8000 ms before"))
        #expect(read(.round(2), on: 1, at: 28) == nil)
    }

    @Test func `what the database has is no news to a host without its syncd`() {
        let unknown = history.roundBegins(0)
        history.observed(0, round: unknown, now: at(20))
        history.faultBegan("kill", .host(1))
        #expect(read(.round(0), on: 0, at: 30) == nil, "its journal is read by nobody")
        history.faultEnded(.host(1), now: at(31))
        #expect(read(.round(0), on: 0, at: 38) == nil)
        #expect(read(.round(0), on: 0, at: 39.1) != nil)
    }

    @Test func `what is known takes no more memory the longer it goes on`() {
        for second in 1...10_000 {
            write(on: 0, at: Double(second))
            history.observed(0, round: second, now: at(Double(second)))
        }
        #expect(history.knowledgeCount < 20)
        #expect(read(.round(9990), on: 1, at: 10_000) != nil)
        for _ in 0..<1000 { history.failed("x") }
        #expect(history.failures.count == 200 && history.figures.failureCount == 1000)
    }
}
