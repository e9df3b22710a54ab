#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The clock of beats and deadlines: nanoseconds since boot, suspend included. It is the same in all processes of
/// a host, and nobody can set it.
package enum BootClock {
    /// CLOCK_BOOTTIME in nanoseconds. No system call where the kernel's vDSO offers it.
    package static var now: UInt64 {
        var time = timespec()
        // Fails only for a clock that the kernel doesn't know; 0 is then no time at which anything is believed.
        guard clock_gettime(CLOCK_BOOTTIME, &time) == 0 else { return 0 }
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
