import Foundation
import Logging
import NIOCore
import TestSupport

/// A worker with its database and a syncd on Redis, and a hundred users in it.
struct API {
    let redis: RedisServer
    let syncd: SyncdProcess
    let mongo: MongoServer
    let database = MongoServer.newDatabaseName()
    let worker: WorkerProcess
    var ids: [String] = []

    init() async throws {
        redis = try await RedisServer()
        syncd = try await SyncdProcess.forMeasuring(redis: redis)
        mongo = try await MongoServer()
        worker = try await WorkerProcess(
            port: try ReservedPort(), database: mongo.url(database: database), socketPath: syncd.socketPath,
            environment: ["LOG_LEVEL": "notice", "HOST": "127.0.0.1"])
        let connection = try HTTPConnection(port: worker.portNumber)
        for number in 0..<100 {
            let hobbies = (0..<5).map { "\"hobby \(number % 20 + $0)\"" }.joined(separator: ",")
            let body = #"{"username":"user number \#(number)","age":\#(20 + number % 50),"hobbies":[\#(hobbies)]}"#
            let reply = try await connection.request("POST", "/api/users", body: body)
            guard let id = reply.json["_id"].string else { throw TestFailure("no user: \(reply.text)") }
            ids.append(id)
        }
        // Each user has five friends, so that the graph has edges.
        for number in 0..<100 {
            for step in 1...5 {
                let friend = ids[(number + step * 7) % 100]
                _ = try await connection.request(
                    "POST", "/api/users/\(ids[number])/link", body: #"{"friendId":"\#(friend)"}"#)
            }
        }
    }

    func url(_ path: String) -> String { "http://127.0.0.1:\(worker.portNumber)\(path)" }

    func body(_ path: String) throws -> [UInt8] {
        try Wire(port: worker.portNumber).get(path)
    }
}

extension ConstantServer {
    /// Starts one in a separate process.
    static func start(
        _ body: [UInt8], _ arguments: [String] = [], in directory: TemporaryDirectory
    ) async throws -> (ChildProcess, ReservedPort) {
        let port = try ReservedPort()
        let file = directory.file("body-\(port.number)")
        try Data(body).write(to: URL(fileURLWithPath: file))
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let process = try ChildProcess(
            program, ["constant-server", "--port", "\(port.number)", "--file", file] + arguments)
        for _ in 0..<1000 {
            if (try? Wire(port: port.number)) != nil { return (process, port) }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw TestFailure("the constant server does not listen\n\(process.transcript)")
    }
}

extension Scenario {
    /// Cached answers, and the same bytes from a constant, both on one processor.
    static func http(_ rounds: Int) async throws -> [Measured] {
        let api = try await API()
        try await Processors.pinToFirst(api.worker.pid)
        let directory = try TemporaryDirectory()
        var rows: [Measured] = []
        for (name, path, goal) in [
            ("http-graph", "/api/graph", 0.85), ("http-stats", "/api/users/stats/overview", 0.8),
        ] {
            let body = try api.body(path)
            let (server, port) = try await ConstantServer.start(body, in: directory)
            defer { server.kill() }
            try await Processors.pinToFirst(server.pid)
            let result = try await Rounds(rounds) {
                try await Wrk().run(api.url(path))
            } yardstick: {
                try await Wrk().run("http://127.0.0.1:\(port.number)\(path)")
            }
            rows.append(
                result.row(
                    name, "cached GET \(path) (\(body.count) B), 8 clients",
                    "SwiftNIO's HTTP codec alone, the same request and response", .perSecond, .ratioAtLeast(goal)))
        }
        return rows
    }
}
