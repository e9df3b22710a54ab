import Glibc
import TestSupport

/// A worker without syncd, so that each request reads the database, and that many users.
struct UncachedAPI {
    let mongo: MongoServer
    let database = MongoServer.newDatabaseName()
    let worker: WorkerProcess
    let drain: Drain
    private let http: Wire

    init(users count: Int) async throws {
        mongo = try await MongoServer()
        worker = try await WorkerProcess(
            port: try ReservedPort(), database: mongo.url(database: database), socketPath: "",
            environment: ["LOG_LEVEL": "notice"])
        drain = try Drain(url: mongo.url(database: database), database: database)
        http = try Wire(port: worker.portNumber)
        for start in stride(from: 0, to: count, by: 1000) {
            let users = (start..<min(start + 1000, count)).map { Self.user($0, of: count) }
            try await mongo.command(["insert": "users", "documents": .array(users)], database: database)
        }
        // The worker has made the index of lists after its start.
        _ = try get("/api/users/paginated/list")
    }

    private static func id(_ number: Int) -> String {
        let digits = String(number)
        return "c0ffee00-0000-4000-8000-" + String(repeating: "0", count: 12 - digits.count) + digits
    }

    /// About 460 bytes: five of twenty-four hobbies, five friends.
    private static func user(_ number: Int, of count: Int) -> BSONValue {
        [
            "_id": .string(id(number)), "username": .string("user number \(number)"),
            "age": .int32(Int32(20 + number % 50)),
            "hobbies": .array((0..<5).map { .string("hobby \(number % 20 + $0)") }),
            "friends": .array((1...5).map { .string(id((number + $0 * 7) % count)) }),
            "createdAt": .date(1_735_689_600_000 + Int64(number)),
            "position": ["x": .int32(Int32(number % 400)), "y": .int32(Int32(number * 7 % 400))],
        ]
    }

    @discardableResult
    func get(_ path: String) throws -> [UInt8] { try http.get(path) }

    func times(_ path: String, _ count: Int) throws -> LatencyRecorder {
        try LatencyRecorder.time(count) { try get(path) }
    }

    func drainTimes(_ options: String, _ count: Int) throws -> LatencyRecorder {
        try LatencyRecorder.time(count) { try drain.find(options) }
    }

    /// The options of the cursors behind each path.
    static let users = #"{"sort":{"createdAt":1,"_id":1},"batchSize":2147483647}"#
    static let profiles = #"{"projection":{"hobbies":1,"friends":1},"batchSize":2147483647}"#

    /// Processor time of each of that many requests, in ns.
    func processorTime(_ path: String, _ count: Int) throws -> Double {
        for _ in 0..<20 { try get(path) }
        let before = try ProcessFigures.processorTime(worker.pid)
        for _ in 0..<count { try get(path) }
        return (try ProcessFigures.processorTime(worker.pid) - before) / Double(count)
    }
}

extension UncachedAPI {
    /// A row that compares a path with the minimum for a driver that blocks: SwiftNIO's codec, a thread that drains the
    /// cursor, and the same number of bytes.
    fileprivate func limit(
        _ name: String, _ path: String, _ options: String, _ body: [UInt8], _ rounds: Int
    ) async throws -> Measured {
        let directory = try TemporaryDirectory()
        let (server, port) = try await ConstantServer.start(
            body, ["--url", mongo.url(database: database), "--database", database, "--cursor", options], in: directory)
        defer { server.kill() }
        let least = try Wire(port: port.number)
        let result = try await Rounds(rounds) {
            try times(path, 300).p50AndP99
        } yardstick: {
            try LatencyRecorder.time(300) { try least.get("/") }.p50AndP99
        }
        return result.row(
            name + "-limit", "the same, p50", "that cursor on a thread behind SwiftNIO's codec, the same bytes sent",
            .nanoseconds, .none)
    }
}

extension Scenario {
    /// Answers that no cache has, and their cursors without anything else.
    static func misses(_ rounds: Int) async throws -> [Measured] {
        let api = try await UncachedAPI(users: 200)
        let cursors = "libmongoc draining the same cursor"
        var rows: [Measured] = []
        for (name, path, options) in [
            ("miss-users", "/api/users", UncachedAPI.users),
            ("miss-stats", "/api/users/stats/overview", UncachedAPI.profiles),
            ("miss-graph", "/api/graph?limit=1000", UncachedAPI.users),
        ] {
            let result = try await Rounds(rounds) {
                try api.times(path, 300).p50AndP99 + [try api.processorTime(path, 300)]
            } yardstick: {
                let before = ProcessFigures.threadTime()
                let times = try api.drainTimes(options, 300).p50AndP99
                return times + [(ProcessFigures.threadTime() - before) / 330]
            }
            let body = try api.get(path)
            let bytes = body.count
            rows.append(
                result.row(
                    name, "GET \(path) without a cache, 200 users (\(bytes) B), p50", cursors, .nanoseconds,
                    .ratioAtMost(1.3)))
            rows.append(try await api.limit(name, path, options, body, rounds))
            rows.append(
                result.row(
                    name + "-cpu", "the same, the worker's processor time", cursors + ", its time", .nanoseconds,
                    name == "miss-users" ? .atMost(500_000) : .none, 2))
        }
        return rows
    }
}

extension Curve {
    /// Answers about a growing number of users without a cache, and their cursors. Times are in µs.
    static func users() async throws -> CurveTable {
        var table = CurveTable(columns: ["users", "statistics", "its cursor", "list of all", "its cursor", "a page"])
        for count in [200, 2000, 20_000, 200_000] {
            let api = try await UncachedAPI(users: count)
            let rounds = max(5, 20_000 / count)
            let reads: [() throws -> LatencyRecorder] = [
                { try api.times("/api/users/stats/overview", rounds) },
                { try api.drainTimes(UncachedAPI.profiles, rounds) },
                // A list of 200 000 users is too large for an answer.
                { count > 100_000 ? LatencyRecorder() : try api.times("/api/users", rounds) },
                { try api.drainTimes(UncachedAPI.users, rounds) },
                { try api.times("/api/users/paginated/list", rounds) },
            ]
            table.rows.append([Double(count)] + (try reads.map { try $0().p50AndP99[0] / 1000 }))
        }
        return table
    }
}
