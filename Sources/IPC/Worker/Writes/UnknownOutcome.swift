/// The error of a write that may have happened, or may happen yet, and whose end will be known later
/// (docs/consistency.md, "Writes that land late").
public struct UnknownOutcome: Error {
    /// The error that ``SyncedCache/invalidating(_:write:)`` throws in its place.
    public var underlying: any Error
    /// Returns when the write has happened or can never happen any more. Called at most once, in a separate task, and
    /// not called at all if too many writes are unsettled at that time. May ignore cancellation.
    public var settled: @Sendable () async -> Void

    /// An error, and how to wait for the end of its write.
    public init(_ underlying: any Error, settled: @escaping @Sendable () async -> Void) {
        self.underlying = underlying
        self.settled = settled
    }
}
