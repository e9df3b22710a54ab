import ArgumentParser
import IPC
import ProcessSupport

/// `syncd wait attached`, `syncd wait workers=4`: for scripts that start a host.
struct WaitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait", abstract: "Wait until this host is as wanted.",
        discussion: """
            Conditions: 'attached' (caches can be used), 'workers=N' (at least N workers are connected and have \
            reported). Several are waited for together. Exit status: 0 when all hold, 1 when the time is over.
            """)

    @OptionGroup var socket: SocketOption
    @Option(help: ArgumentHelp("How long to wait.", valueName: "seconds")) var timeout = 30.0
    @Argument(help: "attached, workers=N") var conditions: [WaitCondition]

    func validate() throws {
        guard (0...86_400).contains(timeout) else { throw ValidationError("--timeout: 0 to 86400 seconds") }
    }

    /// Interval of queries.
    private static let interval = Duration.milliseconds(50)

    func run() async throws {
        let path = try socket.resolved()
        let deadline = ContinuousClock.now + .seconds(timeout)
        var client: SyncdClient?
        var missing = "no daemon answers at \(path)"
        repeat {
            do {
                let patience = max(.seconds(1), min(.seconds(5), deadline - ContinuousClock.now))
                let connection =
                    if let client { client } else { try await SyncdClient.connect(path: path, timeout: patience) }
                client = connection
                let sections = try await ClientSession.status(connection)
                let unmet = conditions.filter { !$0.holds(sections) }
                if unmet.isEmpty { return connection.close() }
                missing = unmet.map { $0.found(sections) }.joined(separator: ", ")
            } catch {
                client?.close()
                client = nil
                missing = "no daemon answers at \(path): \(error)"
            }
            try await Task.sleep(for: Self.interval)
        } while ContinuousClock.now < deadline
        StandardError.write("syncd: waited \(timeout) s: \(missing)\n")
        throw ExitCode.failure
    }
}

/// A condition to wait for.
enum WaitCondition: ExpressibleByArgument, Hashable {
    case attached
    case workers(Int)

    init?(argument: String) {
        if argument == "attached" {
            self = .attached
        } else if argument.hasPrefix("workers="), let count = Int(argument.dropFirst("workers=".count)), count >= 0 {
            self = .workers(count)
        } else {
            return nil
        }
    }

    func holds(_ status: [StatusField]) -> Bool {
        switch self {
        case .attached: ShownState(of: status)?.areCachesUsable == true
        case .workers(let count): Self.workers(status) >= count
        }
    }

    /// The present state instead.
    func found(_ status: [StatusField]) -> String {
        switch self {
        case .attached: "\(status.value("log", "state").plain) (\(status.value("log", "why").plain))"
        case .workers(let count): "\(Self.workers(status)) of \(count) workers"
        }
    }

    /// Number of clients that have reported values.
    private static func workers(_ status: [StatusField]) -> Int {
        guard case .list(let clients) = status.first(where: { $0.name == "clients" })?.value else { return 0 }
        return clients.count { client in
            guard case .fields(let fields) = client, case .fields(let reported) = fields.value("reported") else {
                return false
            }
            return !reported.isEmpty
        }
    }
}
