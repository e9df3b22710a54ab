import Foundation
import IPCWire
import TestSupport
import Testing

/// A client that brings the position of its write is never answered with anything older, whichever host it reaches
/// (docs/consistency.md, "Reading your own writes").
@Suite(.tags(.servers), .processes) struct ReadYourWritesTests {
    /// Two hosts with a worker each, on one Redis and one database.
    private struct Stage {
        let redis: RedisServer
        /// The way of the second host to Redis.
        let link: RedisProxy
        let hosts: [TestHost]
        let clients: [HTTPConnection]
        let id: String

        static func start() async throws -> Stage {
            let redis = try await RedisServer()
            let link = try await RedisProxy(redis)
            let mongo = try await MongoServer.shared()
            let database = MongoServer.newDatabaseName()
            var hosts: [TestHost] = []
            for url in [nil, link.url] {
                let environment = url.map { ["REDIS_URL": $0] } ?? [:]
                let syncd = try await SyncdProcess(redis: redis, environment: environment)
                try await syncd.waitUntilAttached()
                let port = try ReservedPort()
                let worker = try await WorkerProcess(
                    port: port, database: mongo.url(database: database), socketPath: syncd.socketPath)
                let host = TestHost(
                    redis: redis, syncd: syncd, mongo: mongo, database: database, port: port, workers: [worker])
                try await host.waitUntilSynchronized()
                hosts.append(host)
            }
            let clients = try hosts.map { try $0.connect() }
            let id = try await TestHost.createUser(clients[0], "a")
            return Stage(redis: redis, link: link, hosts: hosts, clients: clients, id: id)
        }

        var transcript: String { hosts.map(\.transcript).joined() }
        var path: String { "/api/users/\(id)" }

        /// Changes the user by a worker of one host.
        func write(_ age: Int, on host: Int) async throws -> HTTPReply {
            let reply = try await clients[host].request("PUT", path, body: #"{"age":\#(age)}"#)
            #expect(reply.status == 200, "\(reply.text)")
            return reply
        }

        func read(on host: Int, after position: String?, path: String? = nil) async throws -> HTTPReply {
            let headers = position.map { [("X-Sync-After", $0)] } ?? []
            return try await clients[host].request("GET", path ?? self.path, headers: headers)
        }

        /// Makes the second host keep the user in its worker's memory.
        func keep(on host: Int) async throws {
            try await eventually("it is in memory", details: { transcript }) {
                try await clients[host].get(path).cache == "L1"
            }
        }
    }

    @Test func `a client that writes on one host and reads on the other is never answered with anything older`()
        async throws
    {
        let stage = try await Stage.start()
        try await withThrowingTaskGroup(of: Void.self) { group in
            // Others read at every step, so that values are in all caches and loads are under way.
            var paces: [AsyncStream<Void>.Continuation] = []
            for host in [0, 1] {
                let reader = try stage.hosts[host].connect()
                let (turns, pace) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
                paces.append(pace)
                group.addTask { for await _ in turns { _ = try await reader.get(stage.path) } }
            }
            defer { for pace in paces { pace.finish() } }
            for round in 1...60 {
                for pace in paces { pace.yield() }
                let writer = round % 2
                _ = try await stage.clients[1 - writer].get(stage.path)
                // The second host is late: by a moment, or by more than a read waits.
                let isLate = writer == 0
                if isLate { stage.link.stall() }
                let reply = try await stage.write(round, on: writer)
                let position = try #require(reply["x-sync-position"])
                // A busy machine may defer an invalidation.
                #expect(position.wholeMatch(of: /[0-9a-f]{32}-[0-9]+/) != nil || position == "-")
                async let users = stage.read(on: 1 - writer, after: position, path: "/api/users")
                if isLate, round % 4 == 0 { try await stage.link.resume() }
                let list = try await users
                for _ in 0..<2 {
                    let user = try await stage.read(on: 1 - writer, after: position)
                    #expect(
                        [user.json["age"].number, list.json[0]["age"].number] == [Double(round), Double(round)],
                        "from \(user.cache ?? "") \(list.cache ?? ""), position \(position)\n\(stage.transcript)")
                }
                if isLate { try await stage.link.resume() }
            }
        }
    }

    @Test func `once the host has applied the position, its caches answer as usual`() async throws {
        let stage = try await Stage.start()
        let position = try #require(try await stage.write(40, on: 0)["x-sync-position"])
        try await stage.keep(on: 1)
        try await eventually("it is applied", details: { stage.transcript }) {
            try await stage.read(on: 1, after: position).cache == "L1"
        }
        let tag = try #require(try await stage.read(on: 1, after: position)["etag"])
        for (method, after) in [("GET", position), ("HEAD", position), ("GET", "-"), ("HEAD", "garbage")] {
            let reply = try await stage.clients[1].request(method, stage.path, headers: [("X-Sync-After", after)])
            #expect(reply.status == 200 && reply["etag"] == tag)
            #expect(reply.cache == (after == position ? "L1" : "BYPASS"), "\(method) \(after)")
            let headers = [("X-Sync-After", after), ("If-None-Match", tag)]
            #expect(try await stage.clients[1].request(method, stage.path, headers: headers).status == 304)
        }
        // Two fields are no position, even if each of them is one.
        let twice = [("X-Sync-After", position), ("X-Sync-After", position)]
        #expect(try await stage.clients[1].request("GET", stage.path, headers: twice).cache == "BYPASS")
    }

    @Test func `a host whose syncd is stopped reads the database`() async throws {
        let stage = try await Stage.start()
        try await stage.keep(on: 1)
        for path in [stage.path, "/api/users", "/api/users/stats/overview", "/api/graph"] {
            _ = try await stage.clients[1].get(path)
        }
        // Its worker may believe the last heartbeat for one second more.
        try #require(stage.hosts[1].syncd).pause()
        defer { stage.hosts[1].syncd?.resume() }
        let position = try #require(try await stage.write(41, on: 0)["x-sync-position"])
        #expect(position != "-")
        for path in [stage.path, "/api/users", "/api/users/stats/overview", "/api/graph"] {
            let reply = try await stage.read(on: 1, after: position, path: path)
            #expect(reply.status == 200 && reply.cache == "BYPASS", "\(path): \(reply.cache ?? "")")
        }
        #expect(try await stage.read(on: 1, after: position).json["age"].number == 41)
    }

    @Test func `a write that no other host can know of has no position, and its reader gets past all caches`()
        async throws
    {
        let stage = try await Stage.start()
        try await stage.keep(on: 1)
        try #require(stage.hosts[0].syncd).kill()
        let position = try #require(try await stage.write(42, on: 0)["x-sync-position"])
        #expect(position == "-")
        let reply = try await stage.read(on: 1, after: position)
        #expect(reply.json["age"].number == 42 && reply.cache == "BYPASS")
        #expect(try await stage.clients[1].get(stage.path).json["age"].number == 30, "nothing was stored")
    }

    @Test func `a position of a log that was replaced is past all caches`() async throws {
        let stage = try await Stage.start()
        let position = try #require(try await stage.write(43, on: 0)["x-sync-position"])
        try await stage.redis.command("FLUSHALL")
        try await eventually("it is another log", within: .seconds(20), details: { stage.transcript }) {
            let next = try await stage.write(44, on: 0)["x-sync-position"] ?? ""
            return next != "-" && next.prefix(32) != position.prefix(32)
        }
        try await stage.keep(on: 0)
        #expect(try await stage.read(on: 0, after: position).cache == "BYPASS")
    }

    @Test func `every answer of the database to a write has a position, and no other answer`() async throws {
        let stage = try await Stage.start()
        let http = stage.clients[0]
        let friend = try await TestHost.createUser(http, "b")
        let unknown = UUID().uuidString.lowercased()
        let body = #"{"friendId":"\#(friend)"}"#
        for (method, path, body, status) in [
            ("POST", "/api/users", #"{"username":"c","age":1,"hobbies":[]}"#, 201),
            ("PUT", stage.path, #"{"age":30}"#, 200), ("PUT", "/api/users/\(unknown)", #"{"age":3}"#, 404),
            ("POST", "\(stage.path)/link", body, 200), ("POST", "/api/users/\(unknown)/link", body, 404),
            ("DELETE", stage.path, "", 409), ("DELETE", "\(stage.path)/unlink", body, 200),
            ("DELETE", "/api/users/\(unknown)", "", 404), ("DELETE", stage.path, "", 200),
        ] {
            let reply = try await http.request(method, path, body: body.isEmpty ? nil : body)
            #expect(reply.status == status && reply["x-sync-position"] != nil, "\(method) \(path): \(reply.text)")
        }
        for (method, path, body) in [
            ("GET", "/api/users", nil), ("POST", "/api/users", "{}"), ("PUT", "/api/users/x", #"{"age":3}"#),
            ("POST", "\(stage.path)/link", "{}"),
        ] {
            let reply = try await http.request(method, path, body: body)
            #expect(reply["x-sync-position"] == nil, "\(method) \(path)")
        }
    }

    @Test func `on the socket`() async throws {
        let redis = try await RedisServer()
        let hosts = try await Host.several(2, redis)
        try await hosts[0].client.store("key", "old", tags: ["t"])
        #expect(try await hosts[1].client.hit("key").text == "old")
        for round in 1...50 {
            let position = "\(hosts[0].table.incarnation.description)-\(try await hosts[0].client.invalidate("t"))"
            let reply = try await hosts[1].client.command("FETCH", "key", "WAIT", "2000", "AFTER", position)
            var outcome: FetchOutcome?
            switch try FetchReply(reply) {
            case .outcome(let answer): outcome = answer
            case .wait(let ticket): outcome = try await hosts[1].client.fetched(ticket)
            default: Issue.record("\(reply)")
            }
            // A busy machine may need more than 50 ms: that is a miss.
            #expect(outcome?.value == nil, "round \(round)")
            if let lease = outcome?.lease {
                _ = try await hosts[1].client.fill("key", lease.id, "new", tags: ["t"])
            }
        }
        #expect(try await hosts[1].client.command("FETCH", "key", "AFTER", "-").elements?.first?.string == "miss")
    }
}
