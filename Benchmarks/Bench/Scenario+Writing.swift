import Glibc
import NIOCore
import TestSupport

/// A client that changes one user again and again, and one that changes it in the database itself.
final class UserWriter {
    private let api: API
    private let http: Wire
    private let mongo: Wire
    /// Never the same twice: an equal value would be no write.
    private var age = 0
    /// The driver repeats a write after a network error, and so numbers it in a separate session.
    private let session = BSONValue.uuid(.random(in: 0...UInt64.max), .random(in: 0...UInt64.max))
    private var transaction: Int64 = 0

    init(_ api: API) throws {
        self.api = api
        http = try Wire(port: api.worker.portNumber)
        mongo = try Wire(port: api.mongo.portNumber)
    }

    /// A write waits in mongod for a thread that runs at every full millisecond of the clock. A write that directly
    /// follows another's answer always comes at the same time, so that its median is one millisecond or two, by chance.
    /// So each comes at a random time (docs/performance.md, "Wait times of writes in MongoDB").
    private func waitForAnyMoment() { usleep(.random(in: 0..<2000)) }

    /// PUT over HTTP.
    func put(_ count: Int) throws -> LatencyRecorder {
        try LatencyRecorder.time(count, after: waitForAnyMoment) {
            age = age % 99 + 1
            let body = #"{"age":\#(age)}"#
            let head =
                "PUT /api/users/\(api.ids[0]) HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            try http.send(Array("\(head)Content-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8))
            try http.awaitHTTP()
        }
    }

    /// The command that the worker's driver sends.
    func findAndModify(_ count: Int) throws -> LatencyRecorder {
        try LatencyRecorder.time(count, after: waitForAnyMoment) {
            age = age % 99 + 1
            transaction += 1
            let command: BSONDocument = [
                "findAndModify": "users", "query": ["_id": .string(api.ids[0])],
                "update": ["$set": ["age": .double(Double(age))]], "maxTimeMS": 1900,
                "writeConcern": ["w": "majority", "wtimeout": 1900], "lsid": ["id": session],
                "txnNumber": .int64(transaction), "$db": .string(api.database),
            ]
            try mongo.send(Array(MongoConnection.message(command, id: 1).readableBytesView))
            try mongo.awaitMongo()
        }
    }
}

extension Scenario {
    /// A change of a user, and the database's own part of it; the same on a host whose syncd has died.
    static func put(_ rounds: Int) async throws -> [Measured] {
        let writer = try UserWriter(try await API())
        let orphaned = try await API()
        orphaned.syncd.kill()
        let orphanedWriter = try UserWriter(orphaned)
        // Writes wait until the last heartbeat is not trusted any more.
        try await Task.sleep(for: .seconds(2))
        let result = try await Rounds(rounds) {
            try writer.put(500).p50AndP99
        } yardstick: {
            try writer.findAndModify(500).p50AndP99
        }
        let withoutSyncd = try await Rounds(rounds) {
            try orphanedWriter.put(500).p50AndP99
        } yardstick: {
            try writer.put(500).p50AndP99
        }
        return [
            result.row(
                "put", "PUT of a user over HTTP, p50", "MongoDB's findAndModify alone", .nanoseconds,
                .differenceAtMost(400_000)),
            withoutSyncd.row(
                "put-without-syncd", "the same, two seconds and more after syncd's death", "with syncd", .nanoseconds,
                .ratioAtMost(1.2)),
        ]
    }
}
