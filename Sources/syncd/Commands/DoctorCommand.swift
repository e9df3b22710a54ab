import ArgumentParser
import IPC
import ProcessSupport

/// `syncd doctor`: tests a server.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Test whether a Redis or Valkey can hold the log.",
        discussion: """
            Connects as the daemon would, and tries everything that it needs: what INFO and ROLE say, scripts, \
            publish/subscribe, whether a read sees the latest write, limits, times, and what a month costs. Needs no \
            running daemon, and disturbs none: it writes only to keys of its own, for at most a minute. Without URL it \
            takes REDIS_URL and the other settings from where 'syncd run' would.

            Exit status: 0 nothing worse than notes, 1 warnings, 2 failures, 69 no server answers, 78 the URL or a \
            setting is invalid. docs/redis.md has the checks and the form of the JSON.
            """)

    @Argument(help: "URL of the server; by default that of the configuration (REDIS_URL).") var url: String?
    @Flag(help: "Print everything as JSON.") var json = false
    @Option(help: "File of KEY=value lines.") var config: String?
    @Option(help: "Prefix of the keys in Redis (SYNCD_NAMESPACE).") var namespace: String?
    @OptionGroup var redisTLS: RedisTLSOptions

    private var given: [String: String] {
        let options: [(ConfigurationKey, String?)] = [(.redisURL, url), (.syncdNamespace, namespace)]
        return (redisTLS.given + options).reduce(into: [:]) { given, option in given[option.0.name] = option.1 }
    }

    func run() async throws {
        var read: Settings?
        let redis: RedisConfiguration
        do {
            let settings = try Settings(commandLine: given, configFile: config)
            read = settings
            redis = try SyncdConfiguration.readRedis(settings)
        } catch let error as ConfigurationError {
            throw try invalid(read?.located(error) ?? "\(error)")
        } catch let error as RedisURLError {
            throw try invalid("\(error)")
        }
        let report = await Doctor(redis, isURLGiven: url != nil).examine()
        try StandardOutput.write(json ? StatusJSON.render(report.fields) : DoctorTable.render(report))
        if report.exitStatus != 0 { throw ExitCode(report.exitStatus) }
    }

    private func invalid(_ message: String) throws -> ExitCode {
        let status = ExitStatus.configuration.rawValue
        StandardError.write("syncd: \(message)\n")
        if json {
            let fields = [StatusField("error", .text(message)), StatusField("exit-status", .number(UInt64(status)))]
            try StandardOutput.write(StatusJSON.render(fields))
        }
        return ExitCode(status)
    }
}
