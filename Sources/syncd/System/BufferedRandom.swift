import Glibc

/// The kernel's random numbers, fetched in blocks: an append to the log takes three, and the generator of the standard
/// library makes a system call for each.
struct BufferedRandom: RandomNumberGenerator, Sendable {
    private var numbers: [UInt64] = []

    /// getentropy returns 256 bytes at most, whole or not at all.
    private static let count = 32

    mutating func next() -> UInt64 {
        if let number = numbers.popLast() { return number }
        var fresh = [UInt64](repeating: 0, count: Self.count)
        precondition(
            getentropy(&fresh, Self.count * MemoryLayout<UInt64>.size) == 0, "the kernel has no randomness to give")
        numbers = fresh
        return numbers.removeLast()
    }
}
