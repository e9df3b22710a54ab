import EngineHosting
import SyncCore

/// The number of commands that one host sends without invalidations, for services that charge for each.
struct CommandBudget: Sendable, Equatable {
    /// Intervals of a host whose workers use their caches, or of one without work, in nanoseconds.
    struct Intervals: Sendable, Equatable {
        /// Between two probes.
        var probe: UInt64
        /// Between two PINGs of the connection that has subscribed.
        var ping: UInt64

        /// Each probe is one MGET, and this part of them has a ROLE with it.
        var roles = 0.25
        /// A month of 365.25/12 days.
        private static let secondsPerMonth = 2_629_800.0

        var commandsPerMonth: UInt64 {
            let (probe, ping) = (Double(max(1, probe)) / 1e9, Double(max(1, ping)) / 1e9)
            return UInt64(Self.secondsPerMonth * ((1 + roles) / probe + 1 / ping))
        }
    }

    var busy: Intervals
    var idle: Intervals

    init(busy: Intervals, idle: Intervals) { (self.busy, self.idle) = (busy, idle) }

    /// The intervals of a daemon with these limits.
    init(_ limits: Limits) {
        busy = Intervals(probe: limits.probeNanoseconds, ping: UInt64(clamping: TrafficWatch.quietTime.nanoseconds))
        let rare = Intervals(probe: limits.idleProbeNanoseconds, ping: limits.idleProbeNanoseconds, roles: 1)
        idle = limits.idleNanoseconds == 0 ? busy : rare
    }

    /// Maximum number of commands of an append: EVALSHA and, in its script, MGET, GET, XADD, SET, and PUBLISH twice.
    static let commandsPerAppend = 7
}
