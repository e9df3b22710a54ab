import Foundation
import TestSupport
import Testing

/// A whole host: syncd, workers on one port, their database; with Redis where `home` says so.
struct TestHost: Sendable {
    let redis: RedisServer?
    let syncd: SyncdProcess?
    let mongo: MongoServer
    let database: String
    let port: ReservedPort
    let workers: [WorkerProcess]

    /// - Parameters:
    ///   - home: where log and cache are; `nil`: there is no syncd at all.
    ///   - mongo: one that the test harms; by default the one that all tests share.
    static func start(
        workers count: Int, home: Home?, mongo: MongoServer? = nil, environment: [String: String] = [:]
    ) async throws -> TestHost {
        let server: MongoServer
        if let mongo { server = mongo } else { server = try await MongoServer.shared() }
        var (redis, syncd): (RedisServer?, SyncdProcess?) = (nil, nil)
        if let home { (redis, syncd) = try await home.start() }
        let database = MongoServer.newDatabaseName()
        let port = try ReservedPort()
        let workers = try await WorkerProcess.start(
            count, port: port, database: server.url(database: database), socketPath: syncd?.socketPath ?? "",
            environment: environment)
        let host = TestHost(
            redis: redis, syncd: syncd, mongo: server, database: database, port: port, workers: workers)
        if home != nil { try await host.waitUntilSynchronized() }
        if home != nil, server.kind == .replicaSet, environment["WORKER_CHANGE_FEED"] != "false" {
            try await host.waitUntilChangesAreFollowed()
        }
        return host
    }

    /// Waits until a worker reads the changes of the new database: when it begins, everything is invalidated once.
    private func waitUntilChangesAreFollowed() async throws {
        try await eventually("the change feed has begun", within: .seconds(20), details: { transcript }) {
            let feeds = try await syncd?.connect().command("STATUS", "feeds")["feeds"]?.elements
            return feeds?.first?["resets"]?.number ?? 0 > 0
        }
    }

    /// Everything that its processes logged, for failure messages.
    var transcript: String { (syncd?.transcript ?? "") + workers.map(\.transcript).joined() }

    func connect() throws -> HTTPConnection { try HTTPConnection(port: port.number) }

    /// One connection to each worker: the kernel spreads connections as it likes, so it takes some.
    func connectToEach() async throws -> [HTTPConnection] {
        var found: [pid_t: HTTPConnection] = [:]
        let wanted = Set(workers.map(\.pid))
        let deadline = PatientClock.now + .seconds(20)
        while found.count < wanted.count {
            guard PatientClock.now < deadline else { throw TestFailure("a worker is never reached\n\(transcript)") }
            let connection = try connect()
            if let worker = try await connection.get("/").worker, wanted.contains(worker) { found[worker] = connection }
        }
        return workers.compactMap { found[$0.pid] }
    }

    /// Waits until every worker may use its caches.
    func waitUntilSynchronized() async throws {
        for connection in try await connectToEach() {
            try await eventually("the worker is attached", within: .seconds(15), details: { transcript }) {
                try await connection.get("/").json["sync"].string == "attached"
            }
        }
    }

    /// Makes a user and returns its id.
    @discardableResult
    static func createUser(
        _ connection: HTTPConnection, _ name: String, hobbies: [String] = ["chess"]
    ) async throws -> String {
        let hobbies = hobbies.map { "\"\($0)\"" }.joined(separator: ",")
        let reply = try await connection.request(
            "POST", "/api/users", body: #"{"username":"\#(name)","age":30,"hobbies":[\#(hobbies)]}"#)
        #expect(reply.status == 201, "\(reply.text)")
        return try #require(reply.json["_id"].string)
    }

    /// How often the collection was read since the profiler was switched on.
    func readsOfUsers() async throws -> Int {
        try await mongo.documents("system.profile", database: database).count { entry in
            entry["ns"]?.string == "\(database).users" && ["query", "command"].contains(entry["op"]?.string ?? "")
        }
    }

    /// Makes the database write down every operation.
    func profile() async throws { try await mongo.command(["profile": 2], database: database) }
}
