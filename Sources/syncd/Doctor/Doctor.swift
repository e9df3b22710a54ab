import IPC
import IPCWire
import Logging
import NIOCore
import SyncCore

/// Tests a server as a host of the log: makes the connections that the daemon would make, and sends the commands and
/// scripts that it would send, to keys that no syncd reads.
///
/// A running deployment is not disturbed. Of the log only the names are used: the doctor subscribes to its channel, and
/// asks a cluster where its keys are. It neither changes nor publishes an entry. Everything that is written has a name
/// below `{<namespace>}:doctor:<random>:`, within the patterns of syncd's ACL user. Values expire within a minute. The
/// log's keys are deleted at the end of the scripts' test, and expire within a minute where EXPIRE is permitted.
@DoctorLoop
final class Doctor {
    let configuration: RedisConfiguration
    /// The names of the deployment.
    let live: RedisKeys
    /// The names of the test.
    let scratch: RedisKeys
    let encoding: CommandEncoding
    private let connector: RedisConnector
    private(set) var report: DoctorReport
    /// The second connection gets messages of the channel of the test.
    var isListening = false
    /// Times of probes.
    var roundTrips = LatencyRing()

    private let isURLGiven: Bool

    /// - Parameter isURLGiven: the URL is not that of the configuration.
    init(_ configuration: RedisConfiguration, isURLGiven: Bool) {
        self.configuration = configuration
        self.isURLGiven = isURLGiven
        let database = configuration.endpoint.database
        let random = String(UInt64.random(in: 0...UInt64.max), radix: 16)
        live = RedisKeys(namespace: configuration.namespace, database: database)
        scratch = RedisKeys(namespace: configuration.namespace, database: database, scratch: "doctor:\(random):")
        encoding = CommandEncoding(keys: scratch)
        connector = RedisConnector(
            for: configuration.endpoint, tls: configuration.tls, watchesCipher: true,
            eventLoop: DoctorLoop.shared.eventLoop, logger: Logger(label: "doctor") { _ in SwiftLogNoOpLogHandler() })
        report = DoctorReport(endpoint: configuration.endpoint.redacted, namespace: configuration.namespace)
    }

    /// Whether the daemon would use sharded channels.
    var isCluster: Bool { if case .cluster = configuration.endpoint.address { true } else { false } }

    func add(_ finding: Finding) { report.findings.append(finding) }

    func connection(_ name: String) -> DoctorConnection {
        let source = configuration.endpoint.primarySource(slot: live.slot)
        return DoctorConnection(configuration.endpoint, source: source, connector: connector, name: name)
    }

    /// Runs all checks.
    func examine() async -> DoctorReport {
        checkSettings()
        let commands = connection("syncd-doctor")
        let subscription = connection("syncd-doctor-subscriptions")
        let others = connection("syncd-doctor-others")
        defer { for connection in [commands, subscription, others] { connection.close() } }
        do throws(ConnectionLoss) {
            guard await reach(commands, subscription) else { return report }
            try await checkServer(commands)
            guard try await holdsLog(commands) else { return report }
            try await checkReads(commands, subscription)
            try await checkChannels(commands, subscription)
            try await checkScripts(commands, subscription)
            try await checkLimits(commands)
            await checkOthers(others)
        } catch {
            add(
                Finding(
                    .connection, .failure, "the connection was lost during the checks: \(error.reason)",
                    follows: "the checks that are missing here were not made", remedy: "try again; see the server's log"
                ))
        }
        add(commandsPerMonth(CommandBudget(configuration.limits)))
        return report
    }

    private func checkSettings() {
        let parameters = configuration.endpoint.unusedParameters
        if !parameters.isEmpty {
            add(
                Finding(
                    .settings, .note, "parameters of the URL have no effect: \(parameters.joined(separator: ", "))"))
        }
        if !configuration.isEnabled, !isURLGiven {
            add(
                Finding(
                    .settings, .note, "REDIS_ENABLED is false", follows: "the daemon does not use this server",
                    remedy: "set REDIS_ENABLED=true if several hosts share caches"))
        }
    }

    // MARK: Connections

    /// Makes the two connections of a host. Returns whether both are there.
    private func reach(_ commands: DoctorConnection, _ subscription: DoctorConnection) async -> Bool {
        for connection in [commands, subscription] {
            let result = await connection.open()
            report.isReached = report.isReached || connection.isAnswered
            if case .failure(let loss) = result {
                add(
                    Finding(
                        .connection, .failure, loss.reason,
                        follows: "hosts are isolated: nothing is answered from cache",
                        remedy: loss.isDenied
                            ? "correct the URL, the TLS keys or the user's permissions (docs/redis.md)"
                            : loss.isHandshakeMissing
                                ? "use redis://, or the TLS port of the server"
                                : "start the server, or correct address, port or network"))
                return false
            }
        }
        let steps = commands.steps
        let slow = steps.filter { $0.time >= .seconds(1) }.map(\.name)
        let times = steps.map { "\($0.name) \($0.time.text)" }.joined(separator: ", ")
        add(
            Finding(
                .connection, slow.isEmpty ? .ok : .warning, "\(commands.target): \(times)",
                follows: slow.isEmpty ? nil : "every reconnect takes this long, and the host is isolated meanwhile",
                remedy: slow.isEmpty ? nil : "find out what makes \(slow.joined(separator: " and ")) slow",
                figures: steps.map { StatusField("\($0.name.lowercased())-us", .number($0.time.microseconds)) }))
        add(tls(commands.tlsSession, target: commands.target))
        return true
    }

    // MARK: Cost

    private func commandsPerMonth(_ budget: CommandBudget) -> Finding {
        func millions(_ number: UInt64) -> String {
            number >= 1_000_000 ? "\(number / 1_000_000).\(number / 100_000 % 10) million" : "\(number / 1000) thousand"
        }
        func dollars(_ intervals: CommandBudget.Intervals) -> String {
            let cents = intervals.commandsPerMonth / 5000
            return cents < 1000 ? "\(cents / 100).\(String(cents % 100 + 100).dropFirst())" : "\(cents / 100)"
        }
        let count =
            budget.idle.commandsPerMonth == budget.busy.commandsPerMonth
            ? "\(millions(budget.idle.commandsPerMonth)) commands a month for each host, idle or not"
            : "\(millions(budget.idle.commandsPerMonth)) commands a month for an idle host, \(millions(budget.busy.commandsPerMonth)) for one in use"
        return Finding(
            .commands, .ok, count,
            follows:
                "at 0.20 USD for 100 000, for example, \(dollars(budget.idle)) USD idle and \(dollars(budget.busy)) USD in use; each invalidation adds one command, or \(CommandBudget.commandsPerAppend) where commands inside of scripts are billed\(isCluster ? "; the questions for the primary, two to each node every 2 s while the host is in use, are not counted" : "")",
            remedy: "nothing, unless commands are billed: then prefer a fixed price",
            figures: [
                StatusField("idle-per-month", .number(budget.idle.commandsPerMonth)),
                StatusField("busy-per-month", .number(budget.busy.commandsPerMonth)),
            ])
    }
}

extension TimeAmount {
    var microseconds: UInt64 { UInt64(clamping: nanoseconds / 1000) }

    /// `40 µs`, `1.4 ms`, `12 ms`, `3.1 s`.
    var text: String {
        if nanoseconds < 950_000 { return "\((nanoseconds + 500) / 1000) µs" }
        let tenths = (nanoseconds + 50_000) / 100_000
        if tenths < 100 { return "\(tenths / 10).\(tenths % 10) ms" }
        if nanoseconds < 1_000_000_000 { return "\((nanoseconds + 500_000) / 1_000_000) ms" }
        let tenthsOfSeconds = (nanoseconds + 50_000_000) / 100_000_000
        return "\(tenthsOfSeconds / 10).\(tenthsOfSeconds % 10) s"
    }
}

extension UpstreamFailure {
    /// The remedy for an operator.
    ///
    /// - Parameter permissions: the rules of the ACL that are needed.
    func remedy(permitting permissions: String) -> String {
        switch self {
        case .denied: "permit \(permissions) to syncd's user (docs/redis.md, ACL user)"
        case .wrongRole: "give the address of the primary, or of sentinels or a cluster that name it"
        // Of unknown commands, services say ERR, like servers of other errors.
        case .refused, .damaged: "correct what the error says, or use another server (docs/redis.md, errors from Redis)"
        }
    }
}

extension RESPValue {
    /// The text of an error reply.
    var errorText: ByteBuffer? { if case .error(let text) = self { text } else { nil } }

    /// The meaning of an error reply.
    var failure: UpstreamFailure? { errorText.map { UpstreamFailure(redisError: $0) } }

    /// The text of an error reply for people.
    var errorShown: String? { failure?.message }
}
