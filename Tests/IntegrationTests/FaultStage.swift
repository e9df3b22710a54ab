import Synchronization
import TestSupport
import Testing

/// Two hosts with their workers on one Redis and one MongoDB, and everything that writes, reads and does harm there.
struct FaultStage: Sendable {
    struct Host: Sendable {
        let index: Int
        let proxy: RedisProxy
        let syncd: SyncdProcess
        let workers: [WorkerProcess]
    }

    /// How much is asked, and how often something fails.
    struct Pace: Sendable {
        /// Registers, each with a writer of its own.
        var keys = 6
        /// Milliseconds between two requests of a writer, and of a reader.
        var betweenWrites = 0...300
        var betweenReads = 0...5
        /// Faults that may go on at once, and milliseconds between two of them.
        var harms = 2
        var betweenHarms = 100...1500
        /// Hosts from this one on may have their processes killed.
        var firstMortalHost = 0
        /// What the programs are told beyond where things are.
        var environment: [String: String] = [:]
    }

    /// What a request was, for whoever measures.
    enum Request: Sendable { case read, write }

    let redis: RedisServer
    let mongo: MongoServer
    let hosts: [Host]
    let users: [String]
    let history: FaultHistory
    let pace: Pace
    /// What chance decides about faults.
    let chance: Chance
    let turns = Turns()
    /// Told how long each answer took.
    var onAnswer: @Sendable (Request, Duration) -> Void = { _, _ in }
    /// Told of each fault that begins.
    var onFault: @Sendable (Fault) -> Void = { _ in }

    var transcript: String { hosts.map { $0.syncd.transcript + $0.workers.map(\.transcript).joined() }.joined() }

    static func start(_ pace: Pace = Pace(), seed: UInt64) async throws -> FaultStage {
        let redis = try await RedisServer()
        let mongo = try await MongoServer()
        let database = MongoServer.newDatabaseName()
        var hosts: [Host] = []
        for index in 0..<2 {
            let proxy = try await RedisProxy(redis)
            let syncd = try await SyncdProcess(
                environment: ["REDIS_ENABLED": "true", "REDIS_URL": proxy.url].merging(pace.environment) { $1 })
            try await syncd.waitUntilAttached()
            var workers: [WorkerProcess] = []
            for _ in 0..<2 {
                workers.append(
                    try await WorkerProcess(
                        port: ReservedPort(), database: mongo.url(database: database), socketPath: syncd.socketPath,
                        environment: ["WORKER_AUDIT_ONE_IN": "50"].merging(pace.environment) { $1 }))
            }
            hosts.append(Host(index: index, proxy: proxy, syncd: syncd, workers: workers))
        }
        let http = try HTTPConnection(port: hosts[0].workers[0].portNumber)
        var users: [String] = []
        for number in 0..<pace.keys {
            let id = try await TestHost.createUser(http, "user \(number)")
            let reply = try await http.request("PUT", "/api/users/\(id)", body: #"{"position":{"x":1,"y":0}}"#)
            #expect(reply.status == 200)
            users.append(id)
        }
        let history = FaultHistory(hosts: hosts.count, keys: users.count)
        for key in users.indices { history.acknowledged(key, version: 1, on: 0) }
        return FaultStage(
            redis: redis, mongo: mongo, hosts: hosts, users: users, history: history, pace: pace,
            chance: Chance(seed: seed))
    }

    // MARK: A run

    /// Writes, reads and does harm for so long; `beside` goes on meanwhile, until the history is over.
    func run(for length: Duration, beside: @escaping @Sendable () async throws -> Void = {}) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for key in users.indices { group.addTask { await write(key) } }
            for host in hosts {
                for worker in host.workers { group.addTask { await read(worker, host) } }
            }
            for _ in 0..<pace.harms { group.addTask { try await harm() } }
            group.addTask { try await beside() }
            try await Task.sleep(for: length)
            history.end()
            try await group.waitForAll()
        }
    }

    /// When faults are over everything is as it was.
    func expectRecovery() async throws {
        for host in hosts {
            for worker in host.workers {
                let http = try HTTPConnection(port: worker.portNumber)
                try await eventually("attached again", within: .seconds(20), details: { transcript }) {
                    try await http.get("/").json["sync"].string == "attached"
                }
            }
            // What somebody was writing when he was killed has not got its name, and is nothing (docs/protocol.md).
            // Writes that may still land are kept for two minutes.
            let kept = [".lock", ".orphan", ".intent"]
            let owed: () -> [String] = {
                host.syncd.directory.names(in: "journal").filter { name in
                    !kept.contains { name.hasSuffix($0) } && !name.hasPrefix(".new-")
                }
            }
            let details = { "\(owed()) \(host.syncd.transcript)" }
            await eventually("nothing is owed", within: .seconds(20), details: details) { owed().isEmpty }
        }
    }

    // MARK: Load

    private func pause(_ milliseconds: ClosedRange<Int>) async {
        try? await Task.sleep(for: .milliseconds(Int.random(in: milliseconds)))
    }

    /// One writer per key: versions rise.
    private func write(_ key: Int) async {
        var version = 1
        while !history.isOver {
            await pause(pace.betweenWrites)
            guard !history.isOver else { return }
            version += 1
            guard let host = hosts.randomElement(), let worker = host.workers.randomElement() else { return }
            let life = history.life(ofWorkerAt: worker.portNumber)
            let begin = ContinuousClock.now
            do {
                let http = try HTTPConnection(port: worker.portNumber)
                let reply = try await http.request(
                    "PUT", "/api/users/\(users[key])", body: #"{"position":{"x":\#(version),"y":0}}"#)
                onAnswer(.write, ContinuousClock.now - begin)
                switch reply.status {
                case 200: history.acknowledged(key, version: version, on: host.index)
                case 503:
                    history.wasUnavailable()
                    // It may still land: no other write until it cannot any more.
                    await settle()
                default: history.failed("PUT: \(reply.status) \(reply.text)")
                }
            } catch {
                if hasLived(worker, since: life) {
                    history.failed("PUT to a living worker: \(error)")
                }
                history.unknownOutcome()
                await settle()
            }
        }
    }

    /// Whether a worker was there all the time: then nothing may fail.
    private func hasLived(_ worker: WorkerProcess, since life: Int) -> Bool {
        life % 2 == 0 && history.life(ofWorkerAt: worker.portNumber) == life
    }

    /// Longer than a write can take that nobody waits for.
    private func settle() async { await pause(3000...3500) }

    private func read(_ worker: WorkerProcess, _ host: Host) async {
        var connection: (http: HTTPConnection, life: Int)?
        while !history.isOver {
            let key = Int.random(in: 0..<users.count)
            let life = history.life(ofWorkerAt: worker.portNumber)
            do {
                // Now and then a new one, as browsers come and go.
                if connection == nil || connection?.life != life || Int.random(in: 0..<100) == 0 {
                    connection = (try HTTPConnection(port: worker.portNumber), life)
                }
                guard let http = connection?.http else { continue }
                let read = history.readBegins(key, on: host.index)
                let begin = ContinuousClock.now
                let isList = Int.random(in: 0..<8) == 0
                let reply = try await http.get(isList ? "/api/users" : "/api/users/\(users[key])")
                onAnswer(.read, ContinuousClock.now - begin)
                switch reply.status {
                case 200:
                    let user = isList ? reply.json.array?.first { $0["_id"].string == users[key] } : reply.json
                    history.readEnded(
                        read, version: Int(user?["position"]["x"].number ?? 0), source: reply.cache ?? "-",
                        worker: "worker \(worker.pid)")
                case 503: history.wasUnavailable()
                default: history.failed("GET: \(reply.status) \(reply.text)")
                }
            } catch {
                connection = nil
                if hasLived(worker, since: life) {
                    history.failed("GET from a living worker: \(error)")
                }
                await pause(10...50)
            }
            await pause(pace.betweenReads)
        }
    }
}

/// Chance that a seed decides, for several tasks: the same choices, as far as their turns are the same.
final class Chance: Sendable {
    /// SplitMix64.
    private struct Generator: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
    }

    let seed: UInt64
    private let generator: Mutex<Generator>

    init(seed: UInt64) {
        self.seed = seed
        generator = Mutex(Generator(state: seed))
    }

    func number(_ range: ClosedRange<Int>) -> Int { generator.withLock { Int.random(in: range, using: &$0) } }
    func bool() -> Bool { number(0...1) == 1 }
    func element<Element>(_ elements: [Element]) -> Element { elements[number(0...elements.count - 1)] }
    func shuffled<Element>(_ elements: [Element]) -> [Element] {
        var (rest, result): ([Element], [Element]) = (elements, [])
        while !rest.isEmpty { result.append(rest.remove(at: number(0...rest.count - 1))) }
        return result
    }
    func pause(_ milliseconds: ClosedRange<Int>) async {
        try? await Task.sleep(for: .milliseconds(number(milliseconds)))
    }
}
