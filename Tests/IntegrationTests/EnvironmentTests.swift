import Foundation
import TestSupport
import Testing

/// Processes in surroundings that nobody has arranged with care.
@Suite(.tags(.wholeMachine), .processes) struct EnvironmentTests {
    private typealias Program = (command: String, environment: [String: String])

    private static func programs(_ directory: TemporaryDirectory) throws -> [Program] {
        [
            (
                try Executables.built("syncd") + " run",
                ["SYNCD_SOCKET": directory.file("syncd.sock"), "SYNCD_TABLE_BITS": "16"]
            ),
            (
                try Executables.built("apiworker"),
                ["PORT": "0", "HOST": "127.0.0.1", "DB_URL": "mongodb://127.0.0.1:1", "SYNCD_SOCKET": ""]
            ),
        ]
    }

    @Test func `too few descriptors end it with 78, and a limit that can be raised is`() async throws {
        let directory = try TemporaryDirectory()
        for (program, environment) in try Self.programs(directory) {
            let few = try await ChildProcess.run(
                "/bin/sh", ["-c", "ulimit -n 32; exec \(program)"], environment: environment)
            #expect(few.exit == .status(78))
            #expect(few.errors.contains("at most 32 descriptors can be open"), "\(few.errors)")

            let process = try ChildProcess(
                "/bin/sh", ["-c", "ulimit -Sn 100; ulimit -Hn 200; exec \(program)"], environment: environment)
            try await eventually("\(program) has raised its limit", details: { process.transcript }) {
                let limits = try String(contentsOfFile: "/proc/\(process.pid)/limits", encoding: .utf8)
                return limits.contains(/Max open files +200 +200/)
            }
        }
    }

    /// A killed process could not delete it, and a later one with its number would complain about it.
    @Test func `libmongoc leaves no shared memory`() async throws {
        let port = try ReservedPort()
        let process = try ChildProcess(
            try Executables.built("apiworker"), [],
            environment: [
                "PORT": "\(port.number)", "HOST": "127.0.0.1", "DB_URL": "mongodb://127.0.0.1:1", "SYNCD_SOCKET": "",
            ])
        await eventually("the worker answers", details: { process.transcript }) {
            (try? await HTTPConnection(port: port.number).get("/").status) == 200
        }
        #expect(!FileManager.default.fileExists(atPath: "/dev/shm/mongoc-\(process.pid)"))
        #expect(try await process.stop() == .status(0))
    }

    /// Else the first socket would be standard error, and get the log.
    @Test func `standard descriptors that are closed are /dev/null`() async throws {
        let directory = try TemporaryDirectory()
        let port = try ReservedPort()
        for (program, environment) in try Self.programs(directory) {
            let process = try ChildProcess(
                "/bin/sh", ["-c", "exec \(program) <&- >&- 2>&-"],
                environment: environment.merging(["PORT": "\(port.number)"]) { $1 })
            await eventually("\(program) works", details: { process.transcript }) {
                program.contains("syncd run")
                    ? (try? await RESPSocket(path: directory.file("syncd.sock")).command("PING"))?.string == "PONG"
                    : (try? await HTTPConnection(port: port.number).get("/").status) == 200
            }
            for descriptor in 0...2 {
                let file = try FileManager.default.destinationOfSymbolicLink(
                    atPath: "/proc/\(process.pid)/fd/\(descriptor)")
                #expect(file == "/dev/null", "descriptor \(descriptor) of \(program)")
            }
            #expect(try await process.stop() == .status(0))
        }
    }

    /// The clocks of processes in containers may differ: a table with heartbeats from the future is not trusted.
    @Test(.enabled(if: getuid() == 0, "only root makes time namespaces"))
    func `syncd lives in another time`() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("syncd.sock")
        let syncd = try ChildProcess(
            try Executables.find("unshare"),
            ["--time", "--boottime", "1000", "--fork", "--kill-child", try Executables.built("syncd"), "run"],
            environment: ["SYNCD_SOCKET": path, "SYNCD_TABLE_BITS": "16"])
        await eventually("syncd answers", details: { syncd.transcript }) {
            (try? await RESPSocket(path: path).command("PING"))?.string == "PONG"
        }
        let mongo = try await MongoServer.shared()
        let port = try ReservedPort()
        let worker = try await WorkerProcess(
            port: port, database: mongo.url(database: MongoServer.newDatabaseName()), socketPath: path)
        let http = try HTTPConnection(port: port.number)
        for count in 1...20 {
            try await TestHost.createUser(http, "user \(count)")
            for _ in 0..<5 {
                let reply = try await http.get("/api/users")
                #expect(reply.json.array?.count == count)
                #expect(reply.cache != "L1", "the table is not believed")
            }
        }
        withExtendedLifetime(worker) {}
    }

    @Test func `descriptors that nobody asked for, urgent bytes, and clients that leave at once`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let open = { try FileManager.default.contentsOfDirectory(atPath: "/proc/\(syncd.pid)/fd").count }
        let before = try open()
        let script = """
            import os, socket, sys
            path, ping = sys.argv[1], b"*1\\r\\n$4\\r\\nPING\\r\\n"
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            null = os.open("/dev/null", os.O_RDONLY)
            for _ in range(200):
                socket.send_fds(client, [ping], [null] * 16)
                assert client.recv(64) == b"+PONG\\r\\n"
            other = socket.socket(socket.AF_UNIX)
            other.connect(path)
            client.send(b"!", socket.MSG_OOB)
            for _ in range(20):
                other.send(ping)
                assert other.recv(64) == b"+PONG\\r\\n"
            assert client.recv(256).startswith(b"-ERR Protocol error")
            assert client.recv(64) == b""
            client.close()
            for number in range(5000):
                client = socket.socket(socket.AF_UNIX)
                client.connect(path)
                if number % 3 == 0: client.send(ping[:number % len(ping)])
                client.close()
            """
        let python = try await ChildProcess.run(
            try Executables.find("python3"), ["-c", script, syncd.socketPath], within: .seconds(60))
        #expect(python.exit == .status(0), "\(python.errors)")
        try await eventually("nothing of it stays", within: .seconds(20)) { try open() <= before }
        #expect(try await syncd.command("PING").string == "PONG")
    }
}
