import DequeModule

/// Notices that a server answers no more. A cut network is silent, so that only a deadline tells. Pure; syncd's connections
/// to Redis use it, and those of the simulator.
package struct TrafficWatch: Sendable {
    /// When each command was sent that is not answered.
    private var commands: Deque<UInt64> = []
    /// Commands of a subscriber: each is confirmed once per channel.
    private var confirmations: Deque<(sentAt: UInt64, remaining: Int)> = []
    private var isSubscriber = false
    private var lastRead: UInt64

    /// How often ``check(now:)`` is to be called.
    package static let intervalNanoseconds: UInt64 = 500_000_000
    static let replyNanoseconds: UInt64 = 3_000_000_000
    /// Maximum time of a confirmation. It follows all messages that wait before it, which may be many.
    static let confirmationNanoseconds: UInt64 = 30_000_000_000

    package init(now: UInt64) { lastRead = now }

    /// Something has come.
    package mutating func read(now: UInt64) { lastRead = now }

    package mutating func sent(now: UInt64) { commands.append(now) }

    /// The oldest command is answered.
    package mutating func answered() { _ = commands.popFirst() }

    /// From here on replies are messages.
    package mutating func becomeSubscriber() { isSubscriber = true }

    /// A command of a subscriber, with the number of its channels; PING has one.
    package mutating func sentSubscription(channels: Int, now: UInt64) { confirmations.append((now, channels)) }

    package enum Confirmation: Sendable, Hashable {
        /// Nobody waits for one.
        case unexpected
        /// Further channels of the same command follow.
        case partial
        case last
    }

    /// One channel of the oldest command of a subscriber is confirmed.
    @discardableResult
    package mutating func confirmed() -> Confirmation {
        guard !confirmations.isEmpty else { return .unexpected }
        confirmations[0].remaining -= 1
        if confirmations[0].remaining > 0 { return .partial }
        confirmations.removeFirst()
        return .last
    }

    /// The oldest command of a subscriber is refused as a whole.
    package mutating func refused() { _ = confirmations.popFirst() }

    package enum Verdict: Sendable, Hashable {
        case fine
        /// A subscriber asks for a sign of life.
        case ping
        case silent(String)
    }

    package func check(now: UInt64) -> Verdict {
        if let oldest = commands.first, now - oldest > Self.replyNanoseconds {
            return .silent("Redis has not answered for 3 s")
        }
        if isSubscriber, now - lastRead > Self.replyNanoseconds {
            return .silent("nothing came on the subscription for 3 s")
        }
        if let oldest = confirmations.first, now - oldest.sentAt > Self.confirmationNanoseconds {
            return .silent("Redis has not confirmed a subscription for 30 s")
        }
        return isSubscriber ? .ping : .fine
    }
}
