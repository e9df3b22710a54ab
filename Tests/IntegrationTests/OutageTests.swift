import Foundation
import Synchronization
import TestSupport
import Testing

/// Reads and writes go on without syncd, without Redis, and without both, and caching comes back by itself.
@Suite(.tags(.servers), .processes) struct OutageTests {
    /// Requests that are made all the time, and what became of them.
    private final class Load: Sendable {
        struct Book {
            var requests = 0
            var failures: [String] = []
            var stale: [String] = []
            var sources: [String: Int] = [:]
            var isOver = false
        }

        let book = Mutex(Book())

        /// One writer that changes an age, and checks each time that every worker shows it, and several readers.
        func run(_ host: TestHost, during body: () async throws -> Void) async throws {
            let connections = try await host.connectToEach()
            let id = try await TestHost.createUser(connections[0], "a")
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await self.write(connections, id) }
                for _ in 0..<2 {
                    let reader = try host.connect()
                    group.addTask { try await self.read(reader) }
                }
                let result: Result<Void, any Error>
                do { result = .success(try await body()) } catch { result = .failure(error) }
                book.withLock { $0.isOver = true }
                try await group.waitForAll()
                try result.get()
            }
        }

        private var isOver: Bool { book.withLock { $0.isOver } }

        private func note(_ reply: HTTPReply, _ what: String) {
            book.withLock { book in
                book.requests += 1
                book.sources[reply.cache ?? "-", default: 0] += 1
                if reply.status != 200 { book.failures.append("\(what): \(reply.status) \(reply.text)") }
            }
        }

        private func read(_ connection: HTTPConnection) async throws {
            while !isOver {
                for path in ["/api/users", "/api/graph", "/api/users/stats/overview"] {
                    note(try await connection.get(path), path)
                }
            }
        }

        private func write(_ connections: [HTTPConnection], _ id: String) async throws {
            var age = 0
            while !isOver {
                age = age % 150 + 1
                let writer = connections[age % connections.count]
                note(try await writer.request("PUT", "/api/users/\(id)", body: #"{"age":\#(age)}"#), "PUT")
                for connection in connections {
                    let reply = try await connection.get("/api/users/\(id)")
                    note(reply, "GET")
                    if reply.json["age"].number != Double(age) {
                        book.withLock { $0.stale.append("\(reply.text) instead of \(age), \(reply.cache ?? "")") }
                    }
                }
            }
        }

        func sawMore(_ source: String, than before: Int) -> Bool {
            book.withLock { $0.sources[source, default: 0] } > before
        }
        func count(_ source: String) -> Int { book.withLock { $0.sources[source, default: 0] } }

        func verify(_ host: TestHost) {
            let book = book.withLock { $0 }
            #expect(book.failures.isEmpty, "\(book.failures.prefix(5))\n\(host.transcript)")
            #expect(book.stale.isEmpty, "\(book.stale.prefix(5))\n\(host.transcript)")
            #expect(book.requests > 50)
        }
    }

    @Test(arguments: Home.allCases) func `syncd is killed under load and comes back`(home: Home) async throws {
        let host = try await TestHost.start(workers: 2, home: home)
        let syncd = try #require(host.syncd)
        let load = Load()
        try await load.run(host) {
            await eventually("hits") { load.sawMore("L1", than: 20) }
            syncd.kill()
            let bypasses = load.count("BYPASS")
            await eventually("it goes on without", details: { host.transcript }) {
                load.sawMore("BYPASS", than: bypasses + 30)
            }
            try await syncd.start()
            let hits = load.count("L1")
            await eventually("caching resumes", within: .seconds(5), details: { host.transcript }) {
                load.sawMore("L1", than: hits)
            }
        }
        load.verify(host)
    }

    @Test func `syncd is stopped under load and goes on`() async throws {
        let host = try await TestHost.start(workers: 2, home: .embedded)
        let syncd = try #require(host.syncd)
        let load = Load()
        try await load.run(host) {
            await eventually("hits") { load.sawMore("L1", than: 20) }
            syncd.pause()
            let bypasses = load.count("BYPASS")
            await eventually("it goes on without", within: .seconds(20), details: { host.transcript }) {
                load.sawMore("BYPASS", than: bypasses + 30)
            }
            syncd.resume()
            let hits = load.count("L1")
            await eventually("caching resumes", within: .seconds(10), details: { host.transcript }) {
                load.sawMore("L1", than: hits)
            }
        }
        load.verify(host)
    }

    @Test(arguments: [true, false]) func `Redis is killed under load and comes back`(keepingData: Bool) async throws {
        let host = try await TestHost.start(workers: 2, home: .redis)
        let redis = try #require(host.redis)
        let load = Load()
        try await load.run(host) {
            await eventually("hits") { load.sawMore("L1", than: 20) }
            if keepingData { try await redis.command("SAVE") }
            redis.kill()
            let bypasses = load.count("BYPASS")
            await eventually("it goes on without", within: .seconds(20), details: { host.transcript }) {
                load.sawMore("BYPASS", than: bypasses + 30)
            }
            try await redis.start()
            let hits = load.count("L1")
            await eventually("caching resumes", within: .seconds(10), details: { host.transcript }) {
                load.sawMore("L1", than: hits)
            }
        }
        load.verify(host)
    }

    @Test func `without syncd everything works, uncached`() async throws {
        let host = try await TestHost.start(workers: 2, home: nil)
        let connections = try await host.connectToEach()
        let id = try await TestHost.createUser(connections[0], "a")
        let begin = PatientClock.now
        for age in 1...10 {
            _ = try await connections[0].request("PUT", "/api/users/\(id)", body: #"{"age":\#(age)}"#)
            let reply = try await connections[1].get("/api/users/\(id)")
            #expect(reply.json["age"].number == Double(age) && reply.cache == "BYPASS")
        }
        #expect(PatientClock.now - begin < .seconds(8), "no write waits for a syncd that is not wanted")
        let health = try await connections[0].get("/").json
        #expect(health["sync"].string == "detached" && health["redis"].string == "unavailable")
    }

    @Test func `a worker finishes what it has begun`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        try await TestHost.createUser(http, "a")
        for _ in 0..<20 { try await http.send("GET /api/users/paginated/list HTTP/1.1\r\nHost: a\r\n\r\n") }
        async let exit = host.workers[0].stop()
        var answered = 0
        for _ in 0..<20 {
            guard let reply = try? await http.reply() else { break }
            #expect(reply.status == 200)
            answered += 1
            if reply["connection"] == "close" { break }
        }
        #expect(answered > 0)
        #expect(try await exit == .status(0), "\(host.transcript)")
    }
}
