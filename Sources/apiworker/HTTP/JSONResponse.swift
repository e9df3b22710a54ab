import HTTPTypes
import Hummingbird
import NIOCore

extension HTTPField.Name {
    /// Where a body came from.
    static let xCache = mustBeValid("X-Cache")
    /// Asks a proxy (nginx) to pass on what comes as it comes.
    static let xAccelBuffering = mustBeValid("X-Accel-Buffering")
    /// The process that answered.
    static let xWorker = mustBeValid("X-Worker")

    /// The names above are constants, and valid; there is no initializer for that.
    private static func mustBeValid(_ name: String) -> HTTPField.Name { HTTPField.Name(name) ?? .server }
}

/// Responses whose body is JSON.
enum JSONResponse {
    /// The media type of every body.
    static let contentType = "application/json; charset=utf-8"

    /// A finished body, written out as it is.
    static func make(_ body: ByteBuffer, status: HTTPResponse.Status = .ok) -> Response {
        Response(
            status: status, headers: [.contentType: contentType, .contentLength: "\(body.readableBytes)"],
            body: ResponseBody(byteBuffer: body))
    }

    /// What a GET asked for: a body with its `ETag`.
    static func entity(_ body: ByteBuffer) -> Response {
        var response = make(body)
        response.headers[.eTag] = EntityTag(of: body).description
        return response
    }

    /// The same, compressed for a client that takes it.
    ///
    /// - Parameter bodies: `nil`: nothing is compressed.
    static func entity(_ body: ByteBuffer, for request: Request, compressed bodies: CompressedBodies?) async -> Response
    {
        guard let bodies else { return entity(body) }
        let tag = EntityTag(of: body)
        var response: Response
        if AcceptEncoding.prefersGzip(request.headers[.acceptEncoding]),
            let compressed = await bodies.compressed(body, tag: tag)
        {
            response = make(compressed)
            response.headers[.contentEncoding] = "gzip"
            response.headers[.eTag] = tag.ofGzip
        } else {
            response = make(body)
            response.headers[.eTag] = tag.description
        }
        response.headers[.vary] = "Accept-Encoding"
        return response
    }

    /// `{"message":…}`. The message is a constant, and needs no escaping.
    static func message(_ message: StaticString, status: HTTPResponse.Status = .ok) -> Response {
        make(ByteBuffer(string: "{\"message\":\"\(message)\"}"), status: status)
    }
}
