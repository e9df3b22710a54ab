import NIOCore
import NIOHTTP1
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
            let method = HTTPMethod(rawValue: method)
            #expect(route.allows(method) == names.contains(method.rawValue), "\(method)")
        }
    }

    // MARK: Bodies

    private static func request(
        _ body: String, type: String? = "application/json", length: String? = nil, encoding: String? = nil
    ) -> Request {
        var fields = HTTPHeaders()
        if let type { fields.add(name: "content-type", value: type) }
        if let length { fields.add(name: "content-length", value: length) }
        if let encoding { fields.add(name: "content-encoding", value: encoding) }
        var request = Request(head: HTTPRequestHead(version: .http1_1, method: .POST, uri: "/", headers: fields))
        request.body = ByteBuffer(string: body)
        return request
    }

    private static func json(_ request: Request) async throws(APIError) -> JSONValue? {
        try request.checkBodyType()
        return try await request.json()
    }

    @Test(arguments: [
        "application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=\"UTF-8\"",
        "application/json ; charset=utf8 ; x=y", "application/merge-patch+json",
        "application/vnd.api+json;charset=utf-8",
    ])
    func `JSON`(type: String) async throws {
        #expect(try await Self.json(Self.request("{}", type: type)) == .object([]))
    }

    @Test(arguments: [
        "text/plain", "application/jsonx", "application/x-www-form-urlencoded", "", ";", "text/json", "json",
        "application/json; charset=latin1", "application/json; charset=utf-16", "text/x+json", "multipart/form-data",
    ])
    func `not JSON`(type: String) async {
        await #expect(throws: APIError.notJSON) { try await Self.json(Self.request("{}", type: type)) }
    }

    @Test func `what else is looked at`() async throws {
        #expect(try await Self.json(Self.request("", type: nil)) == nil)
        #expect(try await Self.json(Self.request("1", encoding: "identity")) == .number(1))
        let cases: [(Request, APIError)] = [
            (Self.request("{}", type: nil), .notJSON), (Self.request("{}", encoding: "gzip"), .encodedBody("gzip")),
            (Self.request(""), .malformedJSON), (Self.request("{"), .malformedJSON),
        ]
        for (request, error) in cases { await #expect(throws: error) { try await Self.json(request) } }
        // Parsed on another thread.
        let long = "[" + String(repeating: "1,", count: 10_000) + "1]"
        guard case .array(let numbers)? = try await Self.json(Self.request(long)) else { throw APIError.malformedJSON }
        #expect(numbers.count == 10_001)
        await #expect(throws: APIError.malformedJSON) { try await Self.json(Self.request(long + "]")) }
    }

    @Test(arguments: [("10", false), ("11", true), ("99999999999999999999", true), (nil, false)])
    func `a length is known before the body`(length: String?, isOver: Bool) {
        #expect(Self.request("", length: length).hasBody(over: 10) == isOver)
    }

    // MARK: Targets

    @Test(
        arguments: [
            ("/", "/", nil, nil), ("/a?b=c?d", "/a", "b=c?d", nil), ("/a?", "/a", "", nil), ("*", "*", nil, nil),
            ("http://h:1/a?b", "/a", "b", "h:1"), ("http://h", "/", nil, "h"), ("http://h?x", "/", "x", "h"),
            ("/http://h/a", "/http://h/a", nil, nil), ("//h/a", "//h/a", nil, nil),
        ] as [(String, String, String?, String?)])
    func `the parts of a target`(target: String, path: String, query: String?, authority: String?) {
        let request = Request(head: HTTPRequestHead(version: .http1_1, method: .GET, uri: target))
        #expect(request.path == path && request.query == query && request.authority == authority)
    }

    @Test func `accepted hosts`() {
        let hosts = AcceptedHosts(names: ["api.example", "[::1]", "10.0.0.1"])
        func accepts(_ host: String?, target: String = "/", by hosts: AcceptedHosts = hosts) -> Bool {
            let fields = HTTPHeaders(host.map { [("Host", $0)] } ?? [])
            return hosts.accepts(
                Request(head: HTTPRequestHead(version: .http1_1, method: .GET, uri: target, headers: fields)))
        }
        for host in ["api.example", "API.example:3001", "[::1]", "[::1]:80", "10.0.0.1:3001"] {
            #expect(accepts(host), "\(host)")
        }
        for host in [
            "evil.example", "api.example.evil", "xapi.example", "", "api.example:x@evil.example", "[::2]", nil,
        ] {
            #expect(!accepts(host), "\(host ?? "none")")
            #expect(accepts(host, by: AcceptedHosts(names: [])))
        }
        #expect(!accepts("api.example", target: "http://evil.example/"), "the target's host precedes")
        #expect(accepts("evil.example", target: "http://api.example/"))
    }
}
