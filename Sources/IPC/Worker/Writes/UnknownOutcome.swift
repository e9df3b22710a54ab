/// The error of a write that may have happened, or may still happen, and whose outcome will be known later
/// (docs/consistency.md, "Writes that land late").
public struct UnknownOutcome: Error {
    /// The error that ``SyncedCache/invalidating(_:write:)`` throws in its place.
    public var underlying: any Error
    /// Returns when the write has happened or can never happen any more. Called at most once, in a separate task, and
    /// not called at all if too many writes are unsettled at that time. May ignore cancellation.
    public var settled: @Sendable () async -> Void

    /// An error, and a function that waits for the end of its write.
    public init(_ underlying: any Error, settled: @escaping @Sendable () async -> Void) {
        self.underlying = underlying
        self.settled = settled
    }
}
