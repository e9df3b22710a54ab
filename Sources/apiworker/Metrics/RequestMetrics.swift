import NIOHTTP1
import ProcessSupport
import Synchronization

/// Counters of this worker's responses since its start. No label has a value that a client can choose: the number of
/// series is bounded by the code.
final class RequestMetrics: Sendable {
    /// The methods with a separate label value.
    enum Method: Int, CaseIterable, Sendable {
        case get, head, post, put, delete, options, other

        init(_ method: HTTPMethod) {
            self =
                switch method {
                case .GET: .get
                case .HEAD: .head
                case .POST: .post
                case .PUT: .put
                case .DELETE: .delete
                case .OPTIONS: .options
                default: .other
                }
        }

        var label: String {
            switch self {
            case .get: "GET"
            case .head: "HEAD"
            case .post: "POST"
            case .put: "PUT"
            case .delete: "DELETE"
            case .options: "OPTIONS"
            case .other: "other"
            }
        }
    }

    private struct RouteCounts {
        var durations = DurationHistogram()
        /// Responses by method and first digit of the status.
        var responses = [[Int]](repeating: [Int](repeating: 0, count: 6), count: Method.allCases.count)
    }

    private struct State {
        var total = 0
        var routes = [RouteCounts](repeating: RouteCounts(), count: RoutePattern.allCases.count)
        /// Counts by the value of `X-Cache`.
        var sources: [String: Int] = [:]

        mutating func count(_ method: Method, _ route: RoutePattern, _ statusCode: Int) {
            total += 1
            routes[route.rawValue].responses[method.rawValue][statusCode / 100] += 1
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
            state.routes[route.rawValue].durations.add(duration)
            if let source { state.sources[source, default: 0] += 1 }
            state.count(Method(method), route, statusCode)
        }
    }

    /// Counts the refusal of unparsable input. Its duration is 0.
    func addRejection(statusCode: Int) {
        state.withLock { $0.count(.other, .other, statusCode) }
    }

    /// Writes the metrics in a fixed order.
    func write(to text: inout PrometheusText) {
        let state = state.withLock { $0 }
        let requests = RoutePattern.allCases.flatMap { route in
            Method.allCases.flatMap { method in
                (1...5).compactMap { statusClass -> PrometheusText.Sample? in
                    let count = state.routes[route.rawValue].responses[method.rawValue][statusClass]
                    guard count > 0 else { return nil }
                    let labels = [("method", method.label), ("route", route.label), ("status", "\(statusClass)xx")]
                    return (labels, Double(count))
                }
            }
        }
        text.add("http_requests_total", .counter, help: "Answered requests.", requests)
        text.add(
            "http_request_duration_seconds", help: "From the head of a request to that of its response.",
            RoutePattern.allCases.compactMap { route in
                let durations = state.routes[route.rawValue].durations
                return durations.isEmpty ? nil : durations.prometheus(labels: [("route", route.label)])
            })
        text.add(
            "cache_answers_total", .counter, help: "Answers of cached endpoints by X-Cache.",
            state.sources.sorted { $0.key < $1.key }.map { ([("source", $0.key)], Double($0.value)) })
    }
}
