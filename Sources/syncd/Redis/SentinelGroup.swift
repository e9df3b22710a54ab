/// The sentinels that monitor a primary and its replicas, and know which of them is the primary.
struct SentinelGroup: Sendable, Equatable {
    var sentinels: [ServerAddress]
    /// The name of the monitored service: `sentinel monitor <service> …`.
    var service: String
    /// The login of the sentinels themselves, which have separate users.
    var user: String?
    var password: String?

    static let defaultPort = 26_379
    /// Maximum number of sentinels: more than in any deployment; each of them is asked at the same time.
    static let maximumSentinels = 16

    /// `sentinel:26379,sentinel:26379/service`, without user and password.
    var redacted: String {
        sentinels.map(\.text).joined(separator: ",") + "/\(service)"
    }
}

extension RedisEndpoint {
    /// `[user:password@]host[:port],host[:port]…/service[/db][?sentinelUser=…&sentinelPassword=…]`. User and password
    /// are those of Redis.
    static func sentinel(_ text: Substring, isTLS: Bool) throws(RedisURLError) -> RedisEndpoint {
        guard !text.contains("#") else { throw RedisURLError("no # is expected; escape it as %23") }
        let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts[0].split(separator: "/", omittingEmptySubsequences: false)
        guard (2...3).contains(path.count), !path[1].isEmpty else {
            throw RedisURLError("sentinels need the name of the service: redis+sentinel://host:port,host:port/service")
        }
        guard !path[1].contains("@") else {
            throw RedisURLError("a service has no @; in user and password, / is written %2F")
        }
        var group = SentinelGroup(sentinels: [], service: try decoded(path[1], "service"))
        var endpoint = RedisEndpoint(address: .sentinel(group), isTLS: isTLS)
        if path.count == 3 { endpoint.database = try database(path[2]) }
        var hosts = path[0]
        if let at = hosts.lastIndex(of: "@") {
            try endpoint.setLogin(hosts[..<at])
            hosts = hosts[hosts.index(after: at)...]
        }
        group.sentinels = try servers(
            hosts, defaultPort: SentinelGroup.defaultPort, maximum: SentinelGroup.maximumSentinels, "sentinels")
        if parts.count == 2 {
            try endpoint.setParameters(parts[1]) { (name, value) throws(RedisURLError) in
                guard ["sentinelUser", "sentinelPassword"].contains(name) else { return false }
                guard !value.isEmpty else { throw RedisURLError("\(name) is empty") }
                if name == "sentinelUser" { group.user = value } else { group.password = value }
                return true
            }
        }
        if group.user != nil, group.password == nil { throw RedisURLError("sentinelUser needs sentinelPassword") }
        endpoint.address = .sentinel(group)
        return endpoint
    }
}
