import HTTPTypes
import Hummingbird
import NIOCore

extension HTTPField.Name {
    /// The source of a body.
    static let xCache = mustBeValid("X-Cache")
    /// Asks a proxy (nginx) not to buffer the response.
    static let xAccelBuffering = mustBeValid("X-Accel-Buffering")
    /// The process that answered.
    static let xWorker = mustBeValid("X-Worker")

    /// The names above are constants, and valid; there is no initializer for that.
    private static func mustBeValid(_ name: String) -> HTTPField.Name { HTTPField.Name(name) ?? .server }
}

extension HTTPFields {
    /// The values of all fields of this name, as one list. Like the subscript, but without cost if there are none.
    func list(_ name: HTTPField.Name) -> String? { contains(name) ? self[name] : nil }

    /// The value of a field that occurs once. The subscript would build a list.
    func value(_ name: HTTPField.Name) -> String? { first { $0.name == name }?.value }
}

/// Responses whose body is JSON.
enum JSONResponse {
    /// The media type of every body.
    static let contentType = "application/json; charset=utf-8"

    /// A finished body, which is sent unchanged.
    static func make(_ body: ByteBuffer, status: HTTPResponse.Status = .ok) -> Response {
        Response(
            status: status, headers: [.contentType: contentType, .contentLength: "\(body.readableBytes)"],
            body: ResponseBody(byteBuffer: body))
    }

    /// The response to a GET: a body with its `ETag`.
    static func entity(_ body: ByteBuffer) -> Response {
        var response = make(body)
        response.headers[.eTag] = EntityTag(of: body).description
        return response
    }

    /// The same, compressed for a client that accepts it.
    ///
    /// - Parameters:
    ///   - bodies: `nil`: nothing is compressed.
    ///   - tags: where bodies are asked for that may have been hashed before.
    nonisolated(nonsending) static func entity(
        _ body: ByteBuffer, for request: Request, compressed bodies: CompressedBodies?, tags: EntityTags? = nil
    ) async -> Response {
        let tag = tags?.tag(of: body) ?? EntityTag(of: body)
        var response: Response
        guard let bodies else {
            response = make(body)
            response.headers[.eTag] = tag.description
            return response
        }
        if AcceptEncoding.prefersGzip(request.headers.list(.acceptEncoding)),
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
