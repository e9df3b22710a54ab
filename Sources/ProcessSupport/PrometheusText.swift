/// The text format of Prometheus, version 0.0.4
/// (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).
public struct PrometheusText {
    /// The type of a metric.
    public enum Kind: String, Sendable {
        case counter, gauge
    }

    /// One value, and the labels that distinguish it from the other samples of its metric.
    public typealias Sample = (labels: [(String, String)], value: Double)

    /// Counts of durations.
    public struct Histogram: Sendable {
        /// The labels that distinguish it from the other histograms of its metric.
        public var labels: [(String, String)]
        /// Upper bounds in seconds, ascending, with the number of values up to each.
        public var buckets: [(bound: Double, count: Double)]
        /// Number of all values, also of those beyond the last bound.
        public var count: Double
        /// Sum of all values, in seconds.
        public var sum: Double

        /// A histogram with cumulative buckets.
        public init(
            labels: [(String, String)] = [], buckets: [(bound: Double, count: Double)], count: Double, sum: Double
        ) {
            (self.labels, self.buckets, self.count, self.sum) = (labels, buckets, count, sum)
        }
    }

    /// `Content-Type` of the text.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private let prefix: String
    /// The text so far.
    public private(set) var text = ""

    /// - Parameter prefix: begins the name of each metric.
    public init(prefix: String) { self.prefix = prefix }

    /// Adds a metric with its samples; nothing without a sample. The name of a counter ends with `_total`.
    public mutating func add(_ name: String, _ kind: Kind, help: String, _ samples: [Sample]) {
        guard !samples.isEmpty else { return }
        header(name, type: kind.rawValue, help: help)
        for sample in samples { line(name, sample.labels, sample.value) }
    }

    /// Adds a metric with one sample.
    public mutating func add(_ name: String, _ kind: Kind, help: String, _ value: Double) {
        add(name, kind, help: help, [([], value)])
    }

    /// Adds a metric of histograms; nothing without one.
    public mutating func add(_ name: String, help: String, _ histograms: [Histogram]) {
        guard !histograms.isEmpty else { return }
        header(name, type: "histogram", help: help)
        for histogram in histograms {
            for bucket in histogram.buckets {
                line(name + "_bucket", histogram.labels + [("le", Self.number(bucket.bound))], bucket.count)
            }
            line(name + "_bucket", histogram.labels + [("le", "+Inf")], histogram.count)
            line(name + "_sum", histogram.labels, histogram.sum)
            line(name + "_count", histogram.labels, histogram.count)
        }
    }

    private mutating func header(_ name: String, type: String, help: String) {
        text += "# HELP \(prefix)\(name) \(Self.escaped(help, quotes: false))\n# TYPE \(prefix)\(name) \(type)\n"
    }

    private mutating func line(_ name: String, _ labels: [(String, String)], _ value: Double) {
        let pairs = labels.map { "\($0.0)=\"\(Self.escaped($0.1, quotes: true))\"" }
        text += prefix + name + (pairs.isEmpty ? "" : "{\(pairs.joined(separator: ","))}") + " \(Self.number(value))\n"
    }

    /// Whole numbers have no fraction, also large ones.
    private static func number(_ value: Double) -> String {
        if let whole = Int64(exactly: value) { return String(whole) }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return value.isNaN ? "NaN" : String(value)
    }

    /// Escapes by scalars: a line feed is a part of the character CR LF.
    static func escaped(_ text: String, quotes: Bool) -> String {
        text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            case "\\": result += "\\\\"
            case "\"" where quotes: result += "\\\""
            case "\n": result += "\\n"
            default: result.unicodeScalars.append(scalar)
            }
        }
    }
}
