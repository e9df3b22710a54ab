/// A number of one kind. The compiler refuses to compare it with a number of another kind.
///
/// The types of this file are public, also those that a worker does not need: the compiler specializes nothing that is
/// `package` in other modules, and a call for each comparison would cost a hit in L1 a tenth.
public protocol TypedNumber: Hashable, Comparable, Sendable, ExpressibleByIntegerLiteral, CustomStringConvertible {
    /// The number, as it is stored and sent.
    var number: UInt64 { get set }

    /// A number as it was stored or sent.
    init(_ number: UInt64)
}

extension TypedNumber {
    /// A literal number.
    @inlinable public init(integerLiteral number: UInt64) { self.init(number) }

    /// Whether `left` is the smaller number.
    @inlinable public static func < (left: Self, right: Self) -> Bool { left.number < right.number }

    /// Greater by this amount. Traps on overflow.
    @inlinable public static func + (left: Self, right: UInt64) -> Self { Self(left.number + right) }

    /// Increases the number. Traps on overflow.
    @inlinable public static func += (left: inout Self, right: UInt64) { left.number += right }

    /// Smaller by this amount. Traps below 0.
    @inlinable public static func - (left: Self, right: UInt64) -> Self { Self(left.number - right) }

    /// The amount by which `left` is greater. Traps if it is smaller.
    @inlinable public static func - (left: Self, right: Self) -> UInt64 { left.number - right.number }

    /// The greatest number that can be stored.
    @inlinable public static var max: Self { Self(.max) }

    /// The decimal digits.
    public var description: String { String(number) }
}

/// A position in the log of invalidations: the number of an entry, from 1 on. 0 is before the first entry. Positions of
/// two incarnations of the log have nothing to do with each other.
public struct LogPosition: TypedNumber {
    /// The number, as it is stored and sent.
    public var number: UInt64

    /// A number as it was stored or sent.
    @inlinable public init(_ number: UInt64) { self.number = number }
}

/// The epoch of a tag table. Values that were stored under an earlier epoch are stale.
public struct Epoch: TypedNumber {
    /// The number, as it is stored and sent.
    public var number: UInt64

    /// A number as it was stored or sent.
    @inlinable public init(_ number: UInt64) { self.number = number }
}

/// The number of a lease: permission to fill one key. Never repeated, not even over restarts of syncd.
public struct LeaseID: TypedNumber {
    /// The number, as it is stored and sent.
    public var number: UInt64

    /// A number as it was stored or sent.
    @inlinable public init(_ number: UInt64) { self.number = number }
}

/// A moment of CLOCK_BOOTTIME, in ns since the machine's start. This clock goes on while the machine sleeps, and all
/// processes of a host share it. A number that is added is a duration in ns, and so is a difference.
public struct BootTime: TypedNumber {
    /// The number, as it is stored and sent.
    public var number: UInt64

    /// A number as it was stored or sent.
    @inlinable public init(_ number: UInt64) { self.number = number }

    /// The ns since another moment. Wraps where that one is later.
    @inlinable public static func &- (left: BootTime, right: BootTime) -> UInt64 { left.number &- right.number }

    /// Later by some ns; at most ``max``.
    @inlinable public func saturatingAdd(_ nanoseconds: UInt64) -> BootTime {
        let (sum, overflow) = number.addingReportingOverflow(nanoseconds)
        return overflow ? .max : BootTime(sum)
    }

    /// Earlier by some ns; at least 0.
    @inlinable public func saturatingSubtract(_ nanoseconds: UInt64) -> BootTime {
        BootTime(number - min(number, nanoseconds))
    }
}
