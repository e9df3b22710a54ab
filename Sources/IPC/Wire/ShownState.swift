/// The state of a host as people see it: `log.state` of STATUS.
package enum ShownState: String, Sendable {
    /// Caches are used.
    case attached
    /// The caches are not used, so Redis is asked seldom. The first use costs a round trip.
    case idle
    /// No cache is trusted.
    case isolated

    /// Whether caches can be used.
    package var areCachesUsable: Bool { self != .isolated }
}
