import IPCWire
import CMalloc

/// Returns memory to the system after a burst: otherwise a past burst would count against syncd for ever.
struct MemoryTrimmer {
    /// Freed memory of this size is returned at once (mallopt(3)); smaller pieces by ``heartbeat(peak:used:now:)``.
    private static let largeBytes: Int32 = 256 << 10
    /// A smaller amount is not worth the time of a trim.
    private static let burstBytes = 4 << 20
    /// Minimum time between two trims: a trim of a large heap takes some milliseconds.
    private static let betweenTrims: UInt64 = 5_000_000_000

    private var lastTrim: BootTime = 0
    /// Maximum memory of connections since the last trim, in bytes.
    private var peak = 0

    /// Called at the start of the process.
    static func returnLargeMemory() { syncd_return_large_memory(largeBytes) }

    /// - Parameters:
    ///   - peak: the most that connections held since the last call, in bytes.
    ///   - used: what they hold now.
    mutating func heartbeat(peak: Int, used: Int, now: BootTime) {
        self.peak = max(self.peak, peak)
        guard self.peak - used > Self.burstBytes, now - lastTrim > Self.betweenTrims else { return }
        syncd_trim_memory()
        lastTrim = now
        self.peak = used
    }
}
