import NIOHTTP1
import Testing

@testable import apiworker

/// docs/http-api.md, "Pages in browsers".
@Suite struct CORSPolicyTests {
    private static let policy = CORSPolicy(origins: ["https://a.example", "http://localhost:5173"])

    private static func request(_ headers: [(String, String)]) -> Request {
        Request(head: HTTPRequestHead(version: .http1_1, method: .GET, uri: "/", headers: HTTPHeaders(headers)))
    }

    private static func response(_ policy: CORSPolicy, _ headers: [(String, String)]) -> HTTPHeaders {
        var response = HTTPHeaders()
        policy.vary(&response)
        policy.allow(&response, for: request(headers))
        return response
    }

    @Test(arguments: ["https://a.example", "http://localhost:5173"])
    func `an allowed origin`(origin: String) {
        let headers = Self.response(Self.policy, [("Origin", origin)])
        #expect(headers.list("Access-Control-Allow-Origin") == origin)
        #expect(headers.list("Access-Control-Expose-Headers") == "ETag, X-Cache, X-Sync-Position, X-Worker")
        #expect(headers.list("Vary") == "Origin")
        #expect(headers.list("Access-Control-Allow-Credentials") == nil)
    }

    @Test(arguments: [
        "http://a.example", "https://a.example:443", "https://a.example/", "https://A.example",
        "https://a.example.evil",
        "https://b.a.example", "null", "*", "", "http://localhost", "https://a.example http://localhost:5173",
    ])
    func `another origin`(origin: String) {
        let headers = Self.response(Self.policy, [("Origin", origin)])
        #expect(headers.map(\.name) == ["Vary"])
        #expect(headers.list("Vary") == "Origin", "a cache must not give it to an allowed one")
    }

    @Test func `no origin, and two`() {
        #expect(Self.response(Self.policy, []).list("Access-Control-Allow-Origin") == nil)
        #expect(Self.response(Self.policy, []).list("Vary") == "Origin")
        let two = Self.response(
            Self.policy, [("Origin", "https://a.example"), ("Origin", "http://localhost:5173")])
        #expect(two.list("Access-Control-Allow-Origin") == nil)
    }

    @Test func `without origins there is no header at all`() {
        #expect(Self.response(CORSPolicy(origins: []), [("Origin", "https://a.example")]).isEmpty)
    }

    @Test func `a preflight`() {
        let asked: [(String, String)] = [
            ("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT"),
            ("Access-Control-Request-Headers", "content-type, x-other"),
        ]
        func answer(_ policy: CORSPolicy, _ headers: [(String, String)]) -> HTTPHeaders {
            var response = HTTPHeaders()
            policy.vary(&response)
            policy.allowPreflight(&response, for: Self.request(headers), methods: "GET, PUT")
            return response
        }
        let full = answer(Self.policy, asked)
        #expect(full.list("Access-Control-Allow-Methods") == "GET, PUT")
        #expect(full.list("Access-Control-Allow-Headers") == "content-type, x-other")
        #expect(full.list("Access-Control-Max-Age") == "600")
        #expect(full["Vary"] == ["Origin, Access-Control-Request-Headers"], "one line")
        let bare = answer(Self.policy, Array(asked.prefix(2)))
        #expect(bare.list("Access-Control-Allow-Methods") != nil && bare.list("Access-Control-Allow-Headers") == nil)
        #expect(answer(Self.policy, Array(asked.prefix(1))).count == 1, "an OPTIONS that is none")
        #expect(answer(Self.policy, [("Origin", "https://b.example")] + asked.dropFirst()).count == 1)
        #expect(answer(CORSPolicy(origins: []), asked).isEmpty)
    }
}
