import Foundation
import IPCWire
import NIOCore
import Synchronization

/// A syncd of a test, with a separate runtime directory: a host.
package final class SyncdProcess: Sendable {
    package let directory: TemporaryDirectory
    /// The environment of the daemon.
    package let environment: [String: String]
    private let wrapper: [String]
    private let process: Mutex<ChildProcess>
    /// The end of the logs of earlier lives: some tests kill it hundreds of times.
    private let formerLogs = Mutex("")
    private static let formerLogCharacters = 1 << 20

    /// Starts a daemon and waits until its socket answers.
    ///
    /// - Parameters:
    ///   - redis: the server that holds log and cache; `nil`: embedded.
    ///   - environment: further settings; they override the others.
    ///   - directory: the runtime directory; by default a new one.
    ///   - wrapper: a command that prepares something and executes the daemon, whose words follow.
    package init(
        redis: RedisServer? = nil, environment: [String: String] = [:], directory: TemporaryDirectory? = nil,
        wrapper: [String] = []
    ) async throws {
        let directory = try directory ?? TemporaryDirectory()
        var all = ["SYNCD_SOCKET": directory.file("syncd.sock"), "SYNCD_TABLE_BITS": "16", "LOG_LEVEL": "debug"]
        if let redis {
            all["REDIS_ENABLED"] = "true"
            all["REDIS_URL"] = redis.url
        }
        all.merge(environment) { $1 }
        self.directory = directory
        self.environment = all
        self.wrapper = wrapper
        process = Mutex(try Self.launch(all, wrapper))
        try await waitUntilAnswering()
    }

    private static func launch(_ environment: [String: String], _ wrapper: [String]) throws -> ChildProcess {
        let words = wrapper + [try Executables.built("syncd"), "run"]
        return try ChildProcess(words[0], Array(words.dropFirst()), environment: environment)
    }

    // MARK: Where it is

    package var socketPath: String { environment["SYNCD_SOCKET"] ?? "" }
    package var child: ChildProcess { process.withLock { $0 } }
    package var pid: pid_t { child.pid }
    /// The log of this life.
    package var log: String { child.errors }
    /// The logs of this life and of all earlier ones, for failure messages.
    package var transcript: String { formerLogs.withLock { $0 } + child.transcript }

    // MARK: Talking to it

    /// A connection that has said HELLO.
    package func connect(version: Int = 3, name: String? = nil) async throws -> RESPSocket {
        let socket = try RESPSocket(path: socketPath)
        let greeting =
            if let name {
                try await socket.command("HELLO", "\(version)", "SETNAME", name)
            } else {
                try await socket.command("HELLO", "\(version)")
            }
        if let refusal = greeting.errorText { throw TestFailure("HELLO: \(refusal)\n\(transcript)") }
        return socket
    }

    /// Runs one command over a separate connection.
    @discardableResult
    package func command(_ arguments: String...) async throws -> RESPValue {
        try await connect().command(arguments.map { ByteBuffer(string: $0) })
    }

    /// STATUS, as a map of maps.
    package func status() async throws -> RESPValue { try await command("STATUS") }

    /// One value of STATUS.
    package func status(_ section: String, _ name: String) async throws -> RESPValue? {
        try await status()[section]?[name]
    }

    package var isAttached: Bool {
        get async throws { try await status("log", "state")?.string == "attached" }
    }

    /// Runs one of the commands that query a daemon, on this one.
    package func runTool(_ arguments: [String], within limit: Duration = .seconds(20)) async throws -> Finished {
        try await ChildProcess.run(
            try Executables.built("syncd"), arguments, environment: ["SYNCD_SOCKET": socketPath], within: limit)
    }

    private func waitUntilAnswering(within limit: Duration = .seconds(20)) async throws {
        let deadline = PatientClock.now + limit
        while PatientClock.now < deadline {
            if let exit = child.exit { throw TestFailure("syncd ended (\(exit))\n\(transcript)") }
            if let socket = try? RESPSocket(path: socketPath), (try? await socket.command("PING"))?.string == "PONG" {
                return
            }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw TestFailure("syncd does not answer\n\(transcript)")
    }

    /// Waits until the host is attached.
    package func waitUntilAttached(within limit: Duration = .seconds(30)) async throws {
        let deadline = PatientClock.now + limit
        // One connection for all queries: its log explains a failure.
        var socket: RESPSocket?
        while PatientClock.now < deadline {
            if socket == nil { socket = try? await connect() }
            let status = try? await socket?.command("STATUS")
            if status?["log"]?["state"]?.string == "attached" { return }
            if status == nil { socket = nil }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw TestFailure("syncd is not attached\n\(transcript)")
    }

    // MARK: Its life

    package func kill() { child.kill() }
    package func pause() { child.pause() }
    package func resume() { child.resume() }
    /// Sends SIGTERM.
    @discardableResult
    package func stop() async throws -> ChildProcess.Exit { try await child.stop() }

    /// Starts it again in the same runtime directory; kills it before, if it still runs.
    package func start() async throws {
        try process.withLock { process in
            process.kill()
            let log = process.transcript
            formerLogs.withLock { $0 = String(($0 + log + "\n").suffix(Self.formerLogCharacters)) }
            process = try Self.launch(environment, wrapper)
        }
        try await waitUntilAnswering()
    }

    /// Sends SIGKILL and starts it again.
    package func restart() async throws {
        kill()
        try await start()
    }
}
