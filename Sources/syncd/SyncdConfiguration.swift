import IPC
import ProcessSupport
import SyncCore

/// What the daemon is told by its environment, checked.
struct DaemonConfiguration: Sendable {
    var paths: RuntimePaths
    var mode: LogMode
    /// `nil` when embedded.
    var endpoint: RedisEndpoint?
    var namespace: String
    var limits: Limits
    var slotBits: Int
    /// Which layers gave something, for STATUS.
    var source: String
}

/// Every key that syncd reads; `--help` and the README's table come from here.
enum SyncdConfiguration {
    static let socket = ConfigurationKey.syncdSocket
    static let redisEnabled = ConfigurationKey(
        "REDIS_ENABLED", default: "false", help: "share log and cache through Redis; without it syncd is embedded")
    static let redisURL = ConfigurationKey(
        "REDIS_URL", default: "redis://localhost:6379",
        help: "redis://[user][:password]@host:port[/db] or unix:///path", isSecret: true)
    static let namespace = ConfigurationKey(
        "SYNCD_NAMESPACE", default: "syncd", help: "prefix of all keys and channels of the log in Redis")
    static let slotBits = ConfigurationKey(
        "SYNCD_TABLE_BITS", default: "20", help: "the tag table has 2^bits slots, 16 to 24")

    static let keys = [socket, redisEnabled, redisURL, namespace, slotBits, .logLevel]

    /// The key of an adjustable limit.
    static func key(_ limit: Limits.Adjustable) -> ConfigurationKey {
        let name = "SYNCD_LIMIT_" + limit.name.uppercased().replacing("-", with: "_")
        return ConfigurationKey(name, default: String(Limits()[keyPath: limit.path]), help: "limit \(limit.name)")
    }

    static func read(_ settings: Settings) throws -> DaemonConfiguration {
        var limits = Limits()
        for limit in Limits.adjustable {
            limits[keyPath: limit.path] = try settings.integer(key(limit), in: limit.range)
        }
        let isRedis = try settings.flag(redisEnabled)
        return DaemonConfiguration(
            paths: try RuntimePaths(socket: try settings.required(socket)),
            mode: isRedis ? .redis : .embedded,
            endpoint: isRedis ? try endpoint(settings) : nil,
            namespace: try readNamespace(settings),
            limits: limits,
            slotBits: try settings.integer(slotBits, in: TagTableLayout.slotBitsRange),
            source: settings.source)
    }

    private static func endpoint(_ settings: Settings) throws -> RedisEndpoint {
        let endpoint = try RedisEndpoint.parse(try settings.required(redisURL))
        guard !endpoint.isTLS else {
            throw RedisURLError("rediss:// is not supported by this version; use redis:// or a local TLS proxy")
        }
        return endpoint
    }

    private static func readNamespace(_ settings: Settings) throws -> String {
        let name = try settings.required(namespace)
        let isPlain = name.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != 0x7b && $0 != 0x7d }
        guard (1...64).contains(name.utf8.count), isPlain else {
            throw ConfigurationError(
                namespace, value: name, problem: "is not usable",
                remedy: "give 1 to 64 printable ASCII characters without { and }")
        }
        return name
    }

    /// The socket's path for the commands that ask a running daemon.
    static func socketPath(commandLine: String?) throws -> String {
        let given = commandLine.map { [socket.name: $0] } ?? [:]
        let settings = try Settings(commandLine: given, configFile: nil)
        return try settings.required(socket)
    }
}
