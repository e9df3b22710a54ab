import CMalloc

/// The C library's memory, which it returns to the system late by default.
public enum ProcessMemory {
    /// Called at the start of a process.
    ///
    /// - Parameters:
    ///   - piece: freed memory of this size, in bytes, is returned at once (mallopt(3)); smaller pieces by ``trim()``.
    ///     New memory of this size costs a page fault for every 4 KiB.
    ///   - rest: so much at the end of an arena is returned, too, in bytes.
    public static func returnLarge(piece: Int32, rest: Int32) { syncd_return_large_memory(piece, rest) }

    /// Returns free pages between used ones, too. Takes some milliseconds with a large heap.
    public static func trim() { syncd_trim_memory() }
}
