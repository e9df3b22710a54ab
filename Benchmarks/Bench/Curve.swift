import Foundation

/// The curves: growth of a time with a size, or the distribution of single times.
enum Curve: String, CaseIterable {
    case workers = "growth-workers"
    case value = "growth-value"
    case tags = "growth-tags"
    case log = "growth-log"
    case users = "growth-users"
    case fetch = "latency-fetch"
    case invalidate = "latency-invalidate"
    case put = "latency-put"

    func measure() async throws -> CurveTable {
        switch self {
        case .workers: try await Self.workers()
        case .value: try await Self.value()
        case .tags: try await Self.tags()
        case .log: try await Self.log()
        case .users: try await Self.users()
        case .fetch: try await Self.fetch()
        case .invalidate: try await Self.invalidate()
        case .put: try await Self.put()
        }
    }
}

/// The numbers of one picture: the first column is the horizontal axis. Times are in µs.
struct CurveTable {
    var columns: [String]
    var rows: [[Double]] = []

    /// The table as CSV.
    var text: String {
        ([columns.joined(separator: ",")] + rows.map { $0.map(Self.number).joined(separator: ",") })
            .map { $0 + "\n" }.joined()
    }

    private static func number(_ number: Double) -> String {
        number == number.rounded() ? "\(Int(number))" : "\((number * 1000).rounded() / 1000)"
    }

    /// The distribution of the times of each: at 1 − 1/x of all of them. The measurements go by turns.
    static func spread(
        _ names: [String], rounds: Int = 10, _ measured: [() throws -> LatencyRecorder]
    ) throws -> CurveTable {
        var recorders = measured.map { _ in LatencyRecorder() }
        for _ in 0..<rounds {
            for (index, measure) in measured.enumerated() { recorders[index].add(try measure()) }
        }
        var table = CurveTable(columns: ["x"] + names)
        for exponent in stride(from: 0.0, through: 3.5, by: 0.125) {
            let rank = pow(10, exponent)
            table.rows.append([rank] + recorders.map { $0.value(atPercentile: 100 - 100 / rank) / 1000 })
        }
        return table
    }
}
