import Foundation
import Synchronization

/// A process that a test started. Its output is kept for failure messages. The process is killed at the latest when
/// this object is released, and never becomes a zombie.
package final class ChildProcess: Sendable {
    /// The end of a process.
    package enum Exit: Sendable, Hashable {
        case status(Int32)
        case signal(Int32)
    }

    private enum Life {
        case running(pid_t)
        case ended(Exit)
    }

    package let pid: pid_t
    /// The command line, for messages.
    package let command: String
    private let life: Mutex<Life>
    private let directory: TemporaryDirectory
    private let cleanup: AtExit.Token

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - executable: its path.
    ///   - environment: all of its environment but PATH.
    ///   - workingDirectory: the directory in which it runs; by default an empty one.
    package init(
        _ executable: String, _ arguments: [String] = [], environment: [String: String] = [:],
        workingDirectory: String? = nil
    ) throws {
        let directory = try TemporaryDirectory()
        self.directory = directory
        command = ([executable] + arguments).joined(separator: " ")
        var environment = environment
        if environment["PATH"] == nil { environment["PATH"] = ProcessInfo.processInfo.environment["PATH"] }
        // A crash must end the process at once, without waiting for the backtracer.
        if environment["SWIFT_BACKTRACE"] == nil { environment["SWIFT_BACKTRACE"] = "enable=no" }
        let pid = try ProcessSpawner.shared.spawn(
            SpawnRequest(
                executable: executable, arguments: arguments, environment: environment,
                workingDirectory: workingDirectory ?? directory.path, outputPath: directory.file("output"),
                errorPath: directory.file("errors")))
        self.pid = pid
        life = Mutex(.running(pid))
        cleanup = AtExit.add {
            Glibc.kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
        }
    }

    deinit { kill() }

    // MARK: Output

    /// The text of standard output.
    package var output: String { read("output") }
    /// The text of standard error: the log of syncd and apiworker.
    package var errors: String { read("errors") }
    /// All output, with the command line, for a failure message.
    package var transcript: String { "--- \(command) (pid \(pid))\n\(output)\(errors)---" }

    private func read(_ name: String) -> String {
        String(decoding: FileManager.default.contents(atPath: directory.file(name)) ?? Data(), as: UTF8.self)
    }

    // MARK: Life

    /// The end of the process; `nil`: it runs.
    package var exit: Exit? {
        life.withLock { life in
            reap(&life, options: WNOHANG)
            if case .ended(let exit) = life { return exit }
            return nil
        }
    }

    package var isRunning: Bool { exit == nil }

    private func reap(_ life: inout Life, options: Int32) {
        guard case .running(let pid) = life else { return }
        var status: Int32 = 0
        while true {
            let result = waitpid(pid, &status, options)
            if result < 0, errno == EINTR { continue }
            guard result == pid else { return }
            let signal = status & 0x7f
            life = .ended(signal == 0 ? .status((status >> 8) & 0xff) : .signal(signal))
            AtExit.remove(cleanup)
            return
        }
    }

    /// Sends a signal, unless the process has ended.
    package func signal(_ number: Int32) {
        life.withLock { life in
            reap(&life, options: WNOHANG)
            if case .running(let pid) = life { _ = Glibc.kill(pid, number) }
        }
    }

    /// Sends SIGKILL, and waits until the process is gone.
    package func kill() {
        life.withLock { life in
            reap(&life, options: WNOHANG)
            guard case .running(let pid) = life else { return }
            _ = Glibc.kill(pid, SIGKILL)
            reap(&life, options: 0)
        }
    }

    /// Sends SIGSTOP: the process is stopped until ``resume()``.
    package func pause() { signal(SIGSTOP) }
    package func resume() { signal(SIGCONT) }

    /// Sends SIGTERM; kills the process and fails if it doesn't end in time.
    @discardableResult
    package func stop(within limit: Duration = .seconds(10)) async throws -> Exit {
        signal(SIGTERM)
        return try await waitForExit(within: limit)
    }

    /// Waits until the process has ended by itself; kills it and fails if it doesn't in time.
    package func waitForExit(within limit: Duration = .seconds(10)) async throws -> Exit {
        let deadline = PatientClock.now + limit
        while PatientClock.now < deadline {
            if let exit { return exit }
            try await Task.sleep(for: .milliseconds(2))
        }
        kill()
        throw TestFailure("it did not end within \(limit)\n\(transcript)")
    }
}

/// The result of a program that was run to its end.
package struct Finished: Sendable {
    package var exit: ChildProcess.Exit
    package var output: String
    package var errors: String
}

extension ChildProcess {
    /// Runs a program to its end.
    package static func run(
        _ executable: String, _ arguments: [String] = [], environment: [String: String] = [:],
        within limit: Duration = .seconds(20)
    ) async throws -> Finished {
        let process = try ChildProcess(executable, arguments, environment: environment)
        let exit = try await process.waitForExit(within: limit)
        return Finished(exit: exit, output: process.output, errors: process.errors)
    }
}
