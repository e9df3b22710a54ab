import HTTPTypes
import Hummingbird
import NIOCore

extension Request {
    /// The body, which has to be JSON.
    ///
    /// - Returns: `nil` if there is neither a body nor a `Content-Type`.
    func json(limit: Int) async throws(APIError) -> JSONValue? {
        if let encoding = headers[.contentEncoding], encoding.lowercased() != "identity" { throw .notJSON }
        let type = headers[.contentType]
        if let type, !Self.isJSON(type) { throw .notJSON }
        if hasBody(over: limit) { throw .bodyTooLarge }
        let bytes: ByteBuffer
        do {
            bytes = try await body.collect(upTo: limit)
        } catch is NIOTooManyBytesError {
            throw .bodyTooLarge
        } catch {
            // The body is truncated, or its framing is invalid.
            throw .malformedRequest
        }
        if type == nil {
            guard bytes.readableBytes == 0 else { throw .notJSON }
            return nil
        }
        do {
            return try JSONValue.parse(bytes)
        } catch {
            throw .malformedJSON
        }
    }

    /// Whether the head announces a body of more than `limit` bytes. The parser accepts only digits, so text that is
    /// not a number has too many of them.
    func hasBody(over limit: Int) -> Bool {
        guard let length = headers[.contentLength] else { return false }
        return Int(length) ?? .max > limit
    }

    /// `application/json`, or a type with the suffix `+json`, in UTF-8 (RFC 8259 knows no other encoding).
    static func isJSON(_ contentType: String) -> Bool {
        let parts = contentType.lowercased().split(separator: ";").map(\.trimmedSpace)
        guard let type = parts.first, type == "application/json" || isSuffixed(type) else { return false }
        return parts.dropFirst().allSatisfy { parameter in
            guard parameter.hasPrefix("charset=") else { return true }
            return ["utf-8", "\"utf-8\"", "utf8"].contains(parameter.dropFirst("charset=".count))
        }
    }

    private static func isSuffixed(_ type: Substring) -> Bool {
        type.hasPrefix("application/") && type.hasSuffix("+json")
    }
}

extension Substring {
    fileprivate var trimmedSpace: Substring {
        var rest = self
        while let first = rest.first, first == " " || first == "\t" { rest.removeFirst() }
        while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
        return rest
    }
}
