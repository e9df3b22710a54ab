import EngineHosting
import Testing

@Suite struct TrafficWatchTests {
    private let second: UInt64 = 1_000_000_000

    @Test func `a command may wait 3 s for its answer`() {
        var watch = TrafficWatch(now: 0)
        watch.sent(now: second)
        watch.sent(now: 2 * second)
        #expect(watch.check(now: 4 * second) == .fine)
        #expect(watch.check(now: 4 * second + 1) == .silent("Redis has not answered for 3 s"))
        watch.answered()
        #expect(watch.check(now: 4 * second + 1) == .fine, "the second was sent later")
    }

    @Test func `a connection without commands is never silent`() {
        #expect(TrafficWatch(now: 0).check(now: 100 * second) == .fine)
    }

    @Test func `a subscriber asks for a sign of life`() {
        var watch = TrafficWatch(now: 0)
        watch.becomeSubscriber()
        #expect(watch.check(now: 3 * second) == .ping)
        #expect(watch.check(now: 3 * second + 1) == .silent("nothing came on the subscription for 3 s"))
        watch.read(now: 3 * second)
        #expect(watch.check(now: 6 * second) == .ping)
    }

    @Test func `confirmations may come 30 s late and end with the last channel`() {
        var watch = TrafficWatch(now: 0)
        watch.becomeSubscriber()
        watch.sentSubscription(channels: 2, now: second)
        watch.read(now: 31 * second)
        #expect(watch.check(now: 31 * second) == .ping)
        #expect(watch.check(now: 31 * second + 1) == .silent("Redis has not confirmed a subscription for 30 s"))
        let confirmations = [watch.confirmed(), watch.confirmed()]
        #expect(confirmations == [.partial, .last])
        #expect(watch.check(now: 31 * second + 1) == .ping)
        let further = watch.confirmed()
        #expect(further == .unexpected, "nobody asked")
    }

    @Test func `a refused command is not confirmed any more`() {
        var watch = TrafficWatch(now: 0)
        watch.sentSubscription(channels: 3, now: 0)
        watch.refused()
        #expect(watch.check(now: 100 * second) == .fine)
    }
}
