import ProcessSupport

/// How often something took how long, since the start.
struct DurationHistogram: Sendable, Hashable {
    /// Upper bounds in seconds, inclusive: from a hit in L1 to the deadline of the database. Fixed: changing them breaks
    /// whoever compares with the past.
    static let bounds = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
    ]

    /// One more than there are bounds: the last one counts what is beyond.
    private var counts = [Int](repeating: 0, count: bounds.count + 1)
    private var sum = 0.0

    mutating func add(_ duration: Duration) {
        let seconds = duration / .seconds(1)
        counts[Self.bounds.firstIndex { seconds <= $0 } ?? Self.bounds.count] += 1
        sum += seconds
    }

    /// As Prometheus wants it: each bucket with all that is below.
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
