import ArgumentParser
import IPC
import ProcessSupport

/// `syncd run`: the daemon.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run the daemon.",
        discussion: """
            Everything can be set by the environment, by a file of KEY=value lines (--config, and .env in the working \
            directory) or here; this overrides the environment, which overrides the files. The limits that 'syncd status \
            --json' shows can be set by SYNCD_LIMIT_<NAME>, but for nesting-depth, lease-ms and table-slots. SIGHUP reads log level, limits and the times of probes and idleness again. SIGTERM and \
            SIGINT end the daemon when what is under way is answered; a second one ends it at once.

            """ + ConfigurationKey.syncdKeys.map { "  \($0.name): \($0.help)" }.joined(separator: "\n"))

    @Option(help: "File of KEY=value lines.") var config: String?
    @Option(help: "Path of the socket (SYNCD_SOCKET).") var socket: String?
    @Option(help: "true: share log and cache through Redis (REDIS_ENABLED).") var redisEnabled: String?
    @Option(help: "URL of Redis (REDIS_URL).") var redisURL: String?
    @OptionGroup var redisTLS: RedisTLSOptions
    @Option(help: "Prefix of the keys in Redis (SYNCD_NAMESPACE).") var namespace: String?
    @Option(help: "The tag table has 2^bits slots (SYNCD_TABLE_BITS).") var tableBits: String?
    @Option(help: "Memory for the values that workers share, in bytes (SYNCD_CACHE_BYTES).") var cacheBytes: String?
    @Option(name: .customLong("probe-ms"), help: "Time between two probes of Redis (SYNCD_PROBE_MS).")
    var probeMilliseconds: String?
    @Option(name: .customLong("trust-ms"), help: "How long an answer of Redis vouches for the caches (SYNCD_TRUST_MS).")
    var trustMilliseconds: String?
    @Option(help: "Time without a reader after which Redis is asked seldom (SYNCD_IDLE_SECONDS).")
    var idleSeconds: String?
    @Option(help: "false: events of other programs invalidate nothing (SYNCD_BRIDGE).") var bridge: String?
    @Option(help: "What they invalidate (SYNCD_BRIDGE_RULES).") var bridgeRules: String?
    @Option(help: "How much is logged (LOG_LEVEL).") var logLevel: String?
    @Option(help: "text or json (LOG_FORMAT).") var logFormat: String?

    private var given: [String: String] {
        let options: [(ConfigurationKey, String?)] = [
            (.syncdSocket, socket), (.redisEnabled, redisEnabled), (.redisURL, redisURL),
            (.syncdNamespace, namespace), (.tableBits, tableBits), (.cacheBytes, cacheBytes),
            (.probeMilliseconds, probeMilliseconds), (.trustMilliseconds, trustMilliseconds),
            (.readerlessSeconds, idleSeconds), (.bridge, bridge), (.bridgeRules, bridgeRules),
            (.logLevel, logLevel), (.logFormat, logFormat),
        ]
        return (redisTLS.given + options).reduce(into: [:]) { given, option in given[option.0.name] = option.1 }
    }

    func run() async throws {
        var read: Settings?
        do {
            ProcessMemory.returnLarge(piece: 256 << 10, rest: 256 << 10)
            try DescriptorLimit.raise()
            let settings = try Settings(commandLine: given, configFile: config)
            read = settings
            ProcessLog.bootstrap(label: "syncd", level: try settings.logLevel(), format: try settings.logFormat())
            let sockets = try InheritedSockets()
            let daemon = DaemonProcess(
                configuration: try SyncdConfiguration.read(settings, sockets: sockets), manager: ServiceManager()
            ) {
                try SyncdConfiguration.readReloadable(
                    try Settings(commandLine: given, configFile: config), sockets: sockets)
            }
            try await daemon.run()
        } catch let error as RuntimeDirectoryError {
            try Self.fail("\(error)", error.status)
        } catch let error as TagTableFileError {
            try Self.fail("\(error)", .configuration)
        } catch let error as ConfigurationError {
            try Self.fail(read?.located(error) ?? "\(error)", .configuration)
        } catch let error as RedisURLError {
            try Self.fail("\(error)", .configuration)
        }
    }

    private static func fail(_ message: String, _ status: ExitStatus) throws {
        StandardError.write("syncd: \(message)\n")
        throw ExitCode(status.rawValue)
    }
}
