import NIOHTTP1
import ProcessSupport
import TestSupport
import Testing

@testable import apiworker

/// docs/http-api.md, "Metrics".
@Suite struct RequestMetricsTests {
    private static func read(_ metrics: RequestMetrics) throws -> PrometheusExposition {
        var text = PrometheusText(prefix: "")
        metrics.write(to: &text)
        return try PrometheusExposition(text.text)
    }

    @Test func `answers by method, route and class of status`() throws {
        let metrics = RequestMetrics()
        metrics.add(.GET, .users, statusCode: 200, source: "L1", duration: .microseconds(100))
        metrics.add(.GET, .users, statusCode: 304, source: "L1", duration: .microseconds(101))
        metrics.add(.GET, .users, statusCode: 200, source: "MISS", duration: .seconds(6))
        metrics.add(.POST, .users, statusCode: 201, duration: .milliseconds(5))
        metrics.add(.DELETE, .user, statusCode: 409, duration: .zero)
        metrics.addRejection(statusCode: 431)
        let read = try Self.read(metrics)
        func count(_ method: String, _ route: String, _ status: String) -> Double? {
            read.value("http_requests_total", ["method": method, "route": route, "status": status])
        }
        #expect(count("GET", "/api/users", "2xx") == 2)
        #expect(count("GET", "/api/users", "3xx") == 1)
        #expect(count("POST", "/api/users", "2xx") == 1)
        #expect(count("DELETE", "/api/users/:id", "4xx") == 1)
        #expect(count("other", "other", "4xx") == 1)
        #expect(read["http_requests_total"]?.samples.count == 5)
        #expect(metrics.total == 6)
        func bucket(_ bound: String) -> Double? {
            read.value("http_request_duration_seconds_bucket", ["route": "/api/users", "le": bound])
        }
        #expect(bucket("0.0001") == 1, "bounds are inclusive")
        #expect(bucket("0.00025") == 2)
        #expect(bucket("0.005") == 3 && bucket("5") == 3)
        #expect(bucket("+Inf") == 4)
        let sum = try #require(read.value("http_request_duration_seconds_sum", ["route": "/api/users"]))
        #expect(abs(sum - 6.005201) < 1e-9)
        #expect(read.value("http_request_duration_seconds_count", ["route": "other"]) == nil, "it took no time")
        #expect(read.value("cache_answers_total", ["source": "L1"]) == 2)
        #expect(read.value("cache_answers_total", ["source": "MISS"]) == 1)
    }

    @Test func `whatever clients send, there are so many series and no more`() throws {
        let metrics = RequestMetrics()
        let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "PURGE", "X-1", "X-2"]
        for method in methods.map(HTTPMethod.init(rawValue:)) {
            for path in ["/", "/metrics", "/x", "/api/users/1", "/api/users/2", "/api/users/3/link", "/api/users/"] {
                for code in [200, 204, 304, 404, 405, 500, 503] {
                    metrics.add(
                        method, Route(path: path)?.pattern ?? .other, statusCode: code, duration: .zero)
                }
            }
        }
        let samples = try #require(try Self.read(metrics)["http_requests_total"]?.samples)
        #expect(samples.count == 7 * 6 * 4)
        #expect(Set(samples.map { $0.labels["method"] }).count == 7)
        #expect(
            Set(samples.compactMap { $0.labels["route"] }) == [
                "/", "/metrics", "other", "/api/users/:id", "/api/users/:id/link", "/api/users",
            ])
    }

    @Test func `nothing yet is nothing at all`() throws {
        #expect(try Self.read(RequestMetrics()).metrics.isEmpty)
    }

    @Test func `every route has its pattern`() {
        for pattern in RoutePattern.allCases where pattern != .other {
            let path = pattern.label.replacing(":id", with: "x")
            #expect(Route(path: path)?.pattern == pattern, "\(path)")
        }
    }
}
