import NIOHTTP1
import ProcessSupport
import Synchronization

/// Counters of this worker's responses since its start. No label has a value that a client can choose: the number of
/// series is bounded by the code.
final class RequestMetrics: Sendable {
    /// The methods with a separate label value.
    enum Method: String, CaseIterable, Sendable {
        case get = "GET"
        case head = "HEAD"
        case post = "POST"
        case put = "PUT"
        case delete = "DELETE"
        case options = "OPTIONS"
        case other = "other"

        init(_ method: HTTPMethod) { self = Method(rawValue: method.rawValue) ?? .other }
    }

    private struct Key: Hashable {
        var method: Method
        var route: RoutePattern
        /// The first digit of the status.
        var statusClass: Int
    }

    private struct State {
        var total = 0
        var counts: [Key: Int] = [:]
        var durations: [RoutePattern: DurationHistogram] = [:]
        /// Counts by the value of `X-Cache`.
        var sources: [String: Int] = [:]

        mutating func count(_ key: Key) {
            total += 1
            counts[key, default: 0] += 1
        }
    }

    private let state = Mutex(State())

    /// Number of all responses.
    var total: Int { state.withLock { $0.total } }

    /// Counts a response.
    ///
    /// - Parameters:
    ///   - source: the value of `X-Cache`, if there is one.
    ///   - duration: from the head of the request to that of the response.
    func add(
        _ method: HTTPMethod, _ route: RoutePattern, statusCode: Int, source: String? = nil,
        duration: Duration
    ) {
        state.withLock { state in
            state.durations[route, default: DurationHistogram()].add(duration)
            if let source { state.sources[source, default: 0] += 1 }
            state.count(Key(method: Method(method), route: route, statusClass: statusCode / 100))
        }
    }

    /// Counts the refusal of unparsable input. Its duration is 0.
    func addRejection(statusCode: Int) {
        state.withLock { $0.count(Key(method: .other, route: .other, statusClass: statusCode / 100)) }
    }

    /// Writes the metrics in a fixed order.
    func write(to text: inout PrometheusText) {
        let state = state.withLock { $0 }
        let requests = RoutePattern.allCases.flatMap { route in
            Method.allCases.flatMap { method in
                (1...5).compactMap { statusClass -> PrometheusText.Sample? in
                    state.counts[Key(method: method, route: route, statusClass: statusClass)].map { count in
                        let labels = [
                            ("method", method.rawValue), ("route", route.rawValue), ("status", "\(statusClass)xx"),
                        ]
                        return (labels, Double(count))
                    }
                }
            }
        }
        text.add("http_requests_total", .counter, help: "Answered requests.", requests)
        text.add(
            "http_request_duration_seconds", help: "From the head of a request to that of its response.",
            RoutePattern.allCases.compactMap { route in
                state.durations[route].map { $0.prometheus(labels: [("route", route.rawValue)]) }
            })
        text.add(
            "cache_answers_total", .counter, help: "Answers of cached endpoints by X-Cache.",
            state.sources.sorted { $0.key < $1.key }.map { ([("source", $0.key)], Double($0.value)) })
    }
}
