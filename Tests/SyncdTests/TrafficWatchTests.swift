import EngineHosting
import NIOCore
import Testing

@Suite struct TrafficWatchTests {
    /// A time, and some ns more.
    private func at(_ seconds: Int64, _ more: UInt64 = 0) -> NIODeadline {
        .uptimeNanoseconds(UInt64(seconds) * 1_000_000_000 + more)
    }

    @Test func `a command may wait 3 s for its answer`() {
        var watch = TrafficWatch(now: at(0))
        watch.sent(now: at(1))
        watch.sent(now: at(2))
        #expect(watch.check(now: at(4)) == .fine)
        #expect(watch.check(now: at(4, 1)) == .silent("Redis has not answered for 3 s"))
        watch.answered()
        #expect(watch.check(now: at(4, 1)) == .fine, "the second was sent later")
    }

    @Test func `a connection without commands is never silent`() {
        #expect(TrafficWatch(now: at(0)).check(now: at(100)) == .fine)
    }

    @Test func `a subscriber asks for a sign of life while the server is in use`() {
        var watch = TrafficWatch(now: at(0))
        watch.becomeSubscriber()
        #expect(watch.check(now: at(100)) == .fine, "nobody has asked the server for anything")
        watch.read(now: at(100))
        watch.askedElsewhere(now: at(101))
        #expect(watch.check(now: at(101)) == .fine, "something came a second ago")
        #expect(watch.check(now: at(102)) == .ping)
        watch.sentPing(now: at(102))
        #expect(watch.check(now: at(103, 500_000_000)) == .fine)
        #expect(watch.check(now: at(103, 500_000_001)) == .silent("nothing came on the subscription for 3 s"))
        watch.read(now: at(103))
        _ = watch.confirmed()
        #expect(watch.check(now: at(200)) == .fine, "nothing was asked since")
    }

    @Test func `confirmations may come 30 s late and end with the last channel`() {
        var watch = TrafficWatch(now: at(0))
        watch.becomeSubscriber()
        watch.sentSubscription(channels: 2, now: at(1))
        watch.read(now: at(31))
        #expect(watch.check(now: at(31)) == .fine)
        #expect(watch.check(now: at(31, 1)) == .silent("Redis has not confirmed a subscription for 30 s"))
        let confirmations = [watch.confirmed(), watch.confirmed()]
        #expect(confirmations == [.partial, .last])
        #expect(watch.check(now: at(31, 1)) == .fine)
        let further = watch.confirmed()
        #expect(further == .unexpected, "nobody asked")
    }

    @Test func `a refused command is not confirmed any more`() {
        var watch = TrafficWatch(now: at(0))
        watch.sentSubscription(channels: 3, now: at(0))
        watch.refused()
        #expect(watch.check(now: at(100)) == .fine)
    }
}
