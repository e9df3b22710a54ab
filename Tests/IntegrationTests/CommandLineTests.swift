import Foundation
import IPCWire
import NIOCore
import TestSupport
import Testing

/// The commands that ask a running daemon, as people and scripts use them.
@Suite(.tags(.servers), .processes) struct CommandLineTests {
    @Test func `status: attached, isolated, nobody there`() async throws {
        let redis = try await RedisServer()
        let host = try await Host(redis)
        let attached = try await host.syncd.runTool(["status"])
        #expect(attached.exit == .status(0), "\(attached)")
        #expect(attached.output.contains("attached") && attached.output.contains(redis.url))
        #expect(attached.output.contains("pid \(host.syncd.pid)"))
        #expect(attached.errors.isEmpty)

        redis.kill()
        await host.waitUntilIsolated()
        let isolated = try await host.syncd.runTool(["status"])
        #expect(isolated.exit == .status(1))
        #expect(isolated.output.contains("isolated"))

        host.syncd.kill()
        for arguments in [["status"], ["status", "--json"], ["invalidate", "a"], ["explain", "k"], ["events"]] {
            let nobody = try await host.syncd.runTool(arguments)
            #expect(nobody.exit == .status(3), "\(arguments)")
            #expect(nobody.output.isEmpty && nobody.errors.contains(host.syncd.socketPath))
            #expect(nobody.errors.split(separator: "\n").count == 1)
        }
    }

    @Test func `status as JSON`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect(name: "a \"b\" \\ é")
        try await client.command("REPORT", "l1-hits", "5")
        let finished = try await syncd.runTool(["status", "--json"])
        #expect(finished.exit == .status(0))
        let parsed = try JSONSerialization.jsonObject(with: Data(finished.output.utf8))
        let status = try #require(parsed as? [String: Any])
        #expect((status["server"] as? [String: Any])?["pid"] as? Int == Int(syncd.pid))
        #expect((status["log"] as? [String: Any])?["mode"] as? String == "embedded")
        let clients = try #require(status["clients"] as? [[String: Any]])
        let own = try #require(clients.first { ($0["name"] as? String)?.hasPrefix("a \"b\"") == true })
        #expect((own["reported"] as? [String: Any])?["l1-hits"] as? String == "5")
        let limits = try #require(status["limits"] as? [String: Any])
        #expect(limits["clients"] as? Int == 1024)
    }

    @Test func `invalidate`() async throws {
        let redis = try await RedisServer()
        let host = try await Host(redis)
        try await host.client.store("key", "value", tags: ["users"])
        let before = Int(host.table.applied.number)
        let one = try await host.syncd.runTool(["invalidate", "users", "user:1"])
        #expect(one.exit == .status(0))
        let position = try #require(Int(one.output.trimmingCharacters(in: .newlines)), "\(one)")
        #expect(position > before && host.slot("users") == position && host.slot("user:1") == position)
        let all = try await host.syncd.runTool(["invalidate", "--all"])
        #expect(Int(all.output.trimmingCharacters(in: .newlines)) == host.slot("*"))
        redis.kill()
        await host.waitUntilIsolated()
        let deferred = try await host.syncd.runTool(["invalidate", "users"])
        #expect(deferred.output == "DEFERRED\n" && deferred.exit == .status(0))
        for wrong in [["invalidate"], ["invalidate", "--all", "users"], ["invalidate", ""]] {
            let finished = try await host.syncd.runTool(wrong)
            #expect(finished.exit == .status(64), "\(wrong): \(finished)")
            #expect(finished.output.isEmpty && !finished.errors.isEmpty)
        }
    }

    @Test func `events`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let tool = try ChildProcess(
            try Executables.built("syncd"), ["events"], environment: ["SYNCD_SOCKET": syncd.socketPath])
        try await eventually("it listens") {
            try await syncd.command("PUBLISH", "news", "{\"a\":\"1\"}\n2").number == 1
        }
        let client = try await syncd.connect()
        // The tool asks for events first, and then for invalidations.
        try await eventually("lines come as they happen", details: { tool.transcript }) {
            let position = try await client.invalidate("users", "user:1")
            try await Task.sleep(for: .milliseconds(20))
            return tool.output.contains(" invalidate \(position) users user:1\n")
        }
        let line = try #require(tool.output.split(separator: "\n").first)
        let words = line.split(separator: " ", maxSplits: 2)
        #expect(words.count == 3 && words[0].hasSuffix("Z") && words[0].contains("T"), "\(line)")
        #expect(words[1] == "news" && words[2] == "{\"a\":\"1\"}\\x0a2", "\(line)")
        tool.signal(SIGINT)
        #expect(try await tool.waitForExit() != .status(0))

        let other = try ChildProcess(
            try Executables.built("syncd"), ["events"], environment: ["SYNCD_SOCKET": syncd.socketPath])
        try await eventually("it listens") { try await syncd.command("PUBLISH", "x", "y").number == 1 }
        syncd.kill()
        #expect(try await other.waitForExit() == .status(3), "the daemon is gone")
    }

    @Test func `explain`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        try await syncd.connect().store("users:all", "[]", tags: ["users"])
        let fresh = try await syncd.runTool(["explain", "users:all"])
        #expect(fresh.exit == .status(0))
        #expect(fresh.output.contains("where: L2\n") && fresh.output.contains("fresh: yes\n"), "\(fresh.output)")
        try await syncd.connect().invalidate("users")
        let stale = try await syncd.runTool(["explain", "users:all"])
        #expect(stale.output.contains("fresh: no\n") && stale.output.contains("invalidated"))
        #expect(try await syncd.runTool(["explain", "nothing"]).output.contains("where: absent\n"))
    }

    @Test func `help, version and mistakes`() async throws {
        let syncd = try Executables.built("syncd")
        for arguments in [
            ["--help"], ["run", "--help"], ["status", "--help"], ["invalidate", "--help"], ["events", "--help"],
            ["explain", "--help"], ["doctor", "--help"], ["check-client", "--help"],
        ] {
            let help = try await ChildProcess.run(syncd, arguments)
            #expect(help.exit == .status(0) && help.output.contains("USAGE: syncd"))
        }
        let version = try await ChildProcess.run(syncd, ["--version"])
        #expect(version.exit == .status(0) && version.output.split(separator: ".").count == 3)
        for arguments in [["nonsense"], ["status", "--nonsense"], ["explain"], ["check-client", "--nonsense"]] {
            let wrong = try await ChildProcess.run(syncd, arguments)
            #expect(wrong.exit == .status(64), "\(arguments)")
            #expect(wrong.errors.contains("Usage: syncd") && wrong.output.isEmpty)
        }
        let socket = try await ChildProcess.run(syncd, ["status", "--socket", "/nowhere/s"])
        #expect(socket.exit == .status(3) && socket.errors.contains("/nowhere/s"))
        let empty = try await ChildProcess.run(syncd, ["status"], environment: ["SYNCD_SOCKET": ""])
        #expect(empty.exit == .status(64) && empty.errors.contains("SYNCD_SOCKET"), "1 would mean isolated")
    }

    /// These commands run in any directory and as any user: files there must not determine the queried daemon, or
    /// prevent the query.
    @Test func `only run reads a .env of the working directory`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let folder = try TemporaryDirectory()
        let program = try Executables.built("syncd")
        func run(_ arguments: [String], _ environment: [String: String]) async throws -> (
            exit: ChildProcess.Exit, errors: String
        ) {
            let child = try ChildProcess(
                program, arguments, environment: environment, workingDirectory: folder.path)
            let exit = try await child.waitForExit(within: .seconds(20))
            return (exit, child.errors)
        }
        for file in ["SYNCD_SOCKET=/nowhere/file\n", "SYNCD_SOCKET='unterminated\nLOG_LEVEL=\"\n"] {
            try folder.write(file, to: ".env")
            let option = try await run(["status", "--socket", syncd.socketPath], [:])
            #expect(option.exit == .status(0), "\(option)")
            let environment = try await run(["invalidate", "a"], ["SYNCD_SOCKET": syncd.socketPath])
            #expect(environment.exit == .status(0), "\(environment)")
            let neither = try await run(["wait", "attached", "--timeout", "0"], [:])
            #expect(!neither.errors.contains("/nowhere/file") && !neither.errors.contains(".env"), "\(neither)")
        }
        let daemon = try await run(["run"], ["REDIS_ENABLED": "false"])
        #expect(daemon.exit == .status(78) && daemon.errors.contains(".env, line 1"), "\(daemon)")
    }

    /// A script that moves the output into place must not move a part of it.
    @Test(arguments: [
        "status", "status --json", "metrics", "invalidate a", "explain a", "status --watch --interval 0.1",
        "doctor redis://127.0.0.1:1", "doctor --json redis://127.0.0.1:1",
    ]) func `output that can't be written is an error`(command: String) async throws {
        let (_, syncd) = try await Home.embedded.start()
        let program = try Executables.built("syncd")
        for redirection in [">/dev/full", ">&-"] {
            let finished = try await ChildProcess.run(
                "/bin/sh", ["-c", "exec \(program) \(command) \(redirection)"],
                environment: ["SYNCD_SOCKET": syncd.socketPath], within: .seconds(60))
            #expect(finished.exit == .status(74), "\(redirection): \(finished)")
            #expect(finished.errors.contains("the output cannot be written"), "\(finished.errors)")
        }
    }

    @Test func `what follows events is told why it can't, and ends with its reader`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let refused = try await syncd.runTool(["events", "--pattern", ""])
        #expect(refused.exit == .status(64) && refused.errors.contains("channel is empty"), "\(refused)")
        let program = try Executables.built("syncd")
        let watching = Task {
            try await ChildProcess.run(
                "/bin/sh", ["-c", "\(program) events | head -n 1"], environment: ["SYNCD_SOCKET": syncd.socketPath],
                within: .seconds(60))
        }
        let client = try await syncd.connect()
        let publishing = Task {
            while !Task.isCancelled {
                try await client.command("PUBLISH", "a", "b")
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        let followed = try await watching.value
        publishing.cancel()
        #expect(followed.output.hasSuffix(" a b\n"), "with its reader it is gone")
    }
}
