import DequeModule
import NIOCore

/// Notices that a server answers no more. A cut network is silent, so that only a deadline tells. Pure; syncd's connections
/// to Redis use it, and those of the simulator.
package struct TrafficWatch: Sendable {
    /// When each command was sent that is not answered.
    private var commands: Deque<NIODeadline> = []
    /// Commands of a subscriber: each is confirmed once per channel.
    private var confirmations: Deque<(sentAt: NIODeadline, remaining: Int)> = []
    private var isSubscriber = false
    private var lastRead: NIODeadline
    /// The last command to the same server over the other connection. A subscriber asks for a sign of life only if the
    /// server is in use: on an idle host it costs nothing.
    private var lastAsked = NIODeadline.uptimeNanoseconds(0)
    /// When the missing sign of life was asked for.
    private var pingedAt: NIODeadline?

    /// How often ``check(now:)`` is to be called.
    package static let interval = TimeAmount.milliseconds(500)
    static let replyTime = TimeAmount.seconds(3)
    /// Time without a message after which a subscriber asks for a sign of life, and for which it waits for one.
    package static let quietTime = TimeAmount.milliseconds(1500)
    /// Maximum time of a confirmation. It follows all messages that wait before it, which may be many.
    static let confirmationTime = TimeAmount.seconds(30)

    package init(now: NIODeadline) { lastRead = now }

    /// Something has come.
    package mutating func read(now: NIODeadline) { (lastRead, pingedAt) = (now, nil) }

    /// The server was asked something over another connection.
    package mutating func askedElsewhere(now: NIODeadline) { lastAsked = now }

    package mutating func sent(now: NIODeadline) { commands.append(now) }

    /// The oldest command is answered.
    package mutating func answered() { _ = commands.popFirst() }

    /// From here on replies are messages.
    package mutating func becomeSubscriber() { isSubscriber = true }

    /// A PING of a subscriber.
    package mutating func sentPing(now: NIODeadline) {
        pingedAt = now
        sentSubscription(channels: 1, now: now)
    }

    /// A command of a subscriber, with the number of its channels.
    package mutating func sentSubscription(channels: Int, now: NIODeadline) { confirmations.append((now, channels)) }

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

    package func check(now: NIODeadline) -> Verdict {
        if let oldest = commands.first, now - oldest > Self.replyTime {
            return .silent("Redis has not answered for 3 s")
        }
        if let pingedAt, now - pingedAt > Self.quietTime {
            return .silent("nothing came on the subscription for 3 s")
        }
        if let oldest = confirmations.first, now - oldest.sentAt > Self.confirmationTime {
            return .silent("Redis has not confirmed a subscription for 30 s")
        }
        let isPingDue = isSubscriber && pingedAt == nil && lastAsked > lastRead && now - lastRead >= Self.quietTime
        return isPingDue ? .ping : .fine
    }
}
