import ArgumentParser
import Glibc
import IPC
import Logging
import NIOCore
import NIOPosix
import ProcessSupport
import SyncCore

/// `syncd run`: the daemon.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run the daemon.",
        discussion: """
            Everything can be set by the environment, by a file of KEY=value lines (--config, and .env in the working \
            directory) or here; this beats the environment, which beats the files. Every limit that 'syncd status \
            --json' shows can be set by SYNCD_LIMIT_<NAME>.

            """ + SyncdConfiguration.keys.map { "  \($0.name): \($0.help)" }.joined(separator: "\n"))

    @Option(help: "File of KEY=value lines.") var config: String?
    @Option(help: "Path of the socket (SYNCD_SOCKET).") var socket: String?
    @Option(help: "true: share log and cache through Redis (REDIS_ENABLED).") var redisEnabled: String?
    @Option(help: "Where Redis is (REDIS_URL).") var redisURL: String?
    @Option(help: "Prefix of the keys in Redis (SYNCD_NAMESPACE).") var namespace: String?
    @Option(help: "The tag table has 2^bits slots (SYNCD_TABLE_BITS).") var tableBits: String?
    @Option(help: "How much is logged (LOG_LEVEL).") var logLevel: String?

    private var given: [String: String] {
        let options: [(ConfigurationKey, String?)] = [
            (SyncdConfiguration.socket, socket), (SyncdConfiguration.redisEnabled, redisEnabled),
            (SyncdConfiguration.redisURL, redisURL), (SyncdConfiguration.namespace, namespace),
            (SyncdConfiguration.slotBits, tableBits), (.logLevel, logLevel),
        ]
        return options.reduce(into: [:]) { given, option in given[option.0.name] = option.1 }
    }

    func run() async throws {
        do {
            let settings = try Settings(commandLine: given, configFile: config)
            ProcessLog.bootstrap(label: "syncd", level: try settings.logLevel())
            ignoreBrokenPipes()
            try await DaemonProcess(configuration: try SyncdConfiguration.read(settings)).run()
        } catch let error as RuntimeDirectoryError {
            try Self.fail("\(error)", error.status)
        } catch let error as TagTableFileError {
            try Self.fail("\(error)", .configuration)
        } catch let error as ConfigurationError {
            try Self.fail("\(error)", .configuration)
        } catch let error as RedisURLError {
            try Self.fail("\(error)", .configuration)
        }
    }

    private static func fail(_ message: String, _ status: ExitStatus) throws {
        StandardError.write("syncd: \(message)\n")
        throw ExitCode(status.rawValue)
    }
}

/// The daemon's life: lock, table, journal, beat, listen; then wait for a signal, and end without losing a reply.
struct DaemonProcess {
    let configuration: DaemonConfiguration

    /// What is under way at the end may take so long to be answered.
    private static let drainTime = Duration.milliseconds(500)

    func run() async throws {
        let logger = Logger(label: "syncd")
        let paths = configuration.paths
        try paths.prepare()
        let lock = try RuntimeLock(paths.lock)
        let (table, isTableNew) = try TagTableFile.openOrCreate(path: paths.table, slotBits: configuration.slotBits)
        let journal = try openJournal()
        try paths.removeStaleSocket()

        // One thread: the brain, the listener and all connections live on it.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let eventLoop = group.any()
        let (stopping, stop) = AsyncStream.makeStream(of: String.self)
        let started = try await eventLoop.submit { [configuration] in
            let daemon = Daemon(
                configuration: configuration, table: table, isTableNew: isTableNew, journal: journal,
                eventLoop: eventLoop, logger: logger)
            daemon.onShutdownAsked = { stop.yield("SHUTDOWN") }
            daemon.start()
            return NIOLoopBound(daemon, eventLoop: eventLoop)
        }.get()
        let listener = try await Listener.listen(path: paths.socket, daemon: started, group: group)
        logger.notice(
            "syncd listens",
            metadata: [
                "socket": "\(paths.socket)", "mode": "\(configuration.mode.rawValue)", "pid": "\(getpid())",
                "version": "\(Version.current)",
            ])
        let signals = TerminationSignals { stop.yield($0) }
        for await reason in stopping {
            logger.notice("syncd is stopping", metadata: ["reason": "\(reason)"])
            break
        }
        signals.cancel()

        // Nobody connects any more; who is connected gets what was asked for. The listener removes its path.
        try? await listener.close().get()
        try await eventLoop.submit { started.value.beginStop() }.get()
        let deadline = ContinuousClock.now + Self.drainTime
        while try await eventLoop.submit({ started.value.isBusy }).get(), ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(5))
        }
        try await eventLoop.flatSubmit { started.value.stop() }.get()
        try await group.shutdownGracefully()
        withExtendedLifetime(lock) {}
    }

    private func openJournal() throws -> JournalDirectory {
        do {
            return try JournalDirectory(path: configuration.paths.journal)
        } catch {
            throw RuntimeDirectoryError(
                description:
                    "\(configuration.paths.journal): the journal directory cannot be used: \(error); make it writable, or set SYNCD_SOCKET to a path elsewhere",
                status: .configuration)
        }
    }
}
