import Foundation
import IPCWire
import NIOCore
import TestSupport
import Testing

@testable import IPC

/// Starts, deaths and rebirths of syncd.
@Suite(.tags(.servers), .processes) struct LifecycleTests {
    @Test(arguments: Home.allCases) func `killed and started again`(home: Home) async throws {
        let (redis, syncd) = try await home.start()
        let client = try await syncd.connect()
        let map = try MappedTagTable(path: syncd.directory.file("tags.table"))
        try await client.store("kept", "value", tags: ["a"])
        let position = try await client.invalidate("b")
        let lease = try await client.lease("open")
        let epoch = map.table.epoch
        #expect(map.table.state == .attached && map.table.applied.number == UInt64(position))

        for _ in 0..<3 {
            syncd.kill()
            #expect(try await client.closes())
            try await syncd.start()
            try await syncd.waitUntilAttached()
        }
        #expect(map.isFile(at: syncd.directory.file("tags.table")), "the table outlives syncd")
        #expect(map.table.epoch >= epoch + 3)
        #expect(map.table.applied.number == UInt64(position))
        let next = try await syncd.connect()
        let nextLease = try await next.lease("open")
        #expect(nextLease.id > lease.id, "lease ids never repeat")
        #expect(nextLease.asOf.number == UInt64(position) && nextLease.epoch == map.table.epoch)
        #expect(try await next.fill("open", lease.id, "late") == "NOLEASE")
        // A worker that still maps the table sees the next syncd's invalidations.
        let slot = map.table.slotIndex(TagHash.tag(ByteBuffer(string: "b")))
        #expect(map.table.slot(slot).number == UInt64(position))
        let later = try await next.invalidate("b")
        #expect(later > position && map.table.slot(slot).number == UInt64(later))
        #expect(try await next.hit("kept").text == "value", "L2 outlives it")
        withExtendedLifetime(redis) {}
    }

    /// A trap of Swift is one of the first three.
    @Test(arguments: [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGKILL]) func `a crash is seen at once`(signal: Int32)
        async throws
    {
        let (_, syncd) = try await Home.embedded.start()
        var fastest = Duration.seconds(60)
        for _ in 0..<5 {
            let client = try await syncd.connect()
            let begin = ContinuousClock.now
            syncd.child.signal(signal)
            #expect(try await client.closes())
            fastest = min(fastest, ContinuousClock.now - begin)
            #expect(try await syncd.child.waitForExit() == .signal(signal))
            try await syncd.start()
        }
        #expect(fastest < .milliseconds(100))
    }

    @Test func `SIGTERM ends it cleanly`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let map = try MappedTagTable(path: syncd.directory.file("tags.table"))
        let client = try await syncd.connect()
        try await client.send(raw: String(repeating: "*1\r\n$4\r\nPING\r\n", count: 5000))
        #expect(try await syncd.stop() == .status(0))
        #expect(map.table.state == .isolated, "nobody vouches for the table")
        #expect(!syncd.directory.names().contains("syncd.sock"))
        try await syncd.start()
        #expect(try await syncd.isAttached)
    }

    @Test func `SHUTDOWN is answered`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        #expect(try await client.command("SHUTDOWN").string == "OK")
        #expect(try await client.closes())
        #expect(try await syncd.child.waitForExit() == .status(0))
    }

    @Test func `a second one exits and touches nothing`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        let names = syncd.directory.names()
        let second = try await ChildProcess.run(
            try Executables.built("syncd"), ["run"], environment: ["SYNCD_SOCKET": syncd.socketPath])
        #expect(second.exit == .status(75))
        #expect(second.errors.contains("pid \(syncd.pid)"), "\(second.errors)")
        #expect(try await client.command("PING").string == "PONG")
        #expect(try await syncd.command("PING").string == "PONG", "its socket is still there")
        #expect(syncd.directory.names() == names)
    }

    @Test func `table and journal belong to one daemon, whatever its socket is called`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let other = try await ChildProcess.run(
            try Executables.built("syncd"), ["run"], environment: ["SYNCD_SOCKET": syncd.directory.file("other.sock")])
        #expect(other.exit == .status(75))
        #expect(other.errors.contains("pid \(syncd.pid)"), "\(other.errors)")
        #expect(try await syncd.isAttached)
    }

    @Test func `of ten at once one lives`() async throws {
        let directory = try TemporaryDirectory()
        let syncd = try Executables.built("syncd")
        for _ in 0..<3 {
            let processes = try (0..<10).map { _ in
                try ChildProcess(syncd, ["run"], environment: ["SYNCD_SOCKET": directory.file("s")])
            }
            await eventually("nine have ended") { processes.count { $0.isRunning } == 1 }
            #expect(processes.compactMap(\.exit).allSatisfy { $0 == .status(75) })
            await eventually("one answers") {
                (try? await RESPSocket(path: directory.file("s")).command("PING"))?.string == "PONG"
            }
            // Killed, it leaves its socket behind: the next takes the place of that.
            for process in processes { process.kill() }
            #expect(directory.names().contains("s"))
        }
    }

    @Test func `what can't be a runtime directory ends it with 78 and says why`() async throws {
        let directory = try TemporaryDirectory()
        try directory.write("precious", to: "file")
        try FileManager.default.createDirectory(atPath: directory.file("folder"), withIntermediateDirectories: false)
        try FileManager.default.createSymbolicLink(
            atPath: directory.file("link"), withDestinationPath: directory.file("file"))
        #expect(mkfifo(directory.file("pipe"), 0o600) == 0)
        for name in ["table", "journal"] {
            try FileManager.default.createDirectory(atPath: directory.file(name), withIntermediateDirectories: false)
        }
        try FileManager.default.createDirectory(
            atPath: directory.file("table/tags.table"), withIntermediateDirectories: false)
        try directory.write("no directory", to: "journal/journal")
        let sockets: [(String, String)] = [
            (directory.file("file"), "file"), (directory.file("folder"), "folder"), (directory.file("link"), "link"),
            (directory.file("pipe"), "pipe"), (directory.file("file/s"), "file"), (directory.file("a/b/s"), "a/b"),
            (directory.file(String(repeating: "x", count: 103)), "103 bytes"), ("relative.sock", "absolute"),
            ("@abstract", "absolute"), ("", "SYNCD_SOCKET"), (directory.file("table/s"), "tags.table"),
            (directory.file("journal/s"), "journal"), ("/proc/s", "/proc"),
        ]
        let foreign = try await RedisServer()
        for (socket, reason) in sockets + [(foreign.socketPath, "another program")] {
            let finished = try await ChildProcess.run(
                try Executables.built("syncd"), ["run"], environment: ["SYNCD_SOCKET": socket])
            #expect(finished.exit == .status(78), "\(socket): \(finished)")
            #expect(finished.errors.contains(reason), "\(socket): \(finished.errors)")
            #expect(finished.errors.split(separator: "\n").count == 1, "\(finished.errors)")
        }
        #expect(try String(contentsOfFile: directory.file("file"), encoding: .utf8) == "precious")
        #expect(try await RESPSocket(path: foreign.socketPath).command("PING").string == "PONG", "it is still there")
    }

    @Test func `settings that can't be used end it with 78 and name the key`() async throws {
        let directory = try TemporaryDirectory()
        let settings: [(String, String)] = [
            ("REDIS_ENABLED", "maybe"), ("SYNCD_TABLE_BITS", "99"), ("LOG_LEVEL", "loud"), ("SYNCD_NAMESPACE", "{x}"),
            ("SYNCD_LIMIT_CLIENTS", "none"),
        ]
        for (key, value) in settings {
            let finished = try await ChildProcess.run(
                try Executables.built("syncd"), ["run"],
                environment: ["SYNCD_SOCKET": directory.file("s"), key: value])
            #expect(finished.exit == .status(78))
            #expect(finished.errors.contains(key), "\(finished.errors)")
        }
        let url = try await ChildProcess.run(
            try Executables.built("syncd"), ["run", "--redis-url", "redis://:secret@h:x", "--redis-enabled", "true"],
            environment: ["SYNCD_SOCKET": directory.file("s")])
        #expect(url.exit == .status(78))
        #expect(url.errors.contains("REDIS_URL") && !url.errors.contains("secret"))
        let file = try await ChildProcess.run(
            try Executables.built("syncd"), ["run", "--config", directory.file("none")])
        #expect(file.exit == .status(78))
        #expect(directory.names().isEmpty, "nothing was touched")
    }

    @Test func `command line heartbeats environment heartbeats files`() async throws {
        let directory = try TemporaryDirectory()
        let config = try directory.write(
            """
            # A comment
            SYNCD_LIMIT_CLIENTS=11
            SYNCD_LIMIT_LEASES = 12
            SYNCD_SOCKET="\(directory.file("from-file"))"
            """, to: "config")
        let process = try ChildProcess(
            try Executables.built("syncd"), ["run", "--config", config, "--socket", directory.file("s")],
            environment: ["SYNCD_LIMIT_CLIENTS": "21"])
        await eventually("it answers", details: { process.transcript }) {
            (try? await RESPSocket(path: directory.file("s")).command("PING")) != nil
        }
        let status = try await RESPSocket(path: directory.file("s")).command("STATUS", "limits")
        guard case .array(let sections) = status, let limits = sections.last else {
            return #expect(Bool(false), "\(status)")
        }
        #expect(limits["clients"]?.number == 21)
        #expect(limits["leases"]?.number == 12)
        #expect(!directory.names().contains("from-file"))
    }

    @Test(arguments: [
        ("syncd", ["run"], "LOG_LEVEL=debug\n", "REDIS_ENABLED=true\nREDIS_URL=nonsense\n", "REDIS_URL"),
        ("apiworker", [], "DB_URL=mongodb://127.0.0.1:9\n", "DB_URL=nonsense\n", "DB_URL"),
        (
            "apiworker", [], "DB_URL=mongodb://127.0.0.1:9\n", "DB_URL=mongodb://h\nWORKER_L1_BYTES=x\n",
            "WORKER_L1_BYTES"
        ),
    ])
    func `a reload refuses what the next start would refuse`(
        program: String, arguments: [String], good: String, bad: String, key: String
    ) async throws {
        let directory = try TemporaryDirectory()
        let config = try directory.write(good, to: "config")
        let process = try ChildProcess(
            try Executables.built(program),
            arguments + ["--config", config, "--socket", directory.file("s")], environment: ["PORT": "0"])
        let started = program == "syncd" ? "syncd listens" : "started on port"
        await eventually("it runs", details: { process.transcript }) { process.errors.contains(started) }
        try directory.write(bad, to: "config")
        process.signal(SIGHUP)
        await eventually("it is refused", details: { process.transcript }) {
            process.errors.split(separator: "\n").contains { $0.contains("was not reloaded") && $0.contains(key) }
        }
        try directory.write(good, to: "config")
        process.signal(SIGHUP)
        await eventually("it is taken", details: { process.transcript }) {
            process.errors.contains("onfiguration reloaded")
        }
        #expect(try await process.stop() == .status(0))
    }

    /// Takes its time to listen to signals.
    private static let slowSigaction = """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <signal.h>
        #include <unistd.h>
        int sigaction(int number, const struct sigaction *new, struct sigaction *old) {
            int (*next)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
            if (new && (number == SIGTERM || number == SIGHUP)) usleep(500000);
            return next(number, new, old);
        }
        """

    @Test(arguments: [("syncd", ["run"], "syncd listens"), ("apiworker", [], "started on port")])
    func `who says that it is ready hears signals`(program: String, arguments: [String], ready: String) async throws {
        let directory = try TemporaryDirectory()
        let source = try directory.write(Self.slowSigaction, to: "slow.c")
        let library = directory.file("slow.so")
        let compiled = try await ChildProcess.run(
            try Executables.find("clang"), ["-shared", "-fPIC", "-o", library, source], within: .seconds(60))
        #expect(compiled.exit == .status(0), "\(compiled.errors)")
        let process = try ChildProcess(
            try Executables.built(program), arguments + ["--socket", directory.file("s")],
            environment: ["PORT": "0", "DB_URL": "mongodb://127.0.0.1:9", "LD_PRELOAD": library])
        await eventually("it is ready", details: { process.transcript }) { process.errors.contains(ready) }
        process.signal(SIGHUP)
        await eventually("it reloads", within: .seconds(5), details: { process.transcript }) {
            process.errors.contains("onfiguration reloaded")
        }
        #expect(try await process.stop() == .status(0))
    }

    @Test func `an unusable table is replaced, and writes wait one trust window`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        try await syncd.connect().invalidate("a")
        let former = try MappedTagTable(path: syncd.directory.file("tags.table"))
        syncd.kill()
        try syncd.directory.write("damaged", to: "tags.table")
        let start = ContinuousClock.now
        try await syncd.start()
        #expect(try await syncd.connect().invalidate("a") == 1)
        #expect(ContinuousClock.now - start >= .seconds(1), "a worker may still believe the former table")
        #expect(!former.isFile(at: syncd.directory.file("tags.table")))
        let again = PatientClock.now
        try await syncd.connect().invalidate("a")
        #expect(PatientClock.now - again < .milliseconds(500))
    }
}
