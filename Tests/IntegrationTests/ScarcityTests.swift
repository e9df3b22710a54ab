import Foundation
import NIOCore
import TestSupport
import Testing

/// Too little of what the machine has.
@Suite(.tags(.wholeMachine), .processes, .serialized) struct ScarcityTests {
    // MARK: Processors

    /// Writes down who gave a sign of life when, as systemd would.
    private static let listener = """
        import socket, struct, sys, time
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.bind(sys.argv[1])
        while True:
            text, credentials, _, _ = listener.recvmsg(4096, 256)
            if b"WATCHDOG=1" in text:
                print(struct.unpack("3i", credentials[0][2])[0], time.monotonic(), flush=True)
        """

    @Test func `processors that others use, too`() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("notify")
        let manager = try ChildProcess(try Executables.find("python3"), ["-c", Self.listener, path])
        await eventually("the listener is there", details: { manager.transcript }) {
            FileManager.default.fileExists(atPath: path)
        }
        // As in the units: a sign every 5 s, and the end after 10 s without.
        let stage = try await FaultStage.start(
            FaultStage.Pace(
                harms: 0, environment: ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "10000000", "LOG_LEVEL": "info"]),
            seed: 0)
        let spinners = try (0..<8).map { _ in try ChildProcess("/bin/sh", ["-c", "while :; do :; done"]) }
        try await stage.run(for: .seconds(16))
        #expect(spinners.count { $0.isRunning } == 8)
        for spinner in spinners { spinner.kill() }

        let history = stage.history
        print("8 spinners:\n\(history.summary)")
        #expect(history.stale.isEmpty, "\(history.stale.prefix(5))\n\(stage.transcript)")
        #expect(history.failures.isEmpty, "\(history.failures.prefix(5))\n\(stage.transcript)")
        #expect(history.counts.reads > 100 && history.counts.writes > 10)
        for pid in stage.hosts.flatMap({ [$0.syncd.pid] + $0.workers.map(\.pid) }) {
            let signs = manager.output.split(separator: "\n").filter { $0.hasPrefix("\(pid) ") }
                .compactMap { Double($0.split(separator: " ")[1]) }
            #expect(signs.count >= 3, "process \(pid): \(manager.output)")
            for (last, next) in zip(signs, signs.dropFirst()) {
                #expect(next - last < 10, "systemd would have ended process \(pid)")
            }
        }
        try await stage.expectRecovery()
    }

    // MARK: Room for the log

    /// A pipe that nobody reads, and a device that is full.
    @Test(arguments: ["pipe", "/dev/full"]) func `a log that takes nothing holds up nobody`(log: String) async throws {
        let directory = try TemporaryDirectory()
        let pipe = directory.file("pipe")
        #expect(mkfifo(pipe, 0o600) == 0)
        let reader = open(pipe, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        defer { close(reader) }
        let path = directory.file("syncd.sock")
        let syncd = try ChildProcess(
            "/bin/sh", ["-c", "exec \(try Executables.built("syncd")) run 2> \(log == "pipe" ? pipe : log)"],
            environment: ["SYNCD_SOCKET": path, "SYNCD_TABLE_BITS": "16"])
        await eventually("syncd answers", details: { syncd.transcript }) {
            (try? await RESPSocket(path: path).command("PING"))?.string == "PONG"
        }
        // Each of these is a line of some hundred bytes, all together more than a pipe takes. If only some waited for
        // room, it would take minutes.
        let client = try RESPSocket(path: path)
        for _ in 0..<30 {
            for _ in 0..<50 { try? await RESPSocket(path: path).send(raw: "GET / HTTP/1.1\r\n\r\n") }
            #expect(try await client.command("PING").string == "PONG")
        }
        #expect(try await client.command("STATUS")["log"]?["state"]?.string == "attached")
    }

    // MARK: Memory

    /// What MemoryMax= of systemd does: the kernel kills who takes more. To others it is a death like any other.
    @Test(.enabled(if: MemoryGroup.obstacle == nil, "\(MemoryGroup.obstacle ?? "")"))
    func `memory that is not to be had ends syncd, and nobody else`() async throws {
        let directory = try TemporaryDirectory()
        let group = try MemoryGroup(megabytes: 96)
        let path = directory.file("syncd.sock")
        let launch = {
            let command = "echo $$ > \(group.members) && exec \(try Executables.built("syncd")) run"
            let syncd = try ChildProcess(
                "/bin/sh", ["-c", command],
                environment: [
                    "SYNCD_SOCKET": path, "SYNCD_TABLE_BITS": "16", "SYNCD_CACHE_BYTES": "\(8 << 20)",
                    "SYNCD_LIMIT_UNSENT_BYTES": "\(1 << 30)", "SYNCD_LIMIT_BUFFERED_BYTES": "\(1 << 30)",
                    "SYNCD_LIMIT_WAITING_PUSH_BYTES": "\(1 << 30)",
                ])
            await eventually("syncd answers", details: { syncd.transcript }) {
                (try? await RESPSocket(path: path).command("PING"))?.string == "PONG"
            }
            return syncd
        }
        let syncd = try await launch()
        let mongo = try await MongoServer.shared()
        let port = try ReservedPort()
        let worker = try await WorkerProcess(
            port: port, database: mongo.url(database: MongoServer.newDatabaseName()), socketPath: path)
        let http = try HTTPConnection(port: port.number)
        try await eventually("attached") { try await http.get("/").json["sync"].string == "attached" }
        try await TestHost.createUser(http, "before")

        // Its own limits are more than it may have: somebody listens to events and reads none.
        let (client, listener) = (try RESPSocket(path: path), try RESPSocket(path: path))
        _ = try await listener.command("SUBSCRIBE", "events")
        let value = String(repeating: "x", count: 4 << 20)
        for _ in 0..<60 where syncd.isRunning { _ = try? await client.command("PUBLISH", "events", value) }
        #expect(try await syncd.waitForExit() == .signal(SIGKILL), "\(syncd.transcript)")

        #expect(try await http.get("/api/users").json.array?.count == 1)
        try await TestHost.createUser(http, "while it was dead")
        #expect(try await http.get("/api/users").json.array?.count == 2)
        let next = try await launch()
        try await eventually("attached again", details: { next.transcript }) {
            try await http.get("/").json["sync"].string == "attached"
        }
        #expect(try await http.get("/api/users").json.array?.count == 2)
        next.kill()
        withExtendedLifetime(worker) {}
    }
}

/// A control group whose members may have so much memory together, and no swap.
private final class MemoryGroup: Sendable {
    private static let roots = [
        // Version 1, then version 2.
        (folder: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes", swap: "memory.memsw.limit_in_bytes"),
        (folder: "/sys/fs/cgroup", limit: "memory.max", swap: "memory.swap.max"),
    ]

    /// Why none can be made; `nil`: it can.
    static let obstacle: String? = {
        do {
            _ = try MemoryGroup(megabytes: 64)
            return nil
        } catch {
            return "\(error)"
        }
    }()

    private let folder: String
    /// The file of the group's members: a process joins by writing its id.
    let members: String

    init(megabytes: Int) throws {
        for root in Self.roots where access("\(root.folder)/cgroup.procs", W_OK) == 0 {
            let folder = "\(root.folder)/syncd-test-\(UInt64.random(in: 0...UInt64.max))"
            guard mkdir(folder, 0o700) == 0 else { continue }
            guard Self.write("\(megabytes << 20)", to: "\(folder)/\(root.limit)") else {
                rmdir(folder)
                continue
            }
            _ = Self.write(root.swap == "memory.swap.max" ? "0" : "\(megabytes << 20)", to: "\(folder)/\(root.swap)")
            self.folder = folder
            members = "\(folder)/cgroup.procs"
            return
        }
        throw TestFailure("no control group with a limit of memory can be made here")
    }

    deinit { rmdir(folder) }

    private static func write(_ text: String, to path: String) -> Bool {
        let descriptor = open(path, O_WRONLY)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count
    }
}
