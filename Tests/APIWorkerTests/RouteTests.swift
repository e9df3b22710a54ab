import HTTPTypes
import Hummingbird
import NIOCore
import Testing

@testable import apiworker

/// Paths, methods, and kinds of bodies.
@Suite struct RouteTests {
    @Test(
        arguments: [
            ("/", .health), ("/openapi.json", .openAPI), ("/metrics", .metrics), ("/api/status", .status),
            ("/api/status/", .status),
            ("/api/users", .users),
            ("/api/users/", .users), ("/api/graph", .graph), ("/api/events", .events), ("/api/users/x", .user(id: "x")),
            ("/api/users/paginated/list", .paginatedUsers), ("/api/users/stats/overview", .statistics),
            ("/api/users/stats", .user(id: "stats")), ("/api/users/x/link", .link(id: "x")),
            ("/api/users/x/unlink/", .unlink(id: "x")), ("/api/users/%78", .user(id: "%78")),
            ("/api/users//", .user(id: "")),
        ] as [(String, Route)])
    func `paths`(path: String, route: Route) {
        #expect(Route(path: path) == route)
    }

    @Test(arguments: [
        "", "api/users", "//", "//api/users", "/api", "/api//users", "/api/users///", "/API/users", "/api/users/x/y",
        "/api/users/x/link/y", "/api/users/paginated/list/x", "/api/user", "/metrics/x", "/api/%75sers", "*",
    ])
    func `paths of nothing`(path: String) {
        #expect(Route(path: path) == nil)
    }

    @Test(
        arguments: [
            (.health, "GET, HEAD, OPTIONS"), (.status, "GET, HEAD, OPTIONS"), (.metrics, "GET, HEAD, OPTIONS"),
            (.graph, "GET, HEAD, OPTIONS"), (.events, "GET, HEAD, OPTIONS"), (.openAPI, "GET, HEAD, OPTIONS"),
            (.paginatedUsers, "GET, HEAD, OPTIONS"), (.statistics, "GET, HEAD, OPTIONS"),
            (.users, "GET, POST, HEAD, OPTIONS"), (.user(id: "x"), "GET, PUT, DELETE, HEAD, OPTIONS"),
            (.link(id: "x"), "POST, OPTIONS"), (.unlink(id: "x"), "DELETE, OPTIONS"),
        ] as [(Route, String)])
    func `methods`(route: Route, allowed: String) {
        #expect(route.allowed == allowed)
        let names = allowed.split(separator: ", ").map(String.init)
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get"] {
            guard let method = HTTPRequest.Method(method) else { continue }
            #expect(route.allows(method) == names.contains(method.rawValue), "\(method)")
        }
    }

    // MARK: Bodies

    private static func request(
        _ body: String, type: String? = "application/json", length: String? = nil, encoding: String? = nil
    ) -> Request {
        var fields = HTTPFields()
        fields[.contentType] = type
        fields[.contentLength] = length
        fields[.contentEncoding] = encoding
        return Request(
            head: HTTPRequest(method: .post, scheme: nil, authority: nil, path: "/", headerFields: fields),
            body: RequestBody(buffer: ByteBuffer(string: body)))
    }

    @Test(arguments: [
        "application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=\"UTF-8\"",
        "application/json ; charset=utf8 ; x=y", "application/merge-patch+json",
        "application/vnd.api+json;charset=utf-8",
    ])
    func `JSON`(type: String) async throws {
        #expect(try await Self.request("{}", type: type).json(limit: 10) == .object([]))
    }

    @Test(arguments: [
        "text/plain", "application/jsonx", "application/x-www-form-urlencoded", "", ";", "text/json", "json",
        "application/json; charset=latin1", "application/json; charset=utf-16", "text/x+json", "multipart/form-data",
    ])
    func `not JSON`(type: String) async {
        await #expect(throws: APIError.notJSON) { try await Self.request("{}", type: type).json(limit: 10) }
    }

    @Test func `what else is looked at before the body is read`() async throws {
        #expect(try await Self.request("", type: nil).json(limit: 10) == nil)
        #expect(try await Self.request("1", encoding: "identity").json(limit: 10) == .number(1))
        let cases: [(Request, APIError)] = [
            (Self.request("{}", type: nil), .notJSON), (Self.request("{}", encoding: "gzip"), .notJSON),
            (Self.request("", length: "11"), .bodyTooLarge),
            (Self.request("", length: "99999999999999999999"), .bodyTooLarge),
            (Self.request("[1,2,3,4,5]"), .bodyTooLarge), (Self.request(""), .malformedJSON),
            (Self.request("{"), .malformedJSON),
        ]
        for (request, error) in cases {
            await #expect(throws: error) { try await request.json(limit: 10) }
        }
        #expect(try await Self.request("[1,2,3,45]").json(limit: 10) != nil, "as much as there may be")
    }
}
