/// The time at which MongoDB applied an operation: seconds since 1970, and the number of the operation within that second
/// (`operationTime` of a reply, `clusterTime` of a change, both BSON timestamps). Operations of a replica set that a
/// majority has are ordered by it, for ever.
public struct OperationTime: Sendable, Hashable, Comparable {
    /// Seconds since 1970.
    public var seconds: UInt32
    /// The number within the second, from 1.
    public var increment: UInt32

    /// A time from the two numbers of a BSON timestamp.
    public init(seconds: UInt32, increment: UInt32) {
        self.seconds = seconds
        self.increment = increment
    }

    /// The order of the operations.
    public static func < (one: OperationTime, other: OperationTime) -> Bool {
        (one.seconds, one.increment) < (other.seconds, other.increment)
    }
}
