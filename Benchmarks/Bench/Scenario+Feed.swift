import Glibc
import NIOCore
import TestSupport

/// Three hosts on one Redis and one replica set, each with a worker: writes that nobody is told of.
final class FedHosts {
    let redis: RedisServer
    private(set) var mongo: MongoServer
    let database = MongoServer.newDatabaseName()
    private(set) var syncds: [SyncdProcess] = []
    private(set) var workers: [WorkerProcess] = []
    private(set) var connections: [Wire] = []
    private var direct: Wire
    private(set) var id = ""
    private var age = 0

    /// - Parameter mongo: the primary of their replica set.
    init(mongo: MongoServer) async throws {
        redis = try await RedisServer()
        self.mongo = mongo
        direct = try Wire(port: mongo.portNumber)
        for _ in 0..<3 {
            let syncd = try await SyncdProcess.forMeasuring(redis: redis)
            let worker = try await WorkerProcess(
                port: try ReservedPort(), database: mongo.url(database: database), socketPath: syncd.socketPath,
                environment: ["LOG_LEVEL": "notice", "HOST": "127.0.0.1", "WORKER_AUDIT_ONE_IN": "0"])
            syncds.append(syncd)
            workers.append(worker)
            connections.append(try Wire(port: worker.portNumber))
        }
        let reply = try await HTTPConnection(port: workers[0].portNumber).request(
            "POST", "/api/users", body: #"{"username":"a","age":1,"hobbies":["x"]}"#)
        guard let id = reply.json["_id"].string else { throw TestFailure("no user: \(reply.text)") }
        self.id = id
        _ = try await reader()
    }

    /// A field of the change feed in STATUS of a host.
    func figure(_ host: Int, _ name: String) async throws -> Int? {
        try await syncds[host].connect().command("STATUS", "feeds")["feeds"]?.elements?.first?[name]?.number
    }

    /// The host whose worker reads the changes.
    func reader() async throws -> Int {
        for _ in 0..<1000 {
            for host in syncds.indices where syncds[host].child.isRunning {
                if try await figure(host, "reader") != nil { return host }
            }
            usleep(20_000)
        }
        throw TestFailure("nobody reads the changes")
    }

    /// Writes as any program does, and waits until a majority has it.
    func writeDirectly(_ count: Int = 1) throws {
        for _ in 0..<count {
            age = age % 99 + 1
            let command: BSONDocument = [
                "update": "users", "writeConcern": ["w": "majority"], "$db": .string(database),
                "updates": [["q": ["_id": .string(id)], "u": ["$set": ["age": .int32(Int32(age))]]]],
            ]
            try direct.send(Array(MongoConnection.message(command, id: 1).readableBytesView))
            try direct.awaitMongo()
        }
    }

    /// Time from the step-down of the primary until a write that its program then repeats until the new one accepts it is
    /// in the next read on each host.
    func timeToSee(afterStepDownIn set: MongoReplicaSet) async throws -> UInt64 {
        for host in connections.indices { _ = try isSeen(host) }
        let start = monotonicNow()
        _ = try? await mongo.command(["replSetStepDown": 60, "force": true])
        mongo = try await set.primary()
        direct = try Wire(port: mongo.portNumber)
        try writeDirectly()
        try awaitSeen(on: Array(connections.indices), since: start)
        return monotonicNow() - start
    }

    /// Whether the next read on a host has the last write.
    private func isSeen(_ host: Int) throws -> Bool {
        let body = String(decoding: try connections[host].get("/api/users/\(id)"), as: UTF8.self)
        return body.contains("\"age\":\(age),") || body.contains("\"age\":\(age)}")
    }

    /// Time from a write, as its program sends it, until the next read on each of these hosts is new.
    func timeToSee(on hosts: [Int]) throws -> UInt64 {
        for host in hosts { _ = try isSeen(host) }
        let start = monotonicNow()
        try writeDirectly()
        try awaitSeen(on: hosts, since: start)
        return monotonicNow() - start
    }

    private func awaitSeen(on hosts: [Int], since start: UInt64) throws {
        for host in hosts {
            while try !isSeen(host) {
                guard monotonicNow() - start < 20_000_000_000 else { throw TestFailure("host \(host) does not see it") }
            }
        }
    }
}

extension Scenario {
    /// The cost of the change feed, and the time until it shows a write.
    static func feed(_ rounds: Int) async throws -> [Measured] {
        let hosts = try await FedHosts(mongo: MongoServer())
        var seen = LatencyRecorder()
        for round in 0..<rounds * 60 + 10 {
            let time = try hosts.timeToSee(on: [0, 1, 2])
            if round >= 10 { seen.record(time) }
            usleep(.random(in: 0..<20_000))
        }
        let cost = try await costOfReading(hosts)
        let echo = try await missesByEchoes(hosts)
        let reader = try await hosts.reader()
        hosts.syncds[reader].kill()
        hosts.workers[reader].kill()
        let rest = [0, 1, 2].filter { $0 != reader }
        let takeover = Double(try hosts.timeToSee(on: rest))
        let stepDown = try await timeAfterStepDown()
        func row(_ name: String, _ what: String, _ unit: Unit, _ goal: Double, _ figure: Double) -> Measured {
            Measured(name: name, what: what, yardstick: "", unit: unit, goal: .atMost(goal), figure: figure)
        }
        let what = "a write by another program → the next read on each of three hosts is new"
        return [
            row("feed-visible-p50", what + ", p50", .nanoseconds, 30e6, seen.p50AndP99[0]),
            row("feed-visible-p99", "the same, p99", .nanoseconds, 150e6, seen.p50AndP99[1]),
            row(
                "feed-takeover", "the same, after the reading worker and its syncd were killed", .nanoseconds, 6e9,
                takeover),
            row("feed-step-down", "the same, after the primary of MongoDB stepped down", .nanoseconds, 6e9, stepDown),
            row("feed-echoes", "own writes whose echo was invalidated again", .percent, 0.1, echo),
            row("feed-cost", "processor time of the reader, 1000 changes/s", .percent, 5, cost),
        ]
    }

    private static func timeAfterStepDown() async throws -> Double {
        let set = try await MongoReplicaSet(delay: 1, isHidden: true)
        let hosts = try await FedHosts(mongo: set.primary())
        return Double(try await hosts.timeToSee(afterStepDownIn: set))
    }

    /// Of 10 000 own writes under load, those whose change counted as uncovered, in percent.
    private static func missesByEchoes(_ hosts: FedHosts) async throws -> Double {
        // A change that its own invalidation did not cover in time is counted two seconds later at most.
        let settling = Duration.seconds(3)
        func invalidatedAgain() async throws -> Int {
            try await Task.sleep(for: settling)
            var sum = 0
            for host in hosts.syncds.indices {
                for name in ["late", "uncovered"] { sum += try await hosts.figure(host, name) ?? 0 }
            }
            return sum
        }
        let before = try await invalidatedAgain()
        var age = 0
        for round in 0..<10_000 {
            age = age % 99 + 1
            let body = #"{"age":\#(age)}"#
            let head = "PUT /api/users/\(hosts.id) HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            let wire = hosts.connections[round % 3]
            try wire.send(Array("\(head)Content-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8))
            try wire.awaitHTTP()
            _ = try hosts.connections[(round + 1) % 3].get("/api/users/\(hosts.id)")
        }
        return Double(try await invalidatedAgain() - before) / 100
    }

    /// Processor time of the worker that reads, in percent of a core, beyond that of an idle one.
    private static func costOfReading(_ hosts: FedHosts) async throws -> Double {
        let worker = hosts.workers[try await hosts.reader()].pid
        let rival = try await DirectLoad(hosts)
        func share(_ work: () async throws -> Void) async throws -> Double {
            let (start, before) = (monotonicNow(), try ProcessFigures.processorTime(worker))
            try await work()
            return (try ProcessFigures.processorTime(worker) - before) / Double(monotonicNow() - start) * 100
        }
        let idle = try await share { try await Task.sleep(for: .seconds(5)) }
        let busy = try await share { try rival.write(perSecond: 1000, seconds: 5) }
        return busy - idle
    }
}

/// Writes at a steady rate, without waiting for each.
private final class DirectLoad {
    private let wire: Wire
    private let database: String

    init(_ hosts: FedHosts) async throws {
        wire = try Wire(port: hosts.mongo.portNumber)
        database = hosts.database
        let users = (0..<100).map { BSONValue.document(["_id": .string("load \($0)"), "age": 1]) }
        try await hosts.mongo.command(["insert": "users", "documents": .array(users)], database: database)
    }

    /// Ten changes of different users every 10 ms.
    func write(perSecond rate: Int, seconds: Int) throws {
        let start = monotonicNow()
        for round in 0..<rate * seconds / 10 {
            let updates = (0..<10).map { number in
                BSONValue.document([
                    "q": ["_id": .string("load \((round * 10 + number) % 100)")],
                    "u": ["$set": ["age": .int32(Int32(round + 2))]],
                ])
            }
            let command: BSONDocument = ["update": "users", "updates": .array(updates), "$db": .string(database)]
            try wire.send(Array(MongoConnection.message(command, id: 1).readableBytesView))
            try wire.awaitMongo()
            let due = start + UInt64(round + 1) * 10_000_000_000 / UInt64(rate)
            let now = monotonicNow()
            if now < due { usleep(UInt32((due - now) / 1000)) }
        }
    }
}
