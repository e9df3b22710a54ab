import IPC
import Logging
import ProcessSupport
import SyncCore

/// The configuration of the daemon, validated.
struct DaemonConfiguration: Sendable {
    var paths: RuntimePaths
    var mode: LogMode
    /// `nil` when embedded.
    var endpoint: RedisEndpoint?
    /// A server is named, and embedded nevertheless.
    var isRedisURLIgnored: Bool
    /// TLS settings, for `rediss://`.
    var tls: TLSSettings?
    var namespace: String
    var limits: Limits
    var slotBits: Int
    /// Bytes of the value arena; `nil`: as many as suit the machine.
    var cacheBytes: Int?
    /// A listening socket at `paths.socket` that the service manager passed; `nil` if the daemon makes its own.
    var inheritedSocket: Int32?
    /// Rules for the invalidations by events of other programs.
    var bridge: BridgeRules
    /// The layers that gave a value, for STATUS.
    var source: String
}

/// The settings that concern Redis, whether they are in use or not.
struct RedisConfiguration: Sendable {
    /// Whether the daemon would use Redis.
    var isEnabled: Bool
    var endpoint: RedisEndpoint
    /// TLS settings, for `rediss://`.
    var tls: TLSSettings?
    var namespace: String
    var limits: Limits
    /// Rules for the invalidations by events of other programs.
    var bridge: BridgeRules
}

/// The settings that can change while the daemon runs.
struct ReloadableSettings: Sendable {
    var logLevel: Logger.Level
    var limits: Limits
}

/// Reads what syncd is configured with.
enum SyncdConfiguration {
    /// The key of an adjustable limit.
    static func key(_ limit: Limits.Adjustable) -> ConfigurationKey {
        let name = Settings.limitPrefix + limit.name.uppercased().replacing("-", with: "_")
        return ConfigurationKey(name, default: String(Limits()[keyPath: limit.path]), help: "limit \(limit.name)")
    }

    /// `FileDescriptorName=` of the socket that systemd passes.
    static let socketName = "syncd"

    static func read(_ settings: Settings, sockets: InheritedSockets) throws -> DaemonConfiguration {
        let isRedis = try settings.flag(.redisEnabled)
        let url = try settings.required(.redisURL)
        let endpoint = isRedis ? try RedisEndpoint.parse(url) : nil
        let paths = try RuntimePaths(socket: try settings.required(.syncdSocket))
        return DaemonConfiguration(
            paths: paths,
            mode: isRedis ? .redis : .embedded,
            endpoint: endpoint,
            isRedisURLIgnored: !isRedis && url != ConfigurationKey.redisURL.defaultText,
            tls: try endpoint.flatMap { try TLSSettings.read(settings, for: $0) },
            namespace: try readNamespace(settings),
            limits: try readLimits(settings),
            slotBits: try settings.integer(.tableBits, in: TagTableLayout.slotBitsRange),
            cacheBytes: try (settings.string(.cacheBytes) ?? "").isEmpty
                ? nil : try settings.integer(.cacheBytes, in: 0...ValueArenaLayout.byteCountRange.upperBound),
            inheritedSocket: try inherited(sockets, path: paths.socket),
            bridge: try readBridge(settings),
            source: settings.source)
    }

    /// The settings of Redis that `read` would use.
    static func readRedis(_ settings: Settings) throws -> RedisConfiguration {
        let endpoint = try RedisEndpoint.parse(try settings.required(.redisURL))
        return RedisConfiguration(
            isEnabled: try settings.flag(.redisEnabled), endpoint: endpoint,
            tls: try TLSSettings.read(settings, for: endpoint), namespace: try readNamespace(settings),
            limits: try readLimits(settings), bridge: try readBridge(settings))
    }

    /// Settings that SIGHUP reads again. Settings that take effect at the next start only have to be valid, too:
    /// otherwise that start would fail, long after the change.
    static func readReloadable(_ settings: Settings, sockets: InheritedSockets) throws -> ReloadableSettings {
        _ = try read(settings, sockets: sockets)
        return ReloadableSettings(logLevel: try settings.logLevel(), limits: try readLimits(settings))
    }

    private static func readLimits(_ settings: Settings) throws -> Limits {
        let names = Limits.adjustable.map { key($0).name }
        let former = Settings.limitPrefix + "EMBEDDED_CACHE_BYTES"
        if settings.keys(beginningWith: former).contains(former) {
            throw ConfigurationError(
                key: former, "\(former): the values are in shared memory now; set \(ConfigurationKey.cacheBytes.name)")
        }
        if let unknown = settings.keys(beginningWith: Settings.limitPrefix).first(where: { !names.contains($0) }) {
            throw ConfigurationError(
                key: unknown, "\(unknown) is no limit that can be set; there are \(names.joined(separator: ", "))")
        }
        var limits = Limits()
        for limit in Limits.adjustable {
            limits[keyPath: limit.path] = try settings.integer(key(limit), in: limit.range)
        }
        try readProbes(settings, into: &limits)
        return limits
    }

    private static func readProbes(_ settings: Settings, into limits: inout Limits) throws {
        let interval = try settings.integer(.probeMilliseconds, in: 50...1000)
        let trust = try settings.integer(.trustMilliseconds, in: 500...2000)
        guard trust >= 2 * interval else {
            throw ConfigurationError(
                .trustMilliseconds, value: String(trust), problem: "is too short for probes every \(interval) ms",
                remedy: "give at least twice \(ConfigurationKey.probeMilliseconds.name)")
        }
        let idle = try settings.integer(.readerlessSeconds, in: 0...86_400)
        guard idle == 0 || idle >= 15 else {
            throw ConfigurationError(
                .readerlessSeconds, value: String(idle), problem: "is shorter than a load may take",
                remedy: "give 15 to 86400, or 0 for never")
        }
        limits.probeNanoseconds = UInt64(interval) * 1_000_000
        limits.upstreamTrustNanoseconds = UInt64(trust) * 1_000_000
        limits.idleNanoseconds = UInt64(idle) * 1_000_000_000
    }

    /// Table and journal are beside the socket: a socket in another directory would separate them from their workers.
    private static func inherited(_ sockets: InheritedSockets, path: String) throws(ConfigurationError) -> Int32? {
        guard let descriptor = try sockets.listener(named: socketName, kind: .unix) else { return nil }
        let bound = InheritedSocket.unixPath(of: descriptor)
        guard bound == path else {
            throw ConfigurationError(
                key: ConfigurationKey.syncdSocket.name,
                "\(ConfigurationKey.syncdSocket.name)=\(path): the socket that was handed over is at \(bound ?? "no path"); give both the same"
            )
        }
        return descriptor
    }

    private static func readBridge(_ settings: Settings) throws -> BridgeRules {
        guard try settings.flag(.bridge) else { return .none }
        let text = try settings.required(.bridgeRules)
        do {
            return try BridgeRules(text: text)
        } catch {
            throw ConfigurationError(
                .bridgeRules, value: text, problem: "cannot be read: \(error)",
                remedy: "write rules as in docs/event-bridge.md, separated by semicolons")
        }
    }

    private static func readNamespace(_ settings: Settings) throws -> String {
        let name = try settings.required(.syncdNamespace)
        let isPlain = name.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != 0x7b && $0 != 0x7d }
        guard (1...64).contains(name.utf8.count), isPlain else {
            throw ConfigurationError(
                .syncdNamespace, value: name, problem: "is not usable",
                remedy: "give 1 to 64 printable ASCII characters without { and }")
        }
        return name
    }

    /// The socket's path for commands that query a running daemon: given, of the environment, or the default. These
    /// commands run in any directory and as any user, so no file may determine the daemon.
    static func socketPath(commandLine: String?) throws -> String {
        let given = commandLine.map { [ConfigurationKey.syncdSocket.name: $0] } ?? [:]
        let settings = try Settings(commandLine: given, configFile: nil, workingDirectory: nil)
        return try settings.required(.syncdSocket)
    }
}
