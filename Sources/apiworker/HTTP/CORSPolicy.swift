import HTTPTypes
import Hummingbird

/// The web origins that may use the API (https://fetch.spec.whatwg.org/#http-cors-protocol). Without origins no
/// response has a CORS header.
struct CORSPolicy: Sendable, Hashable {
    /// Response headers that a page may read in addition to the basic ones.
    static let exposedHeaders = "ETag, X-Cache, X-Worker"
    /// Lifetime of a cached preflight in the browser, in seconds.
    static let maximumAge = "600"

    /// Exact origins, such as `https://app.example:8443`.
    var origins: Set<String>

    /// Adds the headers of every response.
    func apply(to response: inout Response, for request: Request) {
        guard !origins.isEmpty else { return }
        // Added also without an Origin: a cache must not give that response to a page.
        response.headers[values: .vary].append("Origin")
        guard let origin = allowedOrigin(of: request) else { return }
        response.headers[.accessControlAllowOrigin] = origin
        response.headers[.accessControlExposeHeaders] = Self.exposedHeaders
    }

    /// Adds the further headers of a preflight.
    func applyPreflight(to response: inout Response, for request: Request, allowing methods: String) {
        guard allowedOrigin(of: request) != nil, request.headers[.accessControlRequestMethod] != nil else { return }
        response.headers[.accessControlAllowMethods] = methods
        response.headers[.accessControlMaxAge] = Self.maximumAge
        // Request headers have no effect here, since there are no credentials: any header is allowed.
        guard let headers = request.headers[.accessControlRequestHeaders] else { return }
        response.headers[.accessControlAllowHeaders] = headers
        response.headers[values: .vary].append("Access-Control-Request-Headers")
    }

    private func allowedOrigin(of request: Request) -> String? {
        request.headers[.origin].flatMap { origins.contains($0) ? $0 : nil }
    }
}
