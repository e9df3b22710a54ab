import ArgumentParser
import ProcessSupport

/// The command line of syncd.
@main
struct SyncdCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "syncd",
        abstract: "Keeps the caches of all API workers on this host right.",
        discussion: """
            One syncd per host owns the only Redis connections, relays invalidations and events to the workers over \
            a Unix socket, and keeps the shared cache. 'syncd run' starts it; the other commands ask one that runs.
            """,
        version: Version.current,
        subcommands: [
            RunCommand.self, StatusCommand.self, ReportCommand.self, WaitCommand.self, MetricsCommand.self,
            InvalidateCommand.self, EventsCommand.self, ExplainCommand.self, DoctorCommand.self,
            CheckClientCommand.self,
        ])

    static func main() async {
        StandardDescriptors.fill()
        await main(nil)
    }
}

/// The socket of the queried daemon.
struct SocketOption: ParsableArguments {
    @Option(name: .customLong("socket"), help: "Path of syncd's socket (SYNCD_SOCKET).")
    var path: String?

    /// The given path, else the environment's, else the default.
    func resolved() throws -> String {
        do {
            return try SyncdConfiguration.socketPath(commandLine: path)
        } catch {
            StandardError.write("syncd: \(error)\n")
            throw ExitCode.usage
        }
    }
}

/// TLS of the commands that connect to Redis.
struct RedisTLSOptions: ParsableArguments {
    @Option(name: .customLong("redis-tls-ca-file"), help: "Certificates to trust (REDIS_TLS_CA_FILE).")
    var authorities: String?
    @Option(name: .customLong("redis-tls-cert-file"), help: "syncd's own certificate (REDIS_TLS_CERT_FILE).")
    var certificate: String?
    @Option(name: .customLong("redis-tls-key-file"), help: "Its private key (REDIS_TLS_KEY_FILE).")
    var key: String?
    @Option(name: .customLong("redis-tls-server-name"), help: "Name in the certificate (REDIS_TLS_SERVER_NAME).")
    var serverName: String?

    var given: [(ConfigurationKey, String?)] {
        [
            (.redisTLSAuthorities, authorities), (.redisTLSCertificate, certificate), (.redisTLSKey, key),
            (.redisTLSServerName, serverName),
        ]
    }
}
