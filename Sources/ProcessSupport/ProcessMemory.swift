import CMalloc

/// The C library's memory, which it returns to the system late by default.
public enum ProcessMemory {
    /// Freed memory of this size is returned at once (mallopt(3)); smaller pieces by ``trim()``.
    private static let largeBytes: Int32 = 256 << 10

    /// Called at the start of a process.
    public static func returnLarge() { syncd_return_large_memory(largeBytes) }

    /// Returns free pages between used ones, too. Takes some milliseconds with a large heap.
    public static func trim() { syncd_trim_memory() }
}
