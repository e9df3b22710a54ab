import NIOCore
import NIOHTTP1

extension Request {
    /// Checks the head of a request whose body has to be JSON, before its body arrives.
    func checkBodyType() throws(APIError) {
        if let encoding = headers.list("Content-Encoding"), encoding.lowercased() != "identity" {
            throw .encodedBody(encoding)
        }
        if let type = headers.list("Content-Type"), !Self.isJSON(type) { throw .notJSON }
    }

    /// Longer bodies are parsed on another thread: 1 MiB of numbers takes a twentieth of a second.
    private static let inlineBytes = 16 << 10

    /// The body as JSON.
    ///
    /// - Returns: `nil` if there is neither a body nor a `Content-Type`.
    nonisolated(nonsending) func json() async throws(APIError) -> JSONValue? {
        guard headers.contains(name: "Content-Type") else {
            guard body.readableBytes == 0 else { throw .notJSON }
            return nil
        }
        let isShort = body.readableBytes <= Self.inlineBytes
        let json = isShort ? try? JSONValue.parse(body) : await offEventLoop { [body] in try? JSONValue.parse(body) }
        guard let json else { throw .malformedJSON }
        return json
    }

    /// Whether the head announces a body of more than `limit` bytes. The parser accepts only digits, so text that is
    /// not a number has too many of them.
    func hasBody(over limit: Int) -> Bool {
        guard let length = headers.list("Content-Length") else { return false }
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
