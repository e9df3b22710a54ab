import NIOHTTP1

/// What is looked at before anything is done for a request.
extension HTTPRequestHead {
    /// Nothing is tunnelled here, and what follows a CONNECT is no HTTP. HTTP/1.1 wants one `Host` (RFC 9112, 3.2). Of
    /// transfer codings only chunks are known; the decoder would take others before them for nothing (6.1).
    var isAcceptable: Bool {
        let codings = headers["transfer-encoding"]
        guard codings.isEmpty || (codings.count == 1 && codings[0].lowercased() == "chunked") else { return false }
        let hosts = headers["host"]
        return method != .CONNECT && (version == .http1_0 || hosts.count == 1) && hosts.allSatisfy(HostField.isValid)
    }

    /// Some clients try for HTTP/2 with their first request. It is answered as if they had not; but after it the decoder
    /// expects another protocol and reads nothing more.
    var asksForUpgrade: Bool {
        headers.contains(name: "upgrade")
            && headers[canonicalForm: "connection"].contains { $0.lowercased() == "upgrade" }
    }

    /// Whether the client may send the body that it has announced. One that is too long anyway is not asked for, and
    /// HTTP/1.0 doesn't ask.
    func mayContinue(_ limits: HTTPLimits) -> Bool {
        guard version.major == 1, version.minor >= 1 else { return false }
        guard let length = headers.first(name: "content-length") else { return true }
        return Int(length) ?? .max <= limits.bodyBytes
    }
}
