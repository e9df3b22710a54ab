#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The clock of heartbeats and deadlines: nanoseconds since boot, suspend included. All processes of a host see the
/// same clock, and nobody can set it.
package enum BootClock {
    /// CLOCK_BOOTTIME in nanoseconds. No system call where the kernel's vDSO offers it.
    package static var now: BootTime {
        var time = timespec()
        // Fails only for a clock that the kernel doesn't know; at time 0 nothing is trusted.
        guard clock_gettime(CLOCK_BOOTTIME, &time) == 0 else { return 0 }
        return BootTime(UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }
}
