import Foundation
import TestSupport
import Testing

/// Two hosts with their workers on one Redis or one Redis Cluster and one MongoDB, or one host without Redis, and
/// everything that writes, reads and does harm there.
struct FaultStage: Sendable {
    struct Host: Sendable {
        let index: Int
        /// The way to Redis, if there is one.
        let proxy: RedisProxy?
        let syncd: SyncdProcess
        let workers: [WorkerProcess]
        /// Each worker's way to MongoDB.
        let ways: [MongoProxy]
        /// A worker that knows one delayed member of MongoDB only. It is asked, and nobody writes through it.
        let stray: WorkerProcess?

        var readers: [WorkerProcess] { workers + [stray].compactMap(\.self) }
    }

    /// How much is asked, and how often something fails.
    struct Pace: Sendable {
        /// Registers of each kind (``Register``).
        var keys = 6
        var friendships = 2
        var names = 2
        /// Users whom another program changes, where MongoDB has a change stream.
        var directs = 2
        /// Milliseconds between two requests of a writer, and of a reader.
        var betweenWrites = 0...300
        var betweenReads = 0...5
        /// Faults that may go on at once, and milliseconds between two of them.
        var harms = 2
        var betweenHarms = 100...1500
        /// For how long there are faults, and for how long none after that: what nobody got an answer to has to be
        /// seen by all in the end. Without calm, that is not looked at.
        var harm = Duration.seconds(40)
        var calm = Duration.zero
        /// Hosts from this one on may have their processes killed.
        var firstMortalHost = 0
        var home = LogHome.redis
        var database = FaultDatabase.Kind.setOfOne
        /// Additional settings of the programs.
        var environment: [String: String] = [:]
    }

    /// The place of the log and the shared cache.
    enum LogHome: String, Sendable { case embedded, redis, cluster }

    /// The kind of a request, for measurements.
    enum Request: Sendable { case read, write }

    let redis: RedisServer?
    let cluster: RedisCluster?
    let database: FaultDatabase
    let hosts: [Host]
    let registers: [Register]
    let history: FaultHistory
    let pace: Pace
    /// The random choices of faults.
    let chance: Chance
    let turns = Turns()
    /// Told how long each answer took.
    var onAnswer: @Sendable (Request, Duration) -> Void = { _, _ in }
    /// Told of each fault that begins.
    var onFault: @Sendable (Fault) -> Void = { _ in }

    var transcript: String {
        hosts.map { $0.syncd.transcript + $0.readers.map(\.transcript).joined() }.joined() + database.log
            + (cluster?.log ?? "")
    }

    static func start(_ pace: Pace = Pace(), seed: UInt64) async throws -> FaultStage {
        let chance = Chance(seed: seed)
        let redis = pace.home == .redis ? try await RedisServer() : nil
        let cluster = pace.home == .cluster ? try await RedisCluster() : nil
        let database = try await FaultDatabase.start(pace.database, chance)
        try await database.makeNamesUnique()
        var hosts: [Host] = []
        // Without Redis, no host hears of another.
        let count = pace.home == .embedded ? 1 : 2
        for index in 0..<count {
            var proxy: RedisProxy?
            if let redis { proxy = try await RedisProxy(redis) }
            // Nodes of a cluster name each other, so no proxy can stand before them.
            let url = proxy?.url ?? cluster?.url([3 * index, 3 * index + 1, 3 * index + 2])
            hosts.append(try await startHost(index, isLast: index == count - 1, proxy, url, database, pace))
        }
        let http = try HTTPConnection(port: hosts[0].workers[0].portNumber)
        let registers = try await Register.make(pace, http)
        let history = FaultHistory(hosts: hosts.count, keys: registers.count)
        for key in registers.indices where registers[key].isWritten {
            history.acknowledged(key, round: history.roundBegins(key), on: 0)
        }
        return FaultStage(
            redis: redis, cluster: cluster, database: database, hosts: hosts, registers: registers, history: history,
            pace: pace,
            chance: chance)
    }

    private static func startHost(
        _ index: Int, isLast: Bool, _ proxy: RedisProxy?, _ url: String?, _ database: FaultDatabase, _ pace: Pace
    ) async throws -> Host {
        let home = url.map { ["REDIS_ENABLED": "true", "REDIS_URL": $0] } ?? [:]
        let syncd = try await SyncdProcess(environment: home.merging(pace.environment) { $1 })
        try await syncd.waitUntilAttached()
        func worker(_ url: String) async throws -> WorkerProcess {
            try await WorkerProcess(
                port: ReservedPort(), database: url, socketPath: syncd.socketPath,
                environment: ["WORKER_AUDIT_ONE_IN": "50"].merging(pace.environment) { $1 })
        }
        var (workers, ways): ([WorkerProcess], [MongoProxy]) = ([], [])
        for _ in 0..<(url == nil ? 4 : 2) {
            let way = try await MongoProxy(to: database.servers)
            workers.append(try await worker(database.url(way)))
            ways.append(way)
        }
        var stray: WorkerProcess?
        if isLast, database.kind == .setOfThree {
            let way = try await MongoProxy(to: database.servers)
            stray = try await worker(database.urlOfDelayed(way))
            ways.append(way)
        }
        return Host(index: index, proxy: proxy, syncd: syncd, workers: workers, ways: ways, stray: stray)
    }

    // MARK: A run

    /// Writes, reads and causes faults for this time; `beside` runs meanwhile, until the history is over.
    func run(for length: Duration, beside: @escaping @Sendable () async throws -> Void = {}) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for key in registers.indices {
                group.addTask {
                    if case .direct(let id) = registers[key] { await keepDirectly(key, id) } else { await keep(key) }
                }
            }
            for host in hosts {
                for worker in host.readers { group.addTask { await read(worker, host) } }
            }
            if pace.calm > .zero { group.addTask { await observe() } }
            for _ in 0..<pace.harms { group.addTask { try await harm() } }
            group.addTask { try await beside() }
            try await conduct(length)
            history.end()
            try await group.waitForAll()
        }
    }

    /// Lets harm and calm take turns; the end is calm.
    private func conduct(_ length: Duration) async throws {
        let end = ContinuousClock.now + length
        guard pace.calm > .zero else { return try await Task.sleep(until: end) }
        while .now < end {
            let harm = min(pace.harm, end - .now - pace.calm)
            if harm > .zero {
                history.setCalm(false)
                try await Task.sleep(for: harm)
            }
            history.setCalm(true)
            try await Task.sleep(for: min(pace.calm, end - .now))
        }
    }

    // MARK: The end

    /// When faults are over everything is as it was.
    ///
    /// - Parameter waitsForLanding: whether to wait until syncd has done with what dead writers left behind.
    func expectRecovery(waitsForLanding: Bool = false) async throws {
        for host in hosts {
            for worker in host.readers {
                let http = try HTTPConnection(port: worker.portNumber)
                try await eventually("attached again", within: .seconds(20), details: { transcript }) {
                    try await http.get("/").json["sync"].string == "attached"
                }
            }
            // A file that a killed writer had not finished has no final name, and no meaning (docs/protocol.md). Files
            // of writers whose outcome is unknown are kept as long as it can change.
            let pending: ([String]) -> [String] = { kept in
                host.syncd.directory.names(in: "journal").filter { name in
                    !kept.contains { name.hasSuffix($0) } && !name.hasPrefix(".new-")
                }
            }
            let details = { "\(pending([".lock"])) \(host.syncd.transcript)" }
            await eventually("nothing is pending", within: .seconds(20), details: details) {
                pending([".lock", ".orphan", ".intent"]).isEmpty
            }
            guard waitsForLanding else { continue }
            await eventually("nothing is left behind", within: .seconds(180), details: details) {
                pending([".lock"]).isEmpty
            }
        }
        try await expectAgreement()
    }

    /// All workers of all hosts return what the database has.
    private func expectAgreement() async throws {
        var documents: [BSONDocument]?
        await eventually("the database answers", details: { database.log }) {
            documents = try? await database.users()
            return documents != nil
        }
        let state = Snapshot(documents ?? [])
        for worker in hosts.flatMap(\.workers) {
            let http = try HTTPConnection(port: worker.portNumber)
            for key in registers.indices {
                var last = ""
                let details = { "\(registers[key]): \(last)\n\(transcript)" }
                try await eventually("what the database has", within: .seconds(20), details: details) {
                    guard let path = registers[key].path(round: history.newest(key)) else { return true }
                    let reply = try await http.get(path)
                    last = "\(reply.status) \(reply.cache ?? "-") \(reply.text)"
                    guard let shown = registers[key].shown(by: reply, path: path) else { return false }
                    let newest = history.newest(key)
                    return shown.fits(state.round(of: registers[key], newest: newest) ?? 0, newest)
                }
            }
        }
    }
}
