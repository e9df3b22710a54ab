import IPCWire
import ProcessSupport

/// Returns memory to the system after a burst: otherwise a past burst would count against syncd for ever.
struct MemoryTrimmer {
    /// A smaller amount is not worth the time of a trim.
    private static let burstBytes = 4 << 20
    /// Minimum time between two trims: a trim of a large heap takes some milliseconds.
    private static let betweenTrims: UInt64 = 5_000_000_000

    private var lastTrim: BootTime = 0
    /// Maximum memory of connections since the last trim, in bytes.
    private var peak = 0

    /// - Parameters:
    ///   - peak: the most that connections held since the last call, in bytes.
    ///   - used: what they hold now.
    mutating func heartbeat(peak: Int, used: Int, now: BootTime) {
        self.peak = max(self.peak, peak)
        guard self.peak - used > Self.burstBytes, now - lastTrim > Self.betweenTrims else { return }
        ProcessMemory.trim()
        lastTrim = now
        self.peak = used
    }
}
