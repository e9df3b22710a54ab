import SyncCore

/// The number of commands that one host sends, for services that charge for each.
struct CommandBudget: Sendable, Equatable {
    /// Interval of the probes of a host whose workers use their caches, and of one without work.
    var busyProbeNanoseconds: UInt64
    var idleProbeNanoseconds: UInt64

    /// The intervals of the daemon.
    static let daemon = CommandBudget(
        busyProbeNanoseconds: Limits().probeNanoseconds, idleProbeNanoseconds: Limits().probeNanoseconds)

    /// A month of 365.25/12 days.
    private static let secondsPerMonth = 2_629_800.0
    /// Each probe is one MGET, and one in four has a ROLE with it.
    private static let commandsPerProbe = 1.25
    /// An append is one EVALSHA. In its script: MGET, XADD, SET, PUBLISH, and PUBLISH of an event.
    static let commandsPerAppend = 6

    var busyPerMonth: UInt64 { Self.perMonth(busyProbeNanoseconds) }
    var idlePerMonth: UInt64 { Self.perMonth(idleProbeNanoseconds) }

    private static func perMonth(_ interval: UInt64) -> UInt64 {
        UInt64(secondsPerMonth / (Double(max(1, interval)) / 1_000_000_000) * commandsPerProbe)
    }
}
