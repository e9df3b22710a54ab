import NIOHTTP1

/// The web origins that may use the API (https://fetch.spec.whatwg.org/#http-cors-protocol). Without origins no
/// response has a CORS header.
struct CORSPolicy: Sendable, Hashable {
    /// Response headers that a page may read in addition to the basic ones.
    static let exposedHeaders = "ETag, X-Cache, X-Sync-Position, X-Worker"
    /// Lifetime of a cached preflight in the browser, in seconds.
    static let maximumAge = "600"

    /// Exact origins, such as `https://app.example:8443`.
    var origins: Set<String>

    /// Adds the header of every response. Also without an `Origin`: a cache must not give that response to a page.
    func vary(_ headers: inout HTTPHeaders) {
        if !origins.isEmpty { headers.append("Origin", to: "Vary") }
    }

    /// Adds the headers for a page of an allowed origin.
    func allow(_ headers: inout HTTPHeaders, for request: Request) {
        guard let origin = allowedOrigin(of: request) else { return }
        headers.add(name: "Access-Control-Allow-Origin", value: origin)
        headers.add(name: "Access-Control-Expose-Headers", value: Self.exposedHeaders)
    }

    /// Adds the further headers of a preflight.
    func allowPreflight(_ headers: inout HTTPHeaders, for request: Request, methods: String) {
        guard allowedOrigin(of: request) != nil, request.headers.contains(name: "Access-Control-Request-Method") else {
            return
        }
        headers.add(name: "Access-Control-Allow-Methods", value: methods)
        headers.add(name: "Access-Control-Max-Age", value: Self.maximumAge)
        // Request headers have no effect here, since there are no credentials: any header is allowed.
        guard let asked = request.headers.list("Access-Control-Request-Headers") else { return }
        headers.add(name: "Access-Control-Allow-Headers", value: asked)
        headers.append("Access-Control-Request-Headers", to: "Vary")
    }

    /// Whether the response differs for this request.
    func concerns(_ request: Request) -> Bool { !origins.isEmpty && request.headers.contains(name: "Origin") }

    private func allowedOrigin(of request: Request) -> String? {
        guard !origins.isEmpty else { return nil }
        return request.headers.list("Origin").flatMap { origins.contains($0) ? $0 : nil }
    }
}
