/// The last latencies, for STATUS.
package struct LatencyRing: Sendable {
    private var samples: [UInt64] = []
    private var next = 0
    /// The histogram of all latencies since the start.
    package private(set) var histogram = LatencyHistogram()
    private static let capacity = 1024

    package init() {}

    package mutating func add(_ nanoseconds: UInt64) {
        histogram.add(nanoseconds)
        if samples.count < Self.capacity {
            samples.append(nanoseconds)
        } else {
            samples[next] = nanoseconds
            next = (next + 1) % Self.capacity
        }
    }

    /// Percentiles in µs of the last 1024 samples; 0 without any.
    package func microseconds(_ percentiles: [Double]) -> [UInt64] {
        guard !samples.isEmpty else { return percentiles.map { _ in 0 } }
        let sorted = samples.sorted()
        return percentiles.map { sorted[min(sorted.count - 1, Int(Double(sorted.count) * $0))] / 1000 }
    }
}
