import Histogram

/// The unit of a value.
enum Unit {
    case nanoseconds
    case perSecond
    case milliseconds
    case bytes
    case percent
    case count

    func text(_ value: Double) -> String {
        switch self {
        case .nanoseconds where value < 1000: "\(Int(value.rounded())) ns"
        case .nanoseconds where value < 1_000_000: "\(Self.short(value / 1000)) µs"
        case .nanoseconds: "\(Self.short(value / 1_000_000)) ms"
        case .perSecond: "\(Int(value.rounded()))/s"
        case .milliseconds: "\(Self.short(value)) ms"
        case .percent: "\((value * 100).rounded() / 100) %"
        case .count: "\(Int(value.rounded()))"
        case .bytes where value >= 10_485_760: "\(Self.short(value / 1_048_576)) MiB"
        case .bytes: "\(Self.short(value / 1024)) KiB"
        }
    }

    private static func short(_ value: Double) -> String {
        value < 100 ? "\((value * 10).rounded() / 10)" : "\(Int(value.rounded()))"
    }
}

/// The goal of a row.
enum Goal {
    case ratioAtMost(Double)
    case ratioAtLeast(Double)
    /// Maximum of the value itself.
    case atMost(Double)
    /// Maximum difference to the yardstick.
    case differenceAtMost(Double)
    /// No goal; the value explains others.
    case none

    func text(_ unit: Unit) -> String {
        switch self {
        case .ratioAtMost(let limit): "≤ \(limit)×"
        case .ratioAtLeast(let limit): "≥ \(limit)×"
        case .atMost(let limit): "≤ \(unit.text(limit))"
        case .differenceAtMost(let limit): "≤ +\(unit.text(limit))"
        case .none: ""
        }
    }
}

/// One line of the table.
struct Measured {
    var name: String
    var what: String
    var yardstick: String
    var unit: Unit
    var goal: Goal
    var figure: Double
    var yardstickFigure: Double?
    var ratio: Double?

    var isMet: Bool? {
        switch goal {
        case .ratioAtMost(let limit): ratio.map { $0 <= limit }
        case .ratioAtLeast(let limit): ratio.map { $0 >= limit }
        case .atMost(let limit): figure <= limit
        case .differenceAtMost(let limit): yardstickFigure.map { figure - $0 <= limit }
        case .none: nil
        }
    }

    var cells: [String] {
        [
            "`\(name)`", what, unit.text(figure), yardstick, yardstickFigure.map(unit.text) ?? "",
            ratio.map { "\(Self.short($0))×" } ?? "", goal.text(unit),
            isMet.map { $0 ? "yes" : "**no**" } ?? "",
        ]
    }

    /// Two digits behind the point, and two that count.
    private static func short(_ ratio: Double) -> Double {
        let scale = ratio < 0.1 ? 10_000.0 : 100
        return (ratio * scale).rounded() / scale
    }

    static let header = ["row", "what", "figure", "yardstick", "its figure", "ratio", "goal", "met"]
}

/// Two things measured by turns, so that other work on the machine affects both alike.
struct Rounds {
    /// Values per round and per column.
    private var ours: [[Double]] = []
    private var theirs: [[Double]] = []

    /// Each of the two is run once before, unmeasured; the one that goes first changes from round to round.
    init(
        _ rounds: Int, ours measureOurs: () async throws -> [Double], yardstick: () async throws -> [Double]
    ) async throws {
        _ = try await measureOurs()
        _ = try await yardstick()
        for round in 0..<rounds {
            if round.isMultiple(of: 2) {
                ours.append(try await measureOurs())
                theirs.append(try await yardstick())
            } else {
                theirs.append(try await yardstick())
                ours.append(try await measureOurs())
            }
        }
    }

    func figure(_ index: Int) -> Double { median(ours.map { $0[index] }) }
    func yardstick(_ index: Int) -> Double { median(theirs.map { $0[index] }) }
    /// The median of the ratios of the rounds.
    func ratio(_ index: Int) -> Double { median(zip(ours, theirs).map { $0[index] / $1[index] }) }

    func row(_ name: String, _ what: String, _ yardstickName: String, _ unit: Unit, _ goal: Goal, _ index: Int = 0)
        -> Measured
    {
        Measured(
            name: name, what: what, yardstick: yardstickName, unit: unit, goal: goal, figure: figure(index),
            yardstickFigure: yardstick(index), ratio: ratio(index))
    }
}

func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return .nan }
    let middle = sorted.count / 2
    return sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
}

/// Times of single operations in ns, to three digits.
struct LatencyRecorder {
    private var histogram = Histogram<UInt64>(
        highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .three)

    mutating func record(_ nanoseconds: UInt64) { histogram.record(nanoseconds) }

    /// Adds the times of another recorder.
    mutating func add(_ other: LatencyRecorder) { histogram.add(other.histogram) }

    var p50AndP99: [Double] { [50, 99].map(value(atPercentile:)) }

    /// The upper bound of this percentage of the times.
    func value(atPercentile percentile: Double) -> Double { Double(histogram.valueAtPercentile(percentile)) }

    /// The times of `count` operations, after a warm-up of a tenth of that.
    ///
    /// - Parameter prepare: work before each operation, which is not measured.
    static func time(
        _ count: Int, after prepare: () -> Void = {}, _ operation: () throws -> Void
    ) rethrows -> LatencyRecorder {
        var recorder = LatencyRecorder()
        for round in 0..<count + count / 10 {
            prepare()
            let start = monotonicNow()
            try operation()
            if round >= count / 10 { recorder.record(monotonicNow() - start) }
        }
        return recorder
    }
}
