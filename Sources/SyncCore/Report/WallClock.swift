import IPCWire

/// The wall clock of the host as of the last heartbeat, which CLOCK_BOOTTIME continues. No decision depends on it.
struct WallClock: Sendable {
    var boot: BootTime
    /// ms since 1970 at that moment.
    var milliseconds: UInt64

    /// The wall clock in ms since 1970.
    func time(_ now: BootTime) -> UInt64 {
        now >= boot
            ? milliseconds.saturatingAdd((now - boot) / 1_000_000)
            : milliseconds - min(milliseconds, (boot - now) / 1_000_000)
    }
}
