import ArgumentParser
import Glibc
import Logging
import ProcessSupport

/// The command line of apiworker.
@main
struct APIWorkerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apiworker",
        abstract: "Serves the HTTP API from MongoDB, with a cache that syncd keeps consistent.",
        discussion: """
            One worker per CPU core; all listen on one port. Everything can be set by the environment, by a file of \
            KEY=value lines (--config, and .env in the working directory) or here; this overrides the environment, which \
            overrides the files. SIGHUP reads the log level again. SIGTERM and SIGINT end the worker when what is under \
            way is answered; a second one ends it at once.

            """ + ConfigurationKey.workerKeys.map { "  \($0.name): \($0.help)" }.joined(separator: "\n"),
        version: Version.current)

    @Option(help: "File of KEY=value lines.") var config: String?
    @Option(help: "Port to listen on (PORT).") var port: String?
    @Option(help: "Address to listen on (HOST).") var host: String?
    @Option(name: .customLong("db-url"), help: "URL of MongoDB (DB_URL).") var databaseURL: String?
    @Option(name: .customLong("frontend-origin-url"), help: "Origins for CORS (FRONTEND_ORIGIN_URL).")
    var origins: String?
    @Option(help: "Path of syncd's socket; empty: no syncd, no cache (SYNCD_SOCKET).") var socket: String?
    @Option(name: .customLong("worker-l1-bytes"), help: "Bytes for the worker's own cache (WORKER_L1_BYTES).")
    var l1Bytes: String?
    @Option(name: .customLong("worker-audit-one-in"), help: "Share of hits to audit; 0: none (WORKER_AUDIT_ONE_IN).")
    var auditOneIn: String?
    @Option(
        name: .customLong("worker-grace-seconds"),
        help: "Seconds past its time to live for which a value is served without MongoDB (WORKER_GRACE_SECONDS).")
    var graceSeconds: String?
    @Option(name: .customLong("worker-gzip-bytes"), help: "Bytes for bodies in gzip; 0: none (WORKER_GZIP_BYTES).")
    var gzipBytes: String?
    @Option(
        name: .customLong("worker-idle-seconds"),
        help: "Seconds for which a connection without a request stays open (WORKER_IDLE_SECONDS).")
    var idleSeconds: String?
    @Option(
        name: .customLong("worker-change-feed"),
        help: "true or false: notice writes of programs that do not invalidate (WORKER_CHANGE_FEED).")
    var changeFeed: String?
    @Option(name: .customLong("worker-hosts"), help: "Host names for this API; empty: any (WORKER_HOSTS).")
    var hosts: String?
    @Option(help: "Lowest level that is logged (LOG_LEVEL).") var logLevel: String?
    @Option(help: "text or json (LOG_FORMAT).") var logFormat: String?

    /// Options of the command line, by key.
    private var given: [String: String] {
        let options: [(ConfigurationKey, String?)] = [
            (ConfigurationKey.port, port), (ConfigurationKey.host, host),
            (ConfigurationKey.databaseURL, databaseURL), (ConfigurationKey.origins, origins),
            (.syncdSocket, socket), (ConfigurationKey.l1Bytes, l1Bytes),
            (ConfigurationKey.auditOneIn, auditOneIn), (ConfigurationKey.graceSeconds, graceSeconds),
            (ConfigurationKey.gzipBytes, gzipBytes), (ConfigurationKey.idleSeconds, idleSeconds),
            (ConfigurationKey.hosts, hosts), (ConfigurationKey.changeFeed, changeFeed),
            (.logLevel, logLevel), (.logFormat, logFormat),
        ]
        return options.reduce(into: [:]) { given, option in given[option.0.name] = option.1 }
    }

    static func main() async {
        StandardDescriptors.fill()
        await main(nil)
    }

    func run() async throws {
        var read: Settings?
        do {
            // Most bodies of lists and graphs are shorter.
            ProcessMemory.returnLarge(piece: 1 << 20, rest: 4 << 20)
            try DescriptorLimit.raise()
            let settings = try Settings(commandLine: given, configFile: config)
            read = settings
            ProcessLog.bootstrap(label: "apiworker", level: try settings.logLevel(), format: try settings.logFormat())
            let sockets = try InheritedSockets()
            let worker = try Worker(
                try WorkerConfiguration.read(settings, sockets: sockets), manager: ServiceManager(),
                logger: Logger(label: "apiworker"))
            let (given, config) = (given, config)
            try await worker.run { () throws(ConfigurationError) in
                // Settings that take effect at the next start only have to be valid, too.
                let settings = try Settings(commandLine: given, configFile: config)
                _ = try MongoURI.checked(try WorkerConfiguration.read(settings, sockets: sockets).databaseURL)
                return try settings.logLevel()
            }
            // All responses are sent. Freeing the rest could mean to wait for the database.
            withExtendedLifetime(worker) { Glibc.exit(EXIT_SUCCESS) }
        } catch let error as ConfigurationError {
            StandardError.write("apiworker: \(read?.located(error) ?? "\(error)")\n")
            throw ExitCode(ExitStatus.configuration.rawValue)
        } catch let error as ListenError {
            StandardError.write("apiworker: \(error)\n")
            throw ExitCode(error.status.rawValue)
        }
    }
}
