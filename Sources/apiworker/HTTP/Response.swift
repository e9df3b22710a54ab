import NIOCore
import NIOHTTP1

/// A response.
struct Response: Sendable {
    enum Body: Sendable {
        case none
        case bytes(ByteBuffer)
        /// Parts that are sent as they come, until there is none.
        case parts(@Sendable () async -> [ByteBuffer]?)
    }

    var head: HTTPResponseHead
    var body: Body
    /// The value of `X-Cache`, if there is one.
    private(set) var source: String?

    init(_ status: HTTPResponseStatus = .ok, _ headers: HTTPHeaders = [:], body: Body = .none) {
        head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        self.body = body
    }

    /// A response with a head that was made before.
    init(head: HTTPResponseHead, body: Body, source: String? = nil) {
        self.head = head
        self.body = body
        self.source = source
    }

    /// A finished body, which is sent unchanged.
    init(_ status: HTTPResponseStatus = .ok, type: String, _ body: ByteBuffer) {
        self.init(
            status, ["Content-Type": type, "Content-Length": String(body.readableBytes)], body: .bytes(body))
    }

    var status: HTTPResponseStatus { head.status }
    var headers: HTTPHeaders {
        get { head.headers }
        set { head.headers = newValue }
    }

    /// A copy of the response that names the origin of its value.
    func from(_ source: String) -> Response {
        var response = with("X-Cache", source)
        response.source = source
        return response
    }

    /// A copy of the response with one more header.
    func with(_ name: String, _ value: String) -> Response {
        var response = self
        response.head.headers.replaceOrAdd(name: name, value: value)
        return response
    }
}
