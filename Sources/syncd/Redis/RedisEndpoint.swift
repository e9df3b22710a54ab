import Notation

/// The reason why a REDIS_URL cannot be used. The message names the part, and never the password.
struct RedisURLError: Error, Equatable, CustomStringConvertible {
    var description: String
    init(_ problem: String) { description = "REDIS_URL: \(problem)" }
}

/// Address and login of Redis: `redis://[user][:password]@host:port[/db]`, `rediss://…` for TLS, `unix:///path`,
/// `redis+sentinel://…` (``sentinel(_:isTLS:)``) and `redis+cluster://…` (``cluster(_:isTLS:)``), both with `rediss`,
/// too, and each with parameters (``setParameters(_:_:)``). `valkey` may stand for `redis`.
struct RedisEndpoint: Sendable, Equatable {
    enum Address: Sendable, Equatable {
        case tcp(host: String, port: Int)
        case unix(path: String)
        /// The sentinels name the address.
        case sentinel(SentinelGroup)
        /// These nodes name the address.
        case cluster(ClusterSeeds)
    }

    var address: Address
    var isTLS = false
    var user: String?
    var password: String?
    var database = 0
    /// The only family of addresses that is used; `nil`: both.
    var family: Family?
    /// Names of parameters without effect, for the log.
    var unusedParameters: [String] = []

    /// The address without user and password, for logs and STATUS.
    var redacted: String {
        let suffix = database == 0 ? "" : "/\(database)"
        switch address {
        case .tcp(let host, let port):
            return "\(isTLS ? "rediss" : "redis")://\(Self.text(host: host, port: port))\(suffix)"
        case .unix(let path): return "unix://\(path)\(suffix)"
        case .sentinel(let group): return "\(isTLS ? "rediss" : "redis")+sentinel://\(group.redacted)\(suffix)"
        case .cluster(let seeds): return "\(isTLS ? "rediss" : "redis")+cluster://\(seeds.redacted)"
        }
    }

    /// Host and port, with an IPv6 address in brackets.
    static func text(host: String, port: Int) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    static func parse(_ url: String) throws(RedisURLError) -> RedisEndpoint {
        guard let separator = url.firstRange(of: "://") else {
            throw RedisURLError(
                "expected redis://host:port, rediss://host:port, redis+sentinel://…, redis+cluster://… or unix:///path")
        }
        // A slash or an @ with an accent is another character for a String, so such a URL is refused.
        guard url.allSatisfy({ $0.unicodeScalars.count == 1 }) else {
            throw RedisURLError("escape characters that are not ASCII, as in p%C3%A4ss")
        }
        let rest = url[separator.upperBound...]
        switch url[..<separator.lowerBound].lowercased() {
        case "redis", "valkey": return try tcp(rest, isTLS: false)
        case "rediss", "valkeys": return try tcp(rest, isTLS: true)
        case "redis+sentinel", "valkey+sentinel": return try sentinel(rest, isTLS: false)
        case "rediss+sentinel", "valkeys+sentinel": return try sentinel(rest, isTLS: true)
        case "redis+cluster", "valkey+cluster": return try cluster(rest, isTLS: false)
        case "rediss+cluster", "valkeys+cluster": return try cluster(rest, isTLS: true)
        case "unix": return try unix(rest)
        default:
            throw RedisURLError(
                "unknown scheme; redis, rediss, valkey, valkeys, each of them with +sentinel or +cluster, and unix are known"
            )
        }
    }

    private static func tcp(_ text: Substring, isTLS: Bool) throws(RedisURLError) -> RedisEndpoint {
        guard !text.contains("#") else { throw RedisURLError("no # is expected; escape it as %23") }
        let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let text = parts[0]
        guard parts.count < 2 || text.contains("@") || !parts[1].contains("@") else {
            throw RedisURLError("a ? in user or password is written %3F")
        }
        let slash = text.firstIndex(of: "/") ?? text.endIndex
        let authority = text[..<slash]
        var endpoint = RedisEndpoint(address: .tcp(host: "", port: 6379), isTLS: isTLS)
        if slash < text.endIndex { endpoint.database = try database(text[text.index(after: slash)...]) }
        var host = authority
        if let at = authority.lastIndex(of: "@") {
            try endpoint.setLogin(authority[..<at])
            host = authority[authority.index(after: at)...]
        }
        let (name, port) = try hostAndPort(host, defaultPort: 6379)
        endpoint.address = .tcp(host: name, port: port)
        if parts.count == 2 { try endpoint.setParameters(parts[1]) }
        return endpoint
    }

    private static func unix(_ text: Substring) throws(RedisURLError) -> RedisEndpoint {
        let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var rest = parts[0]
        var endpoint = RedisEndpoint(address: .unix(path: ""))
        if let at = rest.firstIndex(of: "@"), !rest[..<at].contains("/") {
            try endpoint.setLogin(rest[..<at])
            rest = rest[rest.index(after: at)...]
        }
        let path = try decoded(rest, "path")
        guard path.hasPrefix("/") else { throw RedisURLError("a socket needs an absolute path: unix:///path") }
        guard path.utf8.count <= 107 else { throw RedisURLError("a socket path has at most 107 bytes") }
        endpoint.address = .unix(path: path)
        if parts.count == 2 { try endpoint.setParameters(parts[1]) }
        return endpoint
    }

    mutating func setLogin(_ text: Substring) throws(RedisURLError) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let user = try Self.decoded(parts[0], "user")
        if !user.isEmpty { self.user = user }
        if parts.count == 2 { password = try Self.decoded(parts[1], "password") }
        if self.user != nil, password == nil {
            throw RedisURLError("a user needs a password: redis://user:password@host")
        }
        if self.user == nil, password?.isEmpty == true { password = nil }
    }

    /// `host[:port],host[:port]…`, at most `maximum` of them.
    static func servers(
        _ text: Substring, defaultPort: Int, maximum: Int, _ noun: String
    ) throws(RedisURLError) -> [ServerAddress] {
        var servers: [ServerAddress] = []
        for item in text.split(separator: ",", omittingEmptySubsequences: false) {
            let (host, port) = try hostAndPort(item, defaultPort: defaultPort)
            servers.append(ServerAddress(host: host, port: port))
        }
        guard servers.count <= maximum else { throw RedisURLError("at most \(maximum) \(noun) can be named") }
        return servers
    }

    static func hostAndPort(
        _ text: Substring, defaultPort: Int
    ) throws(RedisURLError) -> (host: String, port: Int) {
        var host = text
        var portText: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { throw RedisURLError("an IPv6 address ends with ]") }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else {
                throw RedisURLError("after ] a port is expected: [::1]:6379")
            }
            portText = rest.isEmpty ? nil : rest.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            portText = text[text.index(after: colon)...]
        }
        var port = defaultPort
        if let portText {
            guard portText.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(portText),
                (1...65_535).contains(number)
            else { throw RedisURLError("the port is a number of 1 to 65535") }
            port = number
        }
        let decodedHost = try decoded(host, "host")
        guard !decodedHost.isEmpty else { throw RedisURLError("the host is missing") }
        return (decodedHost, port)
    }

    static func database(_ text: Substring) throws(RedisURLError) -> Int {
        if text.isEmpty { return 0 }
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(text), number <= 65_535 else {
            throw RedisURLError("the database is a number, as in redis://host:6379/2")
        }
        return number
    }

    /// Percent-decodes; the result must be UTF-8 without NUL.
    static func decoded(_ text: Substring, _ part: String) throws(RedisURLError) -> String {
        guard let bytes = PercentEncoding.decoded(text.utf8) else {
            throw RedisURLError("in the \(part): after % two hexadecimal digits are expected")
        }
        guard !bytes.contains(0), let result = String(validating: bytes, as: UTF8.self) else {
            throw RedisURLError("the \(part) is not UTF-8 text")
        }
        return result
    }
}
