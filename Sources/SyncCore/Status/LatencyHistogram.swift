import IPCWire

/// Counts of latencies by duration since the start. Prometheus can add them over hosts, which is impossible for
/// percentiles.
package struct LatencyHistogram: Sendable, Hashable {
    /// Upper bounds in µs, inclusive. Fixed: a change would break comparisons with older data.
    package static let boundsMicroseconds: [UInt64] = [
        50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    ]

    /// Counts per bound; the last one, without a bound, counts larger latencies.
    private var counts = [UInt64](repeating: 0, count: boundsMicroseconds.count + 1)
    private var sumNanoseconds: UInt64 = 0

    package init() {}

    package mutating func add(_ nanoseconds: UInt64) {
        // Rounded up: a latency of 50.5 µs is not within 50 µs.
        let microseconds = nanoseconds / 1000 + (nanoseconds % 1000 == 0 ? 0 : 1)
        counts[Self.boundsMicroseconds.firstIndex { microseconds <= $0 } ?? Self.boundsMicroseconds.count] += 1
        sumNanoseconds &+= nanoseconds
    }

    /// Values for STATUS: for each bound the number of latencies up to it, then the total number, then their sum in µs.
    package var statusFields: [StatusField] {
        var total: UInt64 = 0
        var fields: [StatusField] = []
        for (bound, count) in zip(Self.boundsMicroseconds, counts) {
            total += count
            fields.append(StatusField(String(bound), .number(total)))
        }
        fields.append(StatusField("count", .number(total + (counts.last ?? 0))))
        fields.append(StatusField("sum", .number(sumNanoseconds / 1000)))
        return fields
    }
}
