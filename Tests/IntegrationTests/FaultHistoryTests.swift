import Foundation
import TestSupport
import Testing

/// Two hosts with their workers on one Redis and one MongoDB, real requests, and faults at random, one or two at once.
///
/// `make faults TIME=600` runs it for ten minutes; in `make test` it is short.
@Suite(.processes) struct FaultHistoryTests {
    private struct FaultyHost: Sendable {
        let index: Int
        let proxy: RedisProxy
        let syncd: SyncdProcess
        let workers: [WorkerProcess]
    }

    private struct Stage: Sendable {
        let redis: RedisServer
        let mongo: MongoServer
        let hosts: [FaultyHost]
        let users: [String]
        let history: FaultHistory

        var transcript: String { hosts.map { $0.syncd.transcript + $0.workers.map(\.transcript).joined() }.joined() }
    }

    /// What can go wrong. Each returns when it is over.
    private enum Fault: String, CaseIterable, Sendable {
        case killSyncd, stopSyncd, killWorker, stopWorker
        case cutRedis, stallRedis, killConnections
        case killRedis, stopRedis, sleepRedis, flushRedis, trimLog, forgetScripts, refuseWrites
        case stopMongo

        /// Whether it is of one host.
        var isLocal: Bool {
            switch self {
            case .killSyncd, .stopSyncd, .killWorker, .stopWorker, .cutRedis, .stallRedis: true
            default: false
            }
        }
    }

    private static let seconds = ProcessInfo.processInfo.environment["FAULT_SECONDS"].flatMap { Int($0) } ?? 25
    private static let keys = 6

    @Test func `whatever fails, nobody reads less than what was acknowledged`() async throws {
        let stage = try await start()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for key in stage.users.indices { group.addTask { await write(key, stage) } }
            for host in stage.hosts {
                for worker in host.workers { group.addTask { await read(worker, host, stage) } }
            }
            for _ in 0..<2 { group.addTask { try await harm(stage) } }
            let end = ContinuousClock.now + .seconds(Self.seconds)
            await eventually("time is over", within: .seconds(Self.seconds + 5)) { ContinuousClock.now >= end }
            stage.history.end()
            try await group.waitForAll()
        }
        print("faults for \(Self.seconds) s:\n\(stage.history.summary)")
        #expect(stage.history.stale.isEmpty, "\(stage.history.stale.prefix(5))\n\(stage.transcript)")
        #expect(stage.history.failures.isEmpty, "\(stage.history.failures.prefix(5))\n\(stage.transcript)")
        #expect(stage.history.counts.reads > 100 && stage.history.counts.writes > 10)
        #expect(stage.history.count("L1") > 0 && stage.history.count("BYPASS") > 0)
        // When faults are over everything is as it was.
        for host in stage.hosts {
            for worker in host.workers {
                let http = try HTTPConnection(port: worker.portNumber)
                try await eventually("attached again", within: .seconds(20), details: { stage.transcript }) {
                    try await http.get("/").json["sync"].string == "attached"
                }
            }
            await eventually("nothing is owed", within: .seconds(20), details: { host.syncd.transcript }) {
                host.syncd.directory.names(in: "journal").allSatisfy { $0.hasSuffix(".lock") }
            }
        }
    }

    @Test func `the history notices what is too old`() {
        let history = FaultHistory(hosts: 2, keys: 1)
        history.acknowledged(0, version: 5, on: 0)
        let own = history.readBegins(0, on: 0)
        let other = history.readBegins(0, on: 1)
        history.acknowledged(0, version: 6, on: 0)
        history.readEnded(own, version: 5, source: "L1", worker: "w")
        history.readEnded(other, version: 1, source: "L1", worker: "w")
        #expect(history.stale.isEmpty, "6 came later, and another host has time")
        history.readEnded(own, version: 4, source: "L1", worker: "w")
        #expect(history.stale == ["w read 4 of key 0 from L1; its host had 5"])
    }

    private func start() async throws -> Stage {
        let redis = try await RedisServer()
        let mongo = try await MongoServer()
        let database = MongoServer.newDatabaseName()
        var hosts: [FaultyHost] = []
        for index in 0..<2 {
            let proxy = try await RedisProxy(redis)
            let syncd = try await SyncdProcess(environment: ["REDIS_ENABLED": "true", "REDIS_URL": proxy.url])
            try await syncd.waitUntilAttached()
            var workers: [WorkerProcess] = []
            for _ in 0..<2 {
                workers.append(
                    try await WorkerProcess(
                        port: ReservedPort(), database: mongo.url(database: database), socketPath: syncd.socketPath,
                        environment: ["WORKER_AUDIT_ONE_IN": "50"]))
            }
            hosts.append(FaultyHost(index: index, proxy: proxy, syncd: syncd, workers: workers))
        }
        let http = try HTTPConnection(port: hosts[0].workers[0].portNumber)
        var users: [String] = []
        for number in 0..<Self.keys {
            let id = try await TestHost.createUser(http, "user \(number)")
            let reply = try await http.request("PUT", "/api/users/\(id)", body: #"{"position":{"x":1,"y":0}}"#)
            #expect(reply.status == 200)
            users.append(id)
        }
        let history = FaultHistory(hosts: hosts.count, keys: users.count)
        for key in users.indices { history.acknowledged(key, version: 1, on: 0) }
        return Stage(redis: redis, mongo: mongo, hosts: hosts, users: users, history: history)
    }

    // MARK: Load

    private func pause(_ milliseconds: ClosedRange<Int>) async {
        try? await Task.sleep(for: .milliseconds(Int.random(in: milliseconds)))
    }

    /// One writer per key: versions rise.
    private func write(_ key: Int, _ stage: Stage) async {
        var version = 1
        while !stage.history.isOver {
            await pause(0...300)
            version += 1
            guard let host = stage.hosts.randomElement(), let worker = host.workers.randomElement() else { return }
            let life = stage.history.life(ofWorkerAt: worker.portNumber)
            do {
                let http = try HTTPConnection(port: worker.portNumber)
                let reply = try await http.request(
                    "PUT", "/api/users/\(stage.users[key])", body: #"{"position":{"x":\#(version),"y":0}}"#)
                switch reply.status {
                case 200: stage.history.acknowledged(key, version: version, on: host.index)
                case 503:
                    stage.history.wasUnavailable()
                    // It may still land: no other write until it cannot any more.
                    await settle(stage)
                default: stage.history.failed("PUT: \(reply.status) \(reply.text)")
                }
            } catch {
                if hasLived(worker, since: life, stage) {
                    stage.history.failed("PUT to a living worker: \(error)")
                }
                stage.history.unknownOutcome()
                await settle(stage)
            }
        }
    }

    /// Whether a worker was there all the time: then nothing may fail.
    private func hasLived(_ worker: WorkerProcess, since life: Int, _ stage: Stage) -> Bool {
        life % 2 == 0 && stage.history.life(ofWorkerAt: worker.portNumber) == life
    }

    /// Longer than a write can take that nobody waits for.
    private func settle(_ stage: Stage) async { await pause(3000...3500) }

    private func read(_ worker: WorkerProcess, _ host: FaultyHost, _ stage: Stage) async {
        var connection: (http: HTTPConnection, life: Int)?
        while !stage.history.isOver {
            let key = Int.random(in: 0..<stage.users.count)
            let life = stage.history.life(ofWorkerAt: worker.portNumber)
            do {
                if connection == nil || connection?.life != life {
                    connection = (try HTTPConnection(port: worker.portNumber), life)
                }
                guard let http = connection?.http else { continue }
                let read = stage.history.readBegins(key, on: host.index)
                let isList = Int.random(in: 0..<8) == 0
                let reply = try await http.get(isList ? "/api/users" : "/api/users/\(stage.users[key])")
                switch reply.status {
                case 200:
                    let user =
                        isList
                        ? reply.json.array?.first { $0["_id"].string == stage.users[key] } : reply.json
                    stage.history.readEnded(
                        read, version: Int(user?["position"]["x"].number ?? 0), source: reply.cache ?? "-",
                        worker: "worker \(worker.pid)")
                case 503: stage.history.wasUnavailable()
                default: stage.history.failed("GET: \(reply.status) \(reply.text)")
                }
            } catch {
                connection = nil
                if hasLived(worker, since: life, stage) {
                    stage.history.failed("GET from a living worker: \(error)")
                }
                await pause(10...50)
            }
            await pause(0...5)
        }
    }

    // MARK: Harm

    private func harm(_ stage: Stage) async throws {
        while !stage.history.isOver {
            await pause(100...1500)
            guard let fault = Fault.allCases.randomElement(), let host = stage.hosts.randomElement() else { return }
            let place = fault.isLocal ? host.index : nil
            stage.history.faultBegan(fault.rawValue, host: place)
            // Two of one kind in one place at once would undo each other.
            try await Self.turns.run(fault.isLocal ? "\(host.index)" : "shared") { try await cause(fault, host, stage) }
            stage.history.faultEnded(host: place)
        }
    }

    /// One at a time in each place.
    private actor Turns {
        private var last: [String: Task<Void, any Error>] = [:]

        func run(_ place: String, _ body: @escaping @Sendable () async throws -> Void) async throws {
            let before = last[place]
            let task = Task {
                _ = await before?.result
                try await body()
            }
            last[place] = task
            try await task.value
        }
    }

    private static let turns = Turns()

    private func cause(_ fault: Fault, _ host: FaultyHost, _ stage: Stage) async throws {
        let redis = stage.redis
        switch fault {
        case .killSyncd:
            host.syncd.kill()
            await pause(0...2500)
            try await host.syncd.start()
        case .stopSyncd:
            host.syncd.pause()
            await pause(200...3000)
            host.syncd.resume()
        case .killWorker:
            guard let worker = host.workers.randomElement() else { return }
            stage.history.lifeChanged(ofWorkerAt: worker.portNumber)
            worker.kill()
            await pause(0...500)
            try await worker.restart()
            stage.history.lifeChanged(ofWorkerAt: worker.portNumber)
        case .stopWorker:
            guard let worker = host.workers.randomElement() else { return }
            worker.pause()
            await pause(200...3000)
            worker.resume()
        case .cutRedis:
            try await host.proxy.cut()
            await pause(100...3000)
            host.proxy.heal()
        case .stallRedis:
            host.proxy.stall()
            await pause(100...4000)
            try await host.proxy.resume()
        case .killConnections:
            _ = try? await redis.command("CLIENT", "KILL", "TYPE", Bool.random() ? "normal" : "pubsub")
        case .killRedis:
            if Bool.random() { _ = try? await redis.command("SAVE") }
            await pause(0...200)
            redis.kill()
            await pause(0...1500)
            try await redis.start()
        case .stopRedis:
            redis.pause()
            await pause(200...3500)
            redis.resume()
        case .sleepRedis: _ = try? await redis.command("DEBUG", "SLEEP", "1")
        case .flushRedis: _ = try? await redis.command("FLUSHALL")
        case .trimLog: _ = try? await redis.command("XTRIM", "{syncd}:stream", "MAXLEN", "\(Int.random(in: 0...3))")
        case .forgetScripts: _ = try? await redis.command("SCRIPT", "FLUSH")
        case .refuseWrites:
            _ = try? await redis.command("CONFIG", "SET", "maxmemory", "1")
            await pause(200...2000)
            _ = try? await redis.command("CONFIG", "SET", "maxmemory", "0")
        case .stopMongo:
            stage.mongo.pause()
            await pause(100...2500)
            stage.mongo.resume()
        }
    }
}
