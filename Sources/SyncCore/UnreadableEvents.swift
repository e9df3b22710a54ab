import IPCWire
import NIOCore

/// An event that does not show what has changed.
package struct UnreadableEvent: Sendable, Hashable {
    package var channel: ByteBuffer
    package var bytes: Int
    /// What is wrong, for people. Nothing of the payload: it may be about persons.
    package var problem: String
    /// Events on this channel that could not be read either, and were not told, since the last one that was.
    package var untold: Int
}

/// Which of the events that cannot be read are told: of each channel one a minute.
struct UnreadableEvents: Sendable {
    private var channels: [ByteBuffer: (quietUntil: UInt64, untold: Int)] = [:]

    private static let betweenNanoseconds: UInt64 = 60_000_000_000

    /// An event on a channel of the rules cannot be read. Returns what to tell about it.
    mutating func came(_ event: Event, problem: BridgeRules.Problem, now: UInt64) -> UnreadableEvent? {
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
