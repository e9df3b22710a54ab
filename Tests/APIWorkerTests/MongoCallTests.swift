import NIOCore
import TestSupport
import Testing

@testable import apiworker

/// The waiting for the database. Times are those of the timer; the thread's own are the clock's.
@Suite struct MongoCallTests {
    private static func failure(_ check: MongoCall.Check) -> StorageFailure? {
        if case .giveUp(let failure) = check { failure } else { nil }
    }

    private let now = NIODeadline.now()
    private var late: NIODeadline { now + MongoCall.patience + .seconds(60) }

    @Test func `in time`() throws {
        let call = MongoCall(now: now)
        #expect(call.check(now: now + .seconds(1)) == .later(now + .seconds(2)))
        try call.begin()
        try call.beginWriting()
        #expect(call.finish())
        #expect(call.check(now: late) == .done)
        #expect(!call.finish(), "nobody waits any more")
    }

    @Test func `a silent database`() throws {
        let call = MongoCall(now: now)
        try call.begin()
        let failure = try #require(Self.failure(call.check(now: now + .seconds(2))))
        #expect(failure.kind == .unavailable && failure.evidence == .silent && !failure.isOutcomeUnknown)
        #expect(call.check(now: late) == .done)
        #expect(!call.finish() && !call.isTimeLeft)
        #expect(throws: StorageFailure.tooLate, "who waited was told that nothing happened") { try call.beginWriting() }
    }

    @Test func `a write that is on its way is of unknown outcome`() throws {
        let call = MongoCall(now: now)
        try call.begin()
        try call.beginWriting()
        #expect(Self.failure(call.check(now: late))?.isOutcomeUnknown == true)
    }

    @Test func `without a thread the database was never asked`() throws {
        let call = MongoCall(now: now)
        #expect(Self.failure(call.check(now: late))?.evidence == StorageFailure.Evidence.none)
        #expect(throws: StorageFailure.tooLate) { try call.begin() }
    }

    @Test func `a call that got its thread late shows nothing about the database`() throws {
        let call = MongoCall(now: now - .milliseconds(1500))
        try call.begin()
        let failure = try #require(Self.failure(call.check(now: now + .milliseconds(500))))
        #expect(failure.kind == .unavailable && failure.evidence == .none)
    }

    @Test func `an answer is a sign of life, a part of the result a reason to wait on`() throws {
        let heard = MongoCall(now: now)
        try heard.begin()
        heard.heard()
        #expect(Self.failure(heard.check(now: now + .seconds(2)))?.evidence == StorageFailure.Evidence.none)
        let progressed = MongoCall(now: now - .seconds(1))
        try progressed.begin()
        progressed.progressed()
        guard case .later(let deadline) = progressed.check(now: now + .seconds(1)) else {
            throw TestFailure("given up")
        }
        #expect(deadline >= now + .seconds(2))
    }

    @Test func `the server gets what is left of the time`() {
        #expect((1...1900).contains(MongoCall(now: .now()).serverMilliseconds))
        #expect(MongoCall(now: .now() - .seconds(60)).serverMilliseconds == 1)
        #expect(!MongoCall(now: .now() - .seconds(60)).isTimeLeft)
        #expect(MongoCall(now: .now()).isTimeLeft)
    }
}
