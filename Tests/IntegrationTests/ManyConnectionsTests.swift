import Foundation
import IPC
import Logging
import NIOCore
import NIOPosix
import ProcessSupport
import TestSupport
import Testing

/// Thousands of connections that do nothing: as many as the limit allows are served, the rest is told or closed at once,
/// nobody else notices, and afterwards everything is as before.
@Suite(.tags(.wholeMachine), .processes, .serialized) struct ManyConnectionsTests {
    private static let mebibyte = 1 << 20

    init() throws {
        // The clients are all in this process.
        let limit = DescriptorLimit.raised()
        try #require(limit >= 8192, "this needs 8192 descriptors, the hard limit is \(limit): raise it (ulimit -Hn)")
    }

    @Test func `10 000 keep-alive connections to a worker`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let worker = host.workers[0]
        let http = try host.connect()
        try await TestHost.createUser(http, "a")
        _ = try await http.get("/api/users")
        let before = try ProcessMemory.resident(worker.pid)

        var idle: [HTTPConnection] = []
        var refused = 0
        for _ in 0..<10_000 {
            let client = try host.connect()
            if let reply = try? await client.get("/api/users") {
                #expect(reply.status == 200 && reply.cache == "L1", "\(reply.text)")
                idle.append(client)
            } else {
                #expect(try await client.closes(), "who is not served is closed")
                refused += 1
            }
        }
        // The test's first connections may have been closed meanwhile.
        #expect((4093...4095).contains(idle.count) && idle.count + refused == 10_000, "\(idle.count) were served")
        #expect(worker.log.components(separatedBy: "Too many connections").count == 2, "it is said once")
        let perConnection = (try ProcessMemory.resident(worker.pid) - before) / idle.count
        #expect(perConnection < 64 << 10, "\(perConnection) bytes for each")

        // A served client stays served, in a second round as well, and writes are seen.
        for client in idle.enumerated().filter({ $0.offset % 16 == 0 }).map(\.element) {
            let reply = try await client.get("/api/users")
            #expect(reply.status == 200 && reply.cache == "L1")
        }
        try await TestHost.createUser(http, "b")
        #expect(try await idle[idle.count - 1].get("/api/users").json.array?.count == 2)
        #expect(try ProcessMemory.resident(worker.pid) < before + 256 * Self.mebibyte)

        idle.removeAll()
        try await eventually("its connections are closed", within: .seconds(20)) {
            try await host.connect().get("/metrics").text.contains(/apiworker_http_connections\{[^}]*\} [12]\n/)
        }
        for _ in 0..<100 { idle.append(try host.connect()) }
        for client in idle { #expect(try await client.get("/api/users").cache == "L1") }
    }

    @Test func `a worker without descriptors goes on, and takes connections again when there are some`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        #expect(try await http.get("/api/users").status == 200)
        let pid = host.workers[0].pid
        let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
        let limit = try await ChildProcess.run(
            try Executables.find("prlimit"), ["--pid", "\(pid)", "--nofile=\(open + 4)"])
        #expect(limit.exit == .status(0))
        var others: [HTTPConnection] = []
        for _ in 0..<50 { others.append(try host.connect()) }
        for _ in 0..<20 { #expect(try await http.get("/api/users").status == 200, "who is connected does not notice") }
        let lines = host.workers[0].transcript.matches(of: /A connection could not be accepted/).count
        #expect(lines == 1, "the connections wait in the kernel, and nobody asks for them all the time")
        others.removeAll()
        let start = PatientClock.now
        await eventually("it accepts again", within: .seconds(5)) {
            (try? await host.connect().request("GET", "/api/users", within: .seconds(1)))?.status == 200
        }
        #expect(PatientClock.now - start < .seconds(3))
    }

    @Test func `5000 idle clients of one process, half of its 1024 places for which syncd gives it`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let syncd = try #require(host.syncd)
        let http = try host.connect()
        try await TestHost.createUser(http, "a")
        _ = try await http.get("/api/users")
        let before = try ProcessMemory.resident(syncd.pid)

        var idle: [RESPSocket] = []
        var refused = 0
        for number in 0..<5000 {
            let client = try RESPSocket(path: syncd.socketPath)
            // A refused client may be cut off before it asks.
            try? await client.send("PING")
            let reply = try await client.reply()
            if reply.string == "PONG" {
                idle.append(client)
            } else {
                #expect(reply.errorText == "ERR max number of clients reached")
                #expect(try await client.closes())
                refused += 1
            }
            if number % 500 == 0 { #expect(try await http.get("/api/users").cache == "L1") }
        }
        #expect(idle.count == 512 && idle.count + refused == 5000, "\(idle.count) were served")
        // Other processes have places: a worker that comes now, and whoever looks at what is going on.
        let late = try await syncd.runTool(["status"])
        #expect(late.exit == .status(0), "\(late)")
        #expect(try await idle[0].command("PING").string == "PONG")
        // A write is still seen by all connected clients.
        try await TestHost.createUser(http, "b")
        #expect(try await http.get("/api/users").json.array?.count == 2)
        #expect(try await http.get("/api/users").cache == "L1")
        let grown = try ProcessMemory.resident(syncd.pid) - before
        #expect(grown < 64 * Self.mebibyte, "\(grown) bytes for \(idle.count) clients")

        idle.removeAll()
        await eventually("there is room again") { (try? await syncd.connect()) != nil }
        for _ in 0..<100 { idle.append(try await syncd.connect()) }
    }

    @Test func `as many clients of syncd as are configured`() async throws {
        let (_, syncd) = try await Home.embedded.start(["SYNCD_LIMIT_CLIENTS": "10000"])
        let before = try ProcessMemory.resident(syncd.pid)
        var idle: [RESPSocket] = []
        for _ in 0..<4000 { idle.append(try await syncd.connect()) }
        let tracker = try await syncd.connect()
        #expect(try await tracker.command("TRACK", "ON").string == "OK")
        try await idle[3999].invalidate("a")
        #expect(try await tracker.push("invalidate") != nil)
        let perClient = (try ProcessMemory.resident(syncd.pid) - before) / idle.count
        #expect(perClient < 32 << 10, "\(perClient) bytes for each")
        idle.removeAll()
        try await eventually("they are forgotten") { try await syncd.status()["clients"]?.elements?.count == 2 }
    }

    /// After a restart of syncd everybody connects at once; its backlog is full for a while, and who finds it so tries
    /// again.
    @Test func `64 workers come back at once, among strangers`() async throws {
        let (_, syncd) = try await Home.embedded.start(["LOG_LEVEL": "info"])
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        let caches = (0..<64).map { number in
            SyncedCache(
                configuration: SyncedCacheConfiguration(socketPath: syncd.socketPath, clientName: "worker \(number)"),
                eventLoop: eventLoop, logger: Logger(label: "test"))
        }
        let waitForAll = { (limit: Duration) -> Void in
            await eventually("all are attached", within: limit) { caches.allSatisfy { $0.status.sync == .attached } }
            return
        }
        try await withThrowingTaskGroup { group in
            for cache in caches { group.addTask { try? await cache.run() } }
            await waitForAll(.seconds(30))
            for _ in 0..<3 {
                syncd.kill()
                await eventually("all have noticed") { caches.allSatisfy { $0.status.sync != .attached } }
                try await syncd.start()
                let begin = ContinuousClock.now
                let strangers = Task {
                    for _ in 0..<5000 where !Task.isCancelled { _ = try? RESPSocket(path: syncd.socketPath) }
                }
                await waitForAll(.seconds(30))
                print("64 workers are back after \(ContinuousClock.now - begin)")
                strangers.cancel()
                await strangers.value
            }
            group.cancelAll()
        }
    }
}
