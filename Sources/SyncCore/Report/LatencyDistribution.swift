/// Counts of latencies in buckets whose width grows with the value, so that percentiles of any period can be told from
/// a few kilobytes, and periods can be added. A percentile is never too small, and at most 6.25 % too large. The unit is
/// the caller's.
///
/// Values below 32 have a bucket each. Above, 16 buckets divide the values between two powers of two.
struct LatencyDistribution: Sendable, Hashable {
    /// Counts by bucket, up to the last one that was needed.
    private(set) var counts: [UInt64] = []
    private(set) var count: UInt64 = 0
    /// The greatest value, exactly; 0 without any.
    private(set) var maximum: UInt64 = 0

    private static let perDoubling = 16
    /// Greater values count as this one: 2^40 µs are 12 days.
    static let greatest: UInt64 = 1 << 40
    /// Number of buckets that any value can need.
    static let capacity = bucket(of: greatest) + 1

    init() {}

    /// The distribution that another process has written down; `nil` for a bucket that does not exist.
    init?(counts: [(bucket: Int, count: UInt64)], maximum: UInt64) {
        self.maximum = min(maximum, Self.greatest)
        for (bucket, count) in counts {
            guard (0..<Self.capacity).contains(bucket) else { return nil }
            add(count, to: bucket)
        }
    }

    mutating func add(_ value: UInt64) {
        let value = min(value, Self.greatest)
        add(1, to: Self.bucket(of: value))
        maximum = max(maximum, value)
    }

    mutating func merge(_ other: LatencyDistribution) {
        for (bucket, count) in other.counts.enumerated() where count > 0 { add(count, to: bucket) }
        maximum = max(maximum, other.maximum)
    }

    private mutating func add(_ number: UInt64, to bucket: Int) {
        if bucket >= counts.count { counts += repeatElement(0, count: bucket + 1 - counts.count) }
        counts[bucket] = counts[bucket].saturatingAdd(number)
        count = count.saturatingAdd(number)
    }

    /// The value that this share of all values does not exceed; 0 without any.
    ///
    /// - Parameter percent: 1 to 100.
    func percentile(_ percent: UInt64) -> UInt64 {
        // Rounded up: the 99th percentile of ten values is the tenth.
        let (whole, rest) = count.quotientAndRemainder(dividingBy: 100)
        let rank = whole * percent + (rest * percent + 99) / 100
        var seen: UInt64 = 0
        for (bucket, count) in counts.enumerated() {
            seen = seen.saturatingAdd(count)
            if seen >= rank, seen > 0 { return min(maximum, Self.upperBound(of: bucket)) }
        }
        return maximum
    }

    private static func bucket(of value: UInt64) -> Int {
        let shift = max(0, UInt64.bitWidth - value.leadingZeroBitCount - 5)
        return shift * perDoubling + Int(value >> UInt64(shift))
    }

    /// The greatest value of a bucket.
    private static func upperBound(of bucket: Int) -> UInt64 {
        let shift = max(0, bucket / perDoubling - 1)
        return UInt64(bucket - shift * perDoubling + 1) << UInt64(shift) - 1
    }
}

extension UInt64 {
    /// The sum; at most the greatest number. A file may hold any number.
    func saturatingAdd(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }

    /// The product; at most the greatest number.
    func saturatingMultiply(_ other: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }
}
