import NIOHTTP1

/// Checks of a request's head before anything is done for it.
extension HTTPRequestHead {
    /// There are no tunnels here, and the bytes after a CONNECT are not HTTP. HTTP/1.1 requires one `Host` (RFC 9112,
    /// 3.2). The only known transfer coding is `chunked`; the decoder would ignore others before it. HTTP/1.0 has none, and
    /// a message that has one was forwarded by somebody who did not understand it (6.1).
    var isAcceptable: Bool {
        let codings = headers["transfer-encoding"]
        guard codings.isEmpty || (version != .http1_0 && codings.count == 1 && codings[0].lowercased() == "chunked")
        else { return false }
        var hosts = 0
        for (name, value) in headers where name.utf8.count == 4 && name.lowercased() == "host" {
            hosts += 1
            guard HostField.isValid(value.withoutSpace) else { return false }
        }
        return method != .CONNECT && (hosts == 1 || version == .http1_0 && hosts == 0)
    }

    /// Some clients request HTTP/2 with their first request. The request is answered in HTTP/1.1. After it, the decoder
    /// expects another protocol and reads nothing more.
    var asksForUpgrade: Bool {
        headers.contains(name: "upgrade")
            && headers[canonicalForm: "connection"].contains { $0.lowercased() == "upgrade" }
    }

    /// Whether the client may send the body that it has announced. A body that is too long is not requested, and
    /// HTTP/1.0 has no such request.
    func mayContinue(_ limit: Int) -> Bool {
        guard version.major == 1, version.minor >= 1 else { return false }
        return !announces(more: limit)
    }

    /// Whether the announced length of the body is greater. Without one it is not known yet.
    func announces(more limit: Int) -> Bool {
        guard let length = headers.list("content-length") else { return false }
        return Int(length) ?? .max > limit
    }
}

extension HTTPResponseHead {
    /// Whether the end of the response is known without chunks or the end of the connection.
    var hasKnownEnd: Bool { headers.contains(name: "content-length") || status == .notModified || status == .noContent }
}
