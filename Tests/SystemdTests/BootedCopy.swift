import Foundation
import TestSupport

/// A copy of this machine that `scripts/boot-copy` booted with systemd as its process 1: in memory, with a separate
/// network. It ends with this object, or with the test process.
final class BootedCopy: Sendable {
    private let directory: TemporaryDirectory
    private let boot: ChildProcess

    /// Why none can be booted here; `nil` if one can.
    static let obstacle: String? = {
        guard getuid() == 0 else { return "not root: namespaces with a systemd of their own can't be made" }
        guard FileManager.default.isExecutableFile(atPath: "/lib/systemd/systemd") else {
            return "systemd is not installed"
        }
        let trial = Process()
        trial.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
        trial.arguments = ["--mount", "--net", "--pid", "--fork", "true"]
        do { try trial.run() } catch { return "unshare(1) is missing: \(error)" }
        trial.waitUntilExit()
        return trial.terminationStatus == 0 ? nil : "this root may not make namespaces"
    }()

    private static var script: String { "\(Executables.packageFolder)/scripts/boot-copy" }

    /// Boots, and waits until systemd has started everything.
    init() async throws {
        directory = try TemporaryDirectory()
        boot = try ChildProcess(Self.script, [directory.path])
        try await waitUntilBooted()
    }

    private func waitUntilBooted() async throws {
        let deadline = PatientClock.now + .seconds(60)
        var state = "no process 1"
        while PatientClock.now < deadline {
            guard boot.isRunning else { break }
            if FileManager.default.fileExists(atPath: directory.file("pid")) {
                let answer = try await run("systemctl", "is-system-running")
                state = answer.output
                if state.hasPrefix("running") || state.hasPrefix("degraded") { return }
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw TestFailure("the copy did not boot: \(state)\n\(boot.transcript)")
    }

    /// Runs a command in the copy to its end.
    func run(_ words: String..., within limit: Duration = .seconds(60)) async throws -> Finished {
        try await ChildProcess.run(Self.script, [directory.path] + words, within: limit)
    }

    /// The output of a command that has to succeed.
    @discardableResult
    func output(_ words: String..., within limit: Duration = .seconds(60)) async throws -> String {
        let result = try await ChildProcess.run(Self.script, [directory.path] + words, within: limit)
        guard result.exit == .status(0) else {
            let command = words.joined(separator: " ")
            throw TestFailure(
                "\(command): \(result.exit)\n\(result.output)\(result.errors)\n\(try await recentJournal())")
        }
        return result.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Copies a file of the machine to a path in the copy.
    func put(_ source: String, at path: String) async throws {
        // The copy's root directory, as process 1 has it.
        let pid = try String(contentsOfFile: directory.file("pid"), encoding: .utf8)
        let target = "/proc/\(pid.trimmingCharacters(in: .whitespacesAndNewlines))/root\(path)"
        let result = try await ChildProcess.run(try Executables.find("cp"), ["--", source, target])
        guard result.exit == .status(0) else { throw TestFailure("\(source) was not copied: \(result.errors)") }
    }

    /// Runs lines of shell that all have to succeed, as an administrator would type them.
    @discardableResult
    func shell(_ text: String, within limit: Duration = .seconds(60)) async throws -> String {
        try await output("bash", "-euo", "pipefail", "-c", text, within: limit)
    }

    /// Starts a command that goes on.
    func start(_ words: String...) throws -> ChildProcess {
        try ChildProcess(Self.script, [directory.path] + words)
    }

    /// One property of a unit, as systemd prints it.
    func property(_ name: String, of unit: String) async throws -> String {
        try await output("systemctl", "show", "--property=\(name)", "--value", unit)
    }

    /// The main process of a service; 0 if it has none.
    func mainProcess(of unit: String) async throws -> Int {
        Int(try await property("MainPID", of: unit)) ?? 0
    }

    /// `systemctl reboot`, and waits until it is up again. The content of /run and /tmp is gone.
    func reboot() async throws {
        let before = try String(contentsOfFile: directory.file("pid"), encoding: .utf8)
        _ = try await run("systemctl", "reboot")
        let deadline = PatientClock.now + .seconds(60)
        while (try? String(contentsOfFile: directory.file("pid"), encoding: .utf8)) ?? before == before {
            guard PatientClock.now < deadline else { throw TestFailure("it did not go down\n\(boot.transcript)") }
            try await Task.sleep(for: .milliseconds(50))
        }
        try await waitUntilBooted()
    }

    /// The last lines of the journal, for a failure message.
    func recentJournal() async throws -> String {
        let result = try await run("journalctl", "--boot", "--no-pager", "--lines=60", "--output=short-precise")
        return result.output
    }
}
