import ProcessSupport

/// Counts of durations since the start.
struct DurationHistogram: Sendable, Hashable {
    /// Upper bounds in seconds, inclusive: from a hit in L1 to the deadline of the database. Fixed: a change would
    /// break comparisons with older data.
    static let bounds = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
    ]

    /// Counts per bound; the last one, without a bound, counts longer durations.
    private var counts = [Int](repeating: 0, count: bounds.count + 1)
    private var sum = 0.0

    var isEmpty: Bool { !counts.contains { $0 > 0 } }

    mutating func add(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let duration = Double(seconds) + Double(attoseconds) * 1e-18
        counts[Self.bounds.firstIndex { duration <= $0 } ?? Self.bounds.count] += 1
        sum += duration
    }

    /// The histogram as Prometheus expects it: each bucket includes all lower ones.
    func prometheus(labels: [(String, String)]) -> PrometheusText.Histogram {
        var total = 0
        let buckets = zip(Self.bounds, counts).map { bound, count in
            total += count
            return (bound: bound, count: Double(total))
        }
        return PrometheusText.Histogram(
            labels: labels, buckets: buckets, count: Double(total + (counts.last ?? 0)), sum: sum)
    }
}
