import HTTPTypes
import Hummingbird

/// Which pages in browsers may use the API (https://fetch.spec.whatwg.org/#http-cors-protocol). Without origins no
/// response has a CORS header.
struct CORSPolicy: Sendable, Hashable {
    /// What a page may read of a response besides the basic headers.
    static let exposedHeaders = "ETag, X-Cache, X-Worker"
    /// How long a browser may remember the answer to a preflight, in seconds.
    static let maximumAge = "600"

    /// Exact origins, like `https://app.example:8443`.
    var origins: Set<String>

    /// What every response says.
    func apply(to response: inout Response, for request: Request) {
        guard !origins.isEmpty else { return }
        // Also without an Origin: a cache must not give that response to a page.
        response.headers[values: .vary].append("Origin")
        guard let origin = allowedOrigin(of: request) else { return }
        response.headers[.accessControlAllowOrigin] = origin
        response.headers[.accessControlExposeHeaders] = Self.exposedHeaders
    }

    /// What the answer to a preflight says besides.
    func applyPreflight(to response: inout Response, for request: Request, allowing methods: String) {
        guard allowedOrigin(of: request) != nil, request.headers[.accessControlRequestMethod] != nil else { return }
        response.headers[.accessControlAllowMethods] = methods
        response.headers[.accessControlMaxAge] = Self.maximumAge
        // Whatever header the page wants to send changes nothing here: there are no credentials.
        guard let headers = request.headers[.accessControlRequestHeaders] else { return }
        response.headers[.accessControlAllowHeaders] = headers
        response.headers[values: .vary].append("Access-Control-Request-Headers")
    }

    private func allowedOrigin(of request: Request) -> String? {
        request.headers[.origin].flatMap { origins.contains($0) ? $0 : nil }
    }
}
