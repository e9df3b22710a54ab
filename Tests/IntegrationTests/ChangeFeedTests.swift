import Foundation
import IPCWire
import TestSupport
import Testing

/// Writes of programs that say nothing to syncd, seen in the change stream of a real MongoDB.
@Suite(.tags(.servers), .processes) struct ChangeFeedTests {
    /// Changes a user behind everybody's back.
    private func writeDirectly(_ mongo: MongoServer, _ database: String, _ id: String, age: Int) async throws {
        let reply = try await mongo.command(
            [
                "update": "users",
                "updates": [["q": ["_id": .string(id)], "u": ["$set": ["age": .int32(Int32(age))]]]],
                "writeConcern": ["w": "majority"],
            ], database: database)
        #expect(reply["n"]?.number == 1)
    }

    private func age(_ connection: HTTPConnection, _ id: String) async throws -> Double? {
        try await connection.get("/api/users/\(id)").json["age"].number
    }

    /// The feed as STATUS has it.
    private func feed(_ syncd: SyncdProcess) async throws -> RESPValue {
        try await syncd.connect().command("STATUS", "feeds")["feeds"]?.elements?.first ?? .null
    }

    /// Waits until a client of one of these hosts reads the changes.
    private func waitForReader(_ syncds: [SyncdProcess]) async throws {
        try await eventually("somebody reads the changes", within: .seconds(20), details: { syncds[0].transcript }) {
            for syncd in syncds {
                let feed = try await feed(syncd)
                if feed["reader"]?.number != nil { return true }
            }
            return false
        }
    }

    private func uncovered(_ syncd: SyncdProcess) async throws -> Int {
        try await feed(syncd)["uncovered"]?.number ?? 0
    }

    @Test(arguments: Home.allCases) func `a write behind syncd's back is noticed`(home: Home) async throws {
        let host = try await TestHost.start(workers: 2, home: home)
        let syncd = try #require(host.syncd)
        try await waitForReader([syncd])
        let connections = try await host.connectToEach()
        let id = try await TestHost.createUser(connections[0], "a")
        for round in 1...10 {
            for connection in connections { _ = try await age(connection, id) }
            let before = try await connections[0].get("/api/users/\(id)")
            #expect(before.cache == "L1", "it is cached: \(before.text)")
            try await writeDirectly(host.mongo, host.database, id, age: 30 + round)
            for connection in connections {
                try await eventually("round \(round) is seen", details: { host.transcript }) {
                    try await age(connection, id) == Double(30 + round)
                }
            }
        }
        try await eventually("all are counted", details: { host.transcript }) { try await uncovered(syncd) == 10 }
        #expect(syncd.child.transcript.contains("a program has written to the database without an invalidation"))
    }

    @Test(arguments: Home.allCases) func `own writes are covered`(home: Home) async throws {
        let host = try await TestHost.start(workers: 2, home: home)
        let syncd = try #require(host.syncd)
        try await waitForReader([syncd])
        let connections = try await host.connectToEach()
        var ids: [String] = []
        for number in 0..<10 { ids.append(try await TestHost.createUser(connections[0], "u\(number)")) }
        for round in 0..<20 {
            for (index, id) in ids.enumerated() {
                let reply = try await connections[(index + round) % 2].request(
                    "PUT", "/api/users/\(id)", body: #"{"age":\#(round + 1)}"#)
                #expect(reply.status == 200)
            }
        }
        _ = try await connections[0].request("POST", "/api/users/\(ids[0])/link", body: #"{"friendId":"\#(ids[1])"}"#)
        // 10 new users, 20 changes of each (the first one is one, too: they were 30), and two documents for a friendship.
        try await eventually("all changes have come", details: { host.transcript }) {
            try await feed(syncd)["changes"]?.number ?? 0 >= 10 + 200 + 2
        }
        // A write counts only if no invalidation has come for two seconds.
        try await Task.sleep(for: .seconds(3))
        #expect(try await uncovered(syncd) == 0, "\(host.transcript)")
    }

    @Test func `a standalone server has no changes, and that is said once`() async throws {
        let host = try await TestHost.start(
            workers: 1, home: .embedded, mongo: try await MongoServer.shared(.standalone))
        let line = "The changes of MongoDB cannot be read"
        await eventually("it is said", details: { host.transcript }) { host.workers[0].log.contains(line) }
        let syncd = try #require(host.syncd)
        try await eventually("it was tried once more, and the lag shows for how long", within: .seconds(40)) {
            try await feed(syncd)["lag-ms"]?.number ?? 0 > 12_000
        }
        #expect(try await feed(syncd)["reader"] == .null)
        #expect(host.workers[0].log.components(separatedBy: line).count == 2)
    }

    /// libmongoc never asks a member of a set again that it has seen as a standalone server.
    @Test func `a set that was a standalone server for a while is found again, and everything is invalidated`()
        async throws
    {
        let mongo = try await MongoServer()
        let host = try await TestHost.start(workers: 1, home: .embedded, mongo: mongo)
        let syncd = try #require(host.syncd)
        let http = try host.connect()
        let id = try await TestHost.createUser(http, "u")
        try await eventually("the changes are read") { try await feed(syncd)["reader"] != .null }
        for _ in 0..<3 { _ = try await http.get("/api/users/\(id)") }
        var number = 0
        /// Whether the worker reads MongoDB: no cache has what was never asked for.
        func status() async throws -> Int {
            number += 1
            return try await http.get("/api/users/nobody-\(number)").status
        }
        // A set has its data in the log of operations, which a standalone server does not replay.
        try await mongo.command(["fsync": 1])
        try await mongo.startStandalone()
        try await eventually("the worker has seen it", details: { host.transcript }) {
            _ = try await status()
            return host.workers[0].log.contains("no server of DB_URL belongs to replica set")
        }
        let change: BSONDocument = [
            "update": "users", "updates": [["q": ["_id": .string(id)], "u": ["$set": ["age": 77]]]],
        ]
        #expect(try await mongo.command(change, database: host.database)["n"]?.number == 1)
        try await mongo.command(["fsync": 1])
        try await mongo.start()
        try await eventually("MongoDB is read again", details: { host.transcript }) { try await status() == 404 }
        try await eventually("the write of that time is seen", details: { host.transcript }) {
            try await http.get("/api/users/\(id)").json["age"].number == 77
        }
        try await eventually("everything was invalidated") { try await feed(syncd)["resets"]?.number == 2 }
    }

    @Test func `without the setting nobody reads the changes`() async throws {
        let host = try await TestHost.start(
            workers: 1, home: .embedded, environment: ["WORKER_CHANGE_FEED": "false"])
        try await Task.sleep(for: .seconds(2))
        #expect(try await feed(try #require(host.syncd)) == .null)
    }

    /// Two hosts on one Redis and one database, with two workers each.
    private struct Pair {
        let mongo: MongoServer
        let redis: RedisServer
        let database = MongoServer.newDatabaseName()
        var syncds: [SyncdProcess] = []
        var workers: [[WorkerProcess]] = []
        var connections: [HTTPConnection] = []

        init() async throws {
            mongo = try await MongoServer()
            redis = try await RedisServer()
            for _ in 0..<2 {
                let syncd = try await SyncdProcess(redis: redis)
                try await syncd.waitUntilAttached()
                syncds.append(syncd)
                let port = try ReservedPort()
                let workers = try await WorkerProcess.start(
                    2, port: port, database: mongo.url(database: database), socketPath: syncd.socketPath)
                self.workers.append(workers)
                connections.append(try HTTPConnection(port: port.number))
                try await syncd.waitUntilAttached()
            }
        }

        var transcript: String { syncds.map(\.transcript).joined() + workers.joined().map(\.transcript).joined() }
    }

    @Test func `the reader is killed, its host is killed: nothing is lost`() async throws {
        let pair = try await Pair()
        try await waitForReader(pair.syncds)
        let id = try await TestHost.createUser(pair.connections[0], "a")
        var age = 30
        func writeAndSee(_ connections: [Int], _ what: Comment) async throws {
            age += 1
            for index in connections {
                try await eventually("it is cached") {
                    try await self.age(pair.connections[index], id) == Double(age - 1)
                }
            }
            try await writeDirectly(pair.mongo, pair.database, id, age: age)
            for index in connections {
                try await eventually(what, within: .seconds(15), details: { pair.transcript }) {
                    try await self.age(pair.connections[index], id) == Double(age)
                }
            }
        }
        func readingHost() async throws -> Int? {
            for (index, syncd) in pair.syncds.enumerated() where syncd.child.isRunning {
                if try await feed(syncd)["reader"]?.number != nil { return index }
            }
            return nil
        }
        try await writeAndSee([0, 1], "both hosts see it")
        let first = try #require(try await readingHost())
        // A worker in whose place the other one reads. The connection of the test may end with it.
        let clients = try await pair.syncds[first].connect().command("CLIENT", "LIST").string ?? ""
        let reader = try #require(try await feed(pair.syncds[first])["reader"]?.number)
        let line = try #require(clients.split(separator: "\n").first { $0.hasPrefix("id=\(reader) ") })
        let pid = try #require(line.split(separator: " ").first { $0.hasPrefix("addr=unix:") }?.dropFirst(10))
        let worker = try #require(pair.workers[first].first { "\($0.pid)" == pid })
        worker.pause()
        try await writeAndSee([1 - first], "another one reads instead of the stopped worker")
        worker.resume()
        try await waitForReader(pair.syncds)
        let host = try #require(try await readingHost())
        pair.syncds[host].kill()
        try await writeAndSee([1 - host], "the other host reads")
        try await eventually("its worker has the role", details: { pair.transcript }) {
            try await readingHost() == 1 - host
        }
    }

    @Test func `changes while nobody reads come later`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded, mongo: try await MongoServer())
        let syncd = try #require(host.syncd)
        try await waitForReader([syncd])
        let id = try await TestHost.createUser(try host.connect(), "a")
        try await eventually("its change has come") { try await feed(syncd)["changes"]?.number ?? 0 >= 1 }
        // The token may be stored a moment later.
        try await Task.sleep(for: .seconds(2))
        host.workers[0].kill()
        try await writeDirectly(host.mongo, host.database, id, age: 77)
        let resets = try await feed(syncd)["resets"]?.number
        try await host.workers[0].restart()
        try await eventually("it is counted as uncovered", within: .seconds(15), details: { host.transcript }) {
            try await uncovered(syncd) == 1
        }
        #expect(try await feed(syncd)["resets"]?.number == resets, "it continues where it was")
    }

    @Test func `a collection that is dropped empties the caches`() async throws {
        let host = try await TestHost.start(workers: 1, home: .redis)
        let syncd = try #require(host.syncd)
        try await waitForReader([syncd])
        let connection = try host.connect()
        let id = try await TestHost.createUser(connection, "a")
        #expect(try await age(connection, id) == 30)
        try await host.mongo.command(["drop": "users"], database: host.database)
        try await eventually("the user is gone", details: { host.transcript }) {
            try await connection.get("/api/users/\(id)").status == 404
        }
        try await writeDirectlyAfter(host, syncd, connection)
    }

    private func writeDirectlyAfter(_ host: TestHost, _ syncd: SyncdProcess, _ connection: HTTPConnection) async throws
    {
        try await waitForReader([syncd])
        let id = try await TestHost.createUser(connection, "b")
        #expect(try await age(connection, id) == 30)
        try await writeDirectly(host.mongo, host.database, id, age: 31)
        try await eventually("the stream goes on", details: { host.transcript }) {
            try await age(connection, id) == 31
        }
    }
}
