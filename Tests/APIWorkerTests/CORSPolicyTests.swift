import HTTPTypes
import Hummingbird
import NIOCore
import Testing

@testable import apiworker

/// docs/http-api.md, "Pages in browsers".
@Suite struct CORSPolicyTests {
    private static let policy = CORSPolicy(origins: ["https://a.example", "http://localhost:5173"])

    private static func request(_ headers: [(HTTPField.Name, String)]) -> Request {
        var fields = HTTPFields()
        for (name, value) in headers { fields.append(HTTPField(name: name, value: value)) }
        return Request(
            head: HTTPRequest(method: .get, scheme: nil, authority: nil, path: "/", headerFields: fields),
            body: RequestBody(buffer: ByteBuffer()))
    }

    private static func response(_ policy: CORSPolicy, _ headers: [(HTTPField.Name, String)]) -> HTTPFields {
        var response = Response(status: .ok)
        response.headers = [:]
        policy.apply(to: &response, for: request(headers))
        return response.headers
    }

    @Test(arguments: ["https://a.example", "http://localhost:5173"])
    func `an allowed origin`(origin: String) {
        let headers = Self.response(Self.policy, [(.origin, origin)])
        #expect(headers[.accessControlAllowOrigin] == origin)
        #expect(headers[.accessControlExposeHeaders] == "ETag, X-Cache, X-Worker")
        #expect(headers[.vary] == "Origin")
        #expect(headers[.accessControlAllowCredentials] == nil)
    }

    @Test(arguments: [
        "http://a.example", "https://a.example:443", "https://a.example/", "https://A.example",
        "https://a.example.evil",
        "https://b.a.example", "null", "*", "", "http://localhost", "https://a.example http://localhost:5173",
    ])
    func `another origin`(origin: String) {
        let headers = Self.response(Self.policy, [(.origin, origin)])
        #expect(headers[.accessControlAllowOrigin] == nil && headers[.accessControlExposeHeaders] == nil)
        #expect(headers[.vary] == "Origin", "a cache must not give it to an allowed one")
    }

    @Test func `no origin, and two`() {
        #expect(Self.response(Self.policy, [])[.accessControlAllowOrigin] == nil)
        #expect(Self.response(Self.policy, [])[.vary] == "Origin")
        let two = Self.response(
            Self.policy, [(.origin, "https://a.example"), (.origin, "http://localhost:5173")])
        #expect(two[.accessControlAllowOrigin] == nil)
    }

    @Test func `without origins there is no header at all`() {
        #expect(Self.response(CORSPolicy(origins: []), [(.origin, "https://a.example")]).isEmpty)
    }

    @Test func `a preflight`() {
        let asked: [(HTTPField.Name, String)] = [
            (.origin, "https://a.example"), (.accessControlRequestMethod, "PUT"),
            (.accessControlRequestHeaders, "content-type, x-other"),
        ]
        func answer(_ policy: CORSPolicy, _ headers: [(HTTPField.Name, String)]) -> HTTPFields {
            var response = Response(status: .noContent)
            response.headers = [:]
            policy.applyPreflight(to: &response, for: Self.request(headers), allowing: "GET, PUT")
            return response.headers
        }
        let full = answer(Self.policy, asked)
        #expect(full[.accessControlAllowMethods] == "GET, PUT")
        #expect(full[.accessControlAllowHeaders] == "content-type, x-other")
        #expect(full[.accessControlMaxAge] == "600")
        #expect(full[.vary] == "Access-Control-Request-Headers")
        let bare = answer(Self.policy, Array(asked.prefix(2)))
        #expect(bare[.accessControlAllowMethods] != nil && bare[.accessControlAllowHeaders] == nil)
        #expect(answer(Self.policy, Array(asked.prefix(1))).isEmpty, "an OPTIONS that is none")
        #expect(answer(Self.policy, [(.origin, "https://b.example")] + asked.dropFirst()).isEmpty)
        #expect(answer(CORSPolicy(origins: []), asked).isEmpty)
    }
}
