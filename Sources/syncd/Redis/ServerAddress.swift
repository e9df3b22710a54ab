/// Host and port of a server that may be asked for the primary: a sentinel, or a node of a cluster.
struct ServerAddress: Sendable, Hashable {
    var host: String
    /// 1 to 65535.
    var port: Int

    /// `host:port`, with an IPv6 address in brackets.
    var text: String { RedisEndpoint.text(host: host, port: port) }
}
