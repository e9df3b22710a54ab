import Foundation
import Synchronization

/// An apiworker of a test.
package final class WorkerProcess: Sendable {
    package let environment: [String: String]
    private let wrapper: [String]
    private let port: ReservedPort
    private let process: Mutex<ChildProcess>

    /// Starts a worker and waits until it reports that it listens.
    ///
    /// - Parameters:
    ///   - port: several workers share one.
    ///   - database: for DB_URL.
    ///   - socketPath: of its syncd; empty: none.
    ///   - environment: further settings; they override the others.
    ///   - wrapper: a command that prepares something and executes the worker, whose words follow.
    package init(
        port: ReservedPort, database: String, socketPath: String, environment: [String: String] = [:],
        wrapper: [String] = []
    ) async throws {
        var all = [
            "PORT": "\(port.number)", "HOST": "127.0.0.1", "DB_URL": database, "SYNCD_SOCKET": socketPath,
        ]
        all.merge(environment) { $1 }
        self.environment = all
        self.wrapper = wrapper
        self.port = port
        process = Mutex(try Self.launch(all, wrapper))
        try await waitUntilListening()
    }

    /// Starts several workers on one port, at once.
    package static func start(
        _ count: Int, port: ReservedPort, database: String, socketPath: String, environment: [String: String] = [:]
    ) async throws -> [WorkerProcess] {
        try await withThrowingTaskGroup { group in
            for _ in 0..<count {
                group.addTask {
                    try await WorkerProcess(
                        port: port, database: database, socketPath: socketPath, environment: environment)
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    private static func launch(_ environment: [String: String], _ wrapper: [String]) throws -> ChildProcess {
        let words = wrapper + [try Executables.built("apiworker")]
        return try ChildProcess(words[0], Array(words.dropFirst()), environment: environment)
    }

    package var child: ChildProcess { process.withLock { $0 } }
    package var pid: pid_t { child.pid }
    package var portNumber: Int { port.number }
    /// The log of this life.
    package var log: String { child.output + child.errors }
    /// The output for failure messages.
    package var transcript: String { child.transcript }

    /// A port can be shared: only the log shows that this worker listens.
    private func waitUntilListening(within limit: Duration = .seconds(20)) async throws {
        let deadline = PatientClock.now + limit
        let line = "Worker \(pid) started on port \(port.number)"
        while PatientClock.now < deadline {
            if let exit = child.exit { throw TestFailure("apiworker ended (\(exit))\n\(transcript)") }
            if log.contains(line) { return }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw TestFailure("apiworker does not say \"\(line)\"\n\(transcript)")
    }

    package func kill() { child.kill() }
    package func pause() { child.pause() }
    package func resume() { child.resume() }
    /// Sends SIGTERM; the worker finishes running requests.
    @discardableResult
    package func stop() async throws -> ChildProcess.Exit { try await child.stop(within: .seconds(15)) }

    /// Kills it and starts another one in its place.
    package func restart() async throws {
        try process.withLock { process in
            process.kill()
            process = try Self.launch(environment, wrapper)
        }
        try await waitUntilListening()
    }
}
