/// The host names under which the API may be called (docs/security.md, "DNS rebinding"). Without names every host is
/// accepted.
struct AcceptedHosts: Sendable, Hashable {
    /// Names and addresses in lower case, without ports; IPv6 addresses in brackets.
    var names: Set<String>

    /// Whether a request is for one of the hosts. A request that names none is for no host.
    func accepts(_ request: Request) -> Bool {
        guard !names.isEmpty else { return true }
        guard let host = request.authority ?? request.headers.list("host"), HostField.isValid(host) else {
            return false
        }
        return names.contains(Self.name(host))
    }

    /// The name in the value of `Host`, without its port.
    private static func name(_ host: String) -> String {
        let isAddress = host.utf8.last == UInt8(ascii: "]")
        let colon = isAddress ? nil : host.utf8.lastIndex(of: UInt8(ascii: ":"))
        return host[..<(colon ?? host.endIndex)].lowercased()
    }
}
