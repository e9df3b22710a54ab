import IPCWire
import NIOCore

/// An event that does not show what has changed.
package struct UnreadableEvent: Sendable, Hashable {
    package var channel: ByteBuffer
    package var bytes: Int
    /// The fault, for people. Nothing of the payload: it may be about persons.
    package var problem: String
    /// Number of unreadable events on this channel since the last reported one.
    package var untold: Int
}

/// Limits the reports of unreadable events: one a minute for each channel.
struct UnreadableEvents: Sendable {
    private var channels: [ByteBuffer: (quietUntil: BootTime, untold: Int)] = [:]

    private static let betweenNanoseconds: UInt64 = 60_000_000_000

    /// Handles an unreadable event on a channel of the rules. Returns the report, if it is due.
    mutating func came(_ event: Event, problem: BridgeRules.Problem, now: BootTime) -> UnreadableEvent? {
        let (quietUntil, untold) = channels[event.channel] ?? (0, 0)
        guard now >= quietUntil else {
            channels[event.channel] = (quietUntil, untold + 1)
            return nil
        }
        channels[event.channel.compacted] = (now + Self.betweenNanoseconds, 0)
        return UnreadableEvent(
            channel: event.channel, bytes: event.payload.readableBytes, problem: "\(problem)", untold: untold)
    }
}
