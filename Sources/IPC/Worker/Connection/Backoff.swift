/// The pause before the next attempt to connect: from 50 ms, doubled each time, to 1 s. A random part of it is used, at
/// least half, so that many workers or hosts don't come back at the same moment.
package struct Backoff: Sendable {
    package static let first: UInt64 = 50_000_000
    package static let longest: UInt64 = 1_000_000_000

    private var ceiling = first

    package init() {}

    /// The last attempt succeeded.
    package mutating func reset() { ceiling = Self.first }

    /// Nanoseconds until the next attempt.
    package mutating func next(_ random: (ClosedRange<UInt64>) -> UInt64) -> UInt64 {
        defer { ceiling = min(2 * ceiling, Self.longest) }
        return random((ceiling / 2)...ceiling)
    }
}
