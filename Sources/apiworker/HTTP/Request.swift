import NIOCore
import NIOHTTP1

/// A request. Its body is complete when an answer that takes time begins.
struct Request: Sendable {
    let head: HTTPRequestHead
    /// The path, unchanged: neither decoded nor normalized.
    let path: String
    /// The text after the `?`.
    let query: String?
    /// The host and port of a target in absolute form, which precede those of `Host` (RFC 9112, 3.2.2).
    let authority: String?
    var body = ByteBuffer()
    /// The endpoint that the path names, if there is one.
    let route: Route?
    /// The arrival of the head.
    let arrivedAt = NIODeadline.now()

    init(head: HTTPRequestHead) {
        self.head = head
        let bytes = head.uri.utf8
        if bytes.first == UInt8(ascii: "/"), !bytes.contains(UInt8(ascii: "?")) {
            // Most targets; the whole one costs no copy.
            (path, query, authority) = (head.uri, nil, nil)
        } else {
            (path, query, authority) = Self.parts(head.uri)
        }
        route = Route(path: path)
    }

    private static func parts(_ uri: String) -> (path: String, query: String?, authority: String?) {
        var (target, authority) = (uri[...], String?.none)
        if uri.utf8.first != UInt8(ascii: "/"), let scheme = uri.firstRange(of: "://") {
            target = uri[scheme.upperBound...]
            let end = target.firstIndex { $0 == "/" || $0 == "?" } ?? target.endIndex
            authority = String(target[..<end])
            target = target[end...]
        }
        let mark = target.utf8.firstIndex(of: UInt8(ascii: "?"))
        let path = target[..<(mark ?? target.endIndex)]
        let query = mark.map { String(target[target.utf8.index(after: $0)...]) }
        return (path.isEmpty ? "/" : String(path), query, authority)
    }

    var method: HTTPMethod { head.method }
    var headers: HTTPHeaders { head.headers }
}

extension String {
    /// The value of a field without the white space that the decoder leaves at its end.
    var withoutSpace: String {
        guard let last = utf8.last, last == 0x20 || last == 0x09 else { return self }
        return utf8.lastIndex { $0 != 0x20 && $0 != 0x09 }.map { String(self[...$0]) } ?? ""
    }
}

extension HTTPHeaders {
    /// The values of all fields of this name as one list, without white space around it; `nil` if there are none.
    func list(_ name: String) -> String? {
        let values = self[name]
        guard let first = values.first else { return nil }
        return (values.count == 1 ? first : values.joined(separator: ", ")).withoutSpace
    }

    /// Adds an element to a list, which stays one line.
    mutating func append(_ element: String, to name: String) {
        replaceOrAdd(name: name, value: list(name).map { "\($0), \(element)" } ?? element)
    }
}
