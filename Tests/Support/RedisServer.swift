import Foundation
import IPCWire
import NIOCore
import Synchronization

/// A redis-server of a test, with a separate port and directory.
package final class RedisServer: Sendable {
    private let port: ReservedPort
    private let directory: TemporaryDirectory
    private let options: [String]
    private let process: Mutex<ChildProcess>
    package var pid: pid_t { process.withLock { $0.pid } }

    /// Starts a server and waits until it answers.
    ///
    /// - Parameter options: further options, for example `["--requirepass", "secret"]`.
    package init(_ options: [String] = []) async throws {
        port = try ReservedPort()
        directory = try TemporaryDirectory()
        self.options = options
        process = Mutex(try Self.launch(port: port, directory: directory, options: options))
        try await waitUntilAnswering()
    }

    private static func launch(
        port: ReservedPort, directory: TemporaryDirectory, options: [String]
    ) throws -> ChildProcess {
        try ChildProcess(
            try Executables.find("redis-server"),
            [
                "--port", "\(port.number)", "--bind", "127.0.0.1", "--dir", directory.path,
                "--unixsocket", directory.file("redis.sock"), "--save", "", "--appendonly", "no",
                "--enable-debug-command", "yes",
            ] + options)
    }

    // MARK: Where it is

    package var portNumber: Int { port.number }
    /// The value of REDIS_URL.
    package var url: String { "redis://127.0.0.1:\(port.number)" }
    package var socketPath: String { directory.file("redis.sock") }
    package var child: ChildProcess { process.withLock { $0 } }
    /// The log, for failure messages.
    package var log: String { child.transcript }

    // MARK: Talking to it

    /// A separate connection for the test.
    package func connect() throws -> RESPSocket { try RESPSocket(port: port.number) }

    /// Runs one command over a separate connection.
    @discardableResult
    package func command(_ arguments: String...) async throws -> RESPValue {
        let socket = try connect()
        let words = arguments.map { ByteBuffer(string: $0) }
        return try await socket.command(words)
    }

    /// The names of all connections except the asking one, in alphabetical order; `?` for one without a name.
    package func clientNames() async throws -> [String] {
        let socket = try connect()
        let id = try await socket.command("CLIENT", "ID").number ?? 0
        let list = try await socket.command("CLIENT", "LIST").string ?? ""
        return list.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            if fields.first == "id=\(id)" { return nil }
            let name = fields.first { $0.hasPrefix("name=") }.map { String($0.dropFirst(5)) } ?? ""
            return name.isEmpty ? "?" : name
        }.sorted()
    }

    /// Waits until it answers, also when it was just started.
    package func waitUntilAnswering(within limit: Duration = .seconds(10)) async throws {
        let deadline = PatientClock.now + limit
        while PatientClock.now < deadline {
            if let exit = child.exit { throw TestFailure("redis-server ended (\(exit))\n\(log)") }
            if let socket = try? connect(), let reply = try? await socket.command("PING", within: .milliseconds(500)),
                reply == .simpleString(ByteBuffer(string: "PONG")) || reply.errorText?.hasPrefix("NOAUTH") == true
            {
                return
            }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw TestFailure("redis-server does not answer\n\(log)")
    }

    // MARK: Harming it

    package func kill() { child.kill() }
    package func pause() { child.pause() }
    package func resume() { child.resume() }

    /// Starts it again on the same port after ``kill()``; saved data are there again.
    ///
    /// - Parameters:
    ///   - further: options for this life only.
    ///   - isWaiting: whether to wait until it answers.
    package func start(_ further: [String] = [], isWaiting: Bool = true) async throws {
        try process.withLock { process in
            process.kill()
            process = try Self.launch(port: port, directory: directory, options: options + further)
        }
        if isWaiting { try await waitUntilAnswering() }
    }

    /// Kills it and starts it again on the same port, with all its data or with none.
    package func restart(keepingData: Bool) async throws {
        if keepingData { try await command("SAVE") }
        kill()
        if !keepingData { try? FileManager.default.removeItem(atPath: directory.file("dump.rdb")) }
        try await start()
    }

    /// Ends it; also done when this object is released.
    package func stop() { child.kill() }
}
