import NIOCore
import NIOHTTP1

/// Responses whose body is JSON.
enum JSONResponse {
    /// The media type of every body.
    static let contentType = "application/json; charset=utf-8"

    /// A finished body, which is sent unchanged.
    static func make(_ body: ByteBuffer, status: HTTPResponseStatus = .ok) -> Response {
        Response(status, type: contentType, body)
    }

    /// The response to a GET: a body with its `ETag`.
    static func entity(_ body: ByteBuffer) -> Response {
        make(body).with("ETag", EntityTag(of: body).description)
    }

    /// `{"message":…}`. The message is a constant, and needs no escaping.
    static func message(_ message: StaticString, status: HTTPResponseStatus = .ok) -> Response {
        make(ByteBuffer(string: "{\"message\":\"\(message)\"}"), status: status)
    }
}
