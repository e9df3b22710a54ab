/// Nodes of a Redis Cluster, each of which knows the others.
struct ClusterSeeds: Sendable, Equatable {
    var nodes: [ServerAddress]

    static let defaultPort = 6379
    /// Maximum number of nodes in a URL. Each of them is asked at the same time, and names further ones.
    static let maximumNodes = 16

    /// `node:6379,node:6379`, without user and password.
    var redacted: String { nodes.map(\.text).joined(separator: ",") }
}

extension RedisEndpoint {
    /// `[user:password@]host[:port],host[:port]…[/]`. A cluster has database 0 only.
    static func cluster(_ text: Substring, isTLS: Bool) throws(RedisURLError) -> RedisEndpoint {
        guard !text.contains("#") else { throw RedisURLError("no # is expected; escape it as %23") }
        let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts[0].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard path.count < 2 || !path[1].contains("@"),
            parts.count < 2 || path[0].contains("@") || !parts[1].contains("@")
        else { throw RedisURLError("in user and password, / is written %2F and ? is written %3F") }
        var endpoint = RedisEndpoint(address: .cluster(ClusterSeeds(nodes: [])), isTLS: isTLS)
        if path.count == 2 { endpoint.database = try database(path[1]) }
        var hosts = path[0]
        if let at = hosts.lastIndex(of: "@") {
            try endpoint.setLogin(hosts[..<at])
            hosts = hosts[hosts.index(after: at)...]
        }
        let nodes = try servers(
            hosts, defaultPort: ClusterSeeds.defaultPort, maximum: ClusterSeeds.maximumNodes, "nodes")
        endpoint.address = .cluster(ClusterSeeds(nodes: nodes))
        if parts.count == 2 { try endpoint.setParameters(parts[1]) }
        guard endpoint.database == 0 else {
            throw RedisURLError("a cluster has no database but 0: remove the number, and set SYNCD_NAMESPACE instead")
        }
        return endpoint
    }
}
