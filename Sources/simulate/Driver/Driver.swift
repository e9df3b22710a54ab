import IPC
import IPCWire
import NIOCore
import SyncCore

/// Makes things happen: reads and writes, and every fault that the plan allows; then none any more.
// Unchecked: everything in a simulation runs on its one thread.
final class Driver: @unchecked Sendable {
    let world: World
    let plan: Plan
    let oracle: Oracle
    let database: Database
    let cluster: Cluster?
    private(set) var hosts: [Host] = []
    private var isCalm = false
    private var workerNumbers = 0
    private let actions: [(Plan.Action, upTo: Int)]
    private var lastSources: [ObjectIdentifier: CacheSource] = [:]
    var calmHits = 0

    init(world: World, plan: Plan) {
        self.world = world
        self.plan = plan
        oracle = Oracle(world: world, plan: plan)
        database = Database(world: world, plan: plan)
        cluster = plan.isEmbedded ? nil : Cluster(world: world, plan: plan)
        oracle.cluster = cluster
        var sum = 0
        actions = Plan.Action.allCases.compactMap { action in
            guard let weight = plan.weights[action] else { return nil }
            sum += weight
            return (action, sum)
        }
        database.landed = { [unowned self] in landed($0) }
        hosts = (0..<plan.hosts).map { Host(world: world, plan: plan, index: $0) }
        for host in hosts {
            host.startSyncd(oracle: oracle, cluster: cluster)
            for number in 0..<plan.workersPerHost { startWorker(number, on: host) }
        }
        world.afterStep = { [unowned self] in checkStep() }
        act()
    }

    private func startWorker(_ number: Int, on host: Host) {
        workerNumbers += 1
        let worker = SimulatedWorker(
            host: host, number: number, name: "worker\(host.index).\(number).\(workerNumbers)", oracle: oracle)
        if number < host.workers.count { host.workers[number] = worker } else { host.workers.append(worker) }
        world.after(0, worker, "worker starts") { worker.start() }
    }

    // MARK: Reads and writes

    func read(_ key: Int, on worker: SimulatedWorker) {
        world.run(worker) {
            Task { [self] in
                guard let cache = worker.cache else { return }
                let read = oracle.readBegan(key, on: worker)
                do {
                    let result = try await cache.value(
                        for: oracle.names.keys[key], tags: oracle.names.tags[key],
                        ttl: .milliseconds(Int64(plan.ttlMilliseconds))
                    ) { [self] in
                        worker.loadBegan(read, key)
                        defer { worker.loadEnded(key) }
                        return try await database.load(key, for: worker)
                    }
                    oracle.readEnded(read, result, on: worker)
                    note(result.source, worker)
                } catch {
                    oracle.figures.add("reads that failed with the database")
                }
            }
        }
    }

    private func note(_ source: CacheSource, _ worker: SimulatedWorker) {
        if isCalm, source == .l1 || source == .l2 { calmHits += 1 }
        lastSources[ObjectIdentifier(worker)] = source
        let living = hosts.flatMap(\.workers).filter(\.isAlive)
        if source == .bypass, living.allSatisfy({ lastSources[ObjectIdentifier($0)] == .bypass }) {
            oracle.figures.add("goal: all workers read the database")
        }
        let host = worker.host
        if source != .l1, worker.isConnected, host.table.state == .attached,
            !TagTable.isWithin(world.now, of: host.table.beat, TrustTiming.trustWindowNanoseconds)
        {
            oracle.figures.add("goal: L1 not believed for an old beat while connected")
        }
    }

    private func tags(for key: Int) -> [ByteBuffer] {
        let reaching = oracle.names.reaching[key]
        let chosen = world.random.below(8)
        if chosen < 4 { return [reaching[1]] }
        if chosen == 4 { return [reaching[1], reaching[0]] }
        return [reaching[chosen - 5 == 3 ? 3 : chosen - 5]]
    }

    func write(
        _ key: Int, on worker: SimulatedWorker, readsAfterwards: Bool = false,
        afterwards: @escaping @Sendable () -> Void = {}
    ) {
        let tags = tags(for: key)
        let hasEvent = world.random.oneIn(2)
        world.run(worker) {
            Task { [self] in
                guard let cache = worker.cache else { return }
                let write = Database.Write(key: key, worker: worker)
                worker.writes.append(write)
                let interruptions = worker.interruptions
                let host = worker.host
                let (begin, journal) = (world.now, host.journal)
                var versionAtEnd: UInt64?
                do {
                    versionAtEnd = try await cache.invalidating(tags) { [self] in
                        try await database.carryOut(write)
                        let event = Event(channel: ByteBuffer(string: "events"), payload: ByteBuffer(string: "x"))
                        return .changed(write.version, event: hasEvent ? event : nil)
                    }
                } catch {
                    oracle.figures.add("writes that threw")
                    versionAtEnd = write.versionAtEnd
                }
                if worker.interruptions == interruptions, let ended = write.endedAt {
                    oracle.writeTook(world.now - ended, on: worker)
                }
                if let versionAtEnd {
                    // Without a journal, only what syncd took is sure to outlive it.
                    let isRecorded = host.journalFaultsUntil < begin && host.journal === journal
                    let version = isRecorded ? versionAtEnd : min(versionAtEnd, oracle.coveredVersion(key))
                    oracle.acknowledged(key, version: version, on: worker)
                }
                worker.writes.removeAll { $0 === write }
                world.after(0, nil, "after a write", afterwards)
                guard readsAfterwards || world.random.oneIn(3) else { return }
                world.after(world.random.number(0...500_000), nil, "read after a write") { [self] in
                    for reader in host.workers where reader.isAlive && !reader.isStopped { read(key, on: reader) }
                }
            }
        }
    }

    private func invalidate(_ key: Int, on worker: SimulatedWorker) {
        let tags = tags(for: key)
        world.run(worker) {
            Task {
                try? await worker.cache?.invalidating(tags) { WriteResult.changed((), event: nil) }
            }
        }
    }

    private func landed(_ write: Database.Write) {
        guard let version = write.version else { return }
        oracle.wrote(write.key, version: version)
        if write.endedAt == nil { write.versionAtEnd = version }
        // Nobody is there any more to say so: the journal has to.
        if write.endedAt != nil || !write.worker.isAlive { promise(write, version) }
    }

    /// Promise 4, where nothing takes its ground away.
    private func promise(_ write: Database.Write, _ version: UInt64) {
        let journalFaults: [Plan.Action] = [.fillJournal, .closeJournal, .wipeDirectory]
        guard journalFaults.allSatisfy({ plan.weights[$0] == nil }) else { return }
        oracle.figures.add("writes without a living writer")
        oracle.promise(
            write.key, version: version, from: world.now + plan.limits.orphanNanoseconds + Self.collecting,
            on: write.worker.host.index)
    }

    /// A beat, the trust window after it, and an append.
    private static let collecting: UInt64 = 1_500_000_000

    // MARK: Faults

    private func act() {
        world.after(world.random.number(0...2 * plan.pace), nil, "act") { [self] in
            guard !isCalm else { return }
            choose()
            act()
        }
    }

    private func choose() {
        guard let total = actions.last?.upTo else { return }
        let number = world.random.below(total)
        guard let (action, _) = actions.first(where: { number < $0.upTo }) else { return }
        perform(action)
    }

    private var anyHost: Host { hosts[world.random.below(hosts.count)] }
    private var anyWorker: SimulatedWorker? {
        let worker = world.random.element(anyHost.workers)
        return worker.flatMap { $0.isAlive && !$0.isStopped ? $0 : nil }
    }
    private var anyKey: Int { world.random.below(plan.keys) }

    /// From 1 ms to the longest, more often short.
    private var duration: UInt64 {
        let longest = plan.longestStop
        return world.random.oneIn(2)
            ? world.random.number(1_000_000...longest / 8) : world.random.number(longest / 8...longest)
    }

    private func perform(_ action: Plan.Action) {
        if action.group > 0 { world.trace("fault", nil, UInt64(Plan.Action.allCases.firstIndex(of: action) ?? 0)) }
        switch action {
        case .read: if let worker = anyWorker { read(anyKey, on: worker) }
        case .burst:
            let key = anyKey
            for _ in 0..<6 { if let worker = anyWorker { read(key, on: worker) } }
        case .write: if let worker = anyWorker { write(anyKey, on: worker) }
        case .invalidate: if let worker = anyWorker { invalidate(anyKey, on: worker) }
        case .lateRead: lateRead()
        case .scenario: scenario()
        case .wakeRace: wakeRace()
        default: fault(action)
        }
    }

    /// A value is in every cache; a fault; a write, perhaps more of them, and reads everywhere once it is done.
    private func scenario() {
        let key = anyKey
        for worker in hosts.flatMap(\.workers) where worker.isAlive && !worker.isStopped { read(key, on: worker) }
        let delay = world.random.number(1_000_000...30_000_000)
        world.after(delay, nil, "fault of a scenario") { [self] in
            guard !isCalm else { return }
            let faults = actions.map(\.0).filter { $0.group > 0 }
            if let fault = world.random.element(faults) { perform(fault) }
        }
        for _ in 0...world.random.below(3) {
            world.after(delay + world.random.number(0...20_000_000), nil, "write of a scenario") { [self] in
                if let worker = anyWorker { write(key, on: worker, readsAfterwards: true) }
            }
        }
    }

    /// syncd sleeps while a write is acknowledged without it, and wakes up in the middle of a read.
    private func wakeRace() {
        let host = anyHost
        let key = anyKey
        guard let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, let writer = anyWorker, writer.host === host
        else { return }
        let readers = host.workers.filter { $0 !== writer && $0.isAlive && !$0.isStopped }
        for reader in readers { read(key, on: reader) }
        let areReadersAsleep = world.random.oneIn(3)
        world.after(world.random.number(5_000_000...100_000_000), nil, "syncd falls asleep") { [self] in
            guard !isCalm, !syncd.isOnStack, writer.isAlive, !writer.isStopped else { return }
            syncd.stop()
            if areReadersAsleep { for reader in readers where !reader.isOnStack { reader.stop() } }
            write(key, on: writer) { [self] in
                for reader in readers where reader.isAlive && !reader.isOnStack {
                    reader.proceed()
                    if !areReadersAsleep { reader.clockCallsToPause = max(0, world.random.below(5) - 2) }
                    read(key, on: reader)
                }
                world.after(world.random.number(0...2_000_000), nil, "syncd wakes up") { syncd.proceed() }
            }
        }
        oracle.figures.add("syncd asleep during a write")
        // Whatever came of the write.
        world.after(6_000_000_000, nil, "all wake up") {
            for process: Process in readers + [syncd] where !process.isOnStack { process.proceed() }
        }
    }

    /// Stops syncd, and reads when the table is believed for the last few milliseconds.
    private func lateRead() {
        let host = anyHost
        guard let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, host.table.state == .attached else { return }
        stop(syncd, "syncd stopped")
        let edge = host.table.beat + TrustTiming.trustWindowNanoseconds
        for worker in host.workers {
            world.at(edge - world.random.number(0...9_000_000), nil, "late read") { [self] in
                if worker.isAlive, !worker.isStopped { read(anyKey, on: worker) }
            }
        }
    }

    private func stop(_ process: Process, _ name: String) {
        guard process.isAlive, !process.isStopped, !process.isOnStack else { return }
        oracle.figures.add("fault: \(name)")
        process.stop()
        world.after(duration, nil, "continue") { if !process.isOnStack { process.proceed() } }
    }

    private func kill(_ process: Process?, _ name: String) {
        guard let process, process.isAlive, !process.isOnStack else { return }
        oracle.figures.add("fault: \(name)")
        process.kill()
        if let worker = process as? SimulatedWorker {
            for write in worker.writes { if let version = write.version { promise(write, version) } }
        }
    }

    private func fault(_ action: Plan.Action) {
        let host = anyHost
        switch action {
        case .killWorker: kill(world.random.element(host.workers), "worker killed")
        case .stopWorker: if let worker = world.random.element(host.workers) { stop(worker, "worker stopped") }
        case .restartWorker:
            if let dead = host.workers.first(where: { !$0.isAlive }) { startWorker(dead.number, on: host) }
        case .killSyncd: kill(host.syncd, "syncd killed")
        case .stopSyncd: if let syncd = host.syncd { stop(syncd, "syncd stopped") }
        case .restartSyncd:
            if host.startSyncd(oracle: oracle, cluster: cluster) { oracle.figures.add("syncd started again") }
        case .duplicateSyncd:
            if !host.startSyncd(oracle: oracle, cluster: cluster) { oracle.figures.add("fault: second syncd refused") }
        case .wipeDirectory:
            guard let syncd = host.syncd, !syncd.isAlive else { return }
            oracle.figures.add("fault: runtime directory wiped")
            host.wipe()
            if cluster != nil { oracle.lostJournal(of: host.index) }
        case .fillJournal, .closeJournal:
            let journal = host.journal
            let end = duration
            host.journalFaultsUntil = max(host.journalFaultsUntil, world.now + end)
            oracle.figures.add(action == .fillJournal ? "fault: journal full" : "fault: journal not usable")
            if action == .fillJournal { journal.isFull = true } else { journal.isClosed = true }
            world.after(end, nil, "journal usable") {
                if action == .fillJournal { journal.isFull = false } else { journal.isClosed = false }
            }
        default: if let cluster { redisFault(action, host, cluster) }
        }
    }

    private func redisFault(_ action: Plan.Action, _ host: Host, _ cluster: Cluster) {
        let server = cluster.primary
        oracle.figures.add("fault: \(action.rawValue)")
        switch action {
        case .cut, .cutRequests, .cutAnswers:
            let end = world.now + duration
            if action != .cutAnswers { host.network.requestsHeldUntil = end }
            if action != .cutRequests { host.network.answersHeldUntil = end }
        case .dropCommands: server.dropConnections { !server.isSubscriber($0) }
        case .dropSubscription: server.dropConnections { server.isSubscriber($0) }
        case .stopRedis: stop(server, "Redis stopped")
        case .restartRedis, .loseRedis:
            guard server.isAlive else { return }
            let saved = action == .loseRedis ? nil : world.random.oneIn(2) ? server.data : cluster.savedData
            server.kill()
            world.after(duration / 4, nil, "Redis starts") { if !cluster.primary.isAlive { cluster.restart(saved) } }
        case .failOver, .splitBrain:
            guard server.isAlive else { return }
            if cluster.lag > 0 { oracle.figures.add("goal: failover lost an acknowledged entry") }
            cluster.failOver(splitFor: action == .splitBrain ? duration : nil)
        case .demote: break
        case .flushAll: server.data.flushAll()
        case .deleteKey:
            switch world.random.below(3) {
            case 0: server.data.record = .missing
            case 1: server.data.position = .missing
            default: server.data.stream = .missing
            }
        case .damageKey:
            switch world.random.below(4) {
            case 0: server.data.record = world.random.oneIn(2) ? .other : .text("nonsense")
            case 1: server.data.position = .other
            case 2: server.data.position = .text("12x")
            default: server.data.stream = .other
            }
        case .trim: server.data.trim(to: world.random.below(4))
        case .deleteEntry: server.data.deleteEntry(at: world.random.below(max(1, server.data.entryCount)))
        case .goBack:
            let values = server.data.values
            server.data = cluster.savedData
            server.data.values = values
            oracle.rewound()
        case .evictValues: server.data.values = [:]
        case .refuseWrites, .refuseAll:
            server.refusal = action == .refuseWrites ? .writes : world.random.oneIn(2) ? .everything : .connections
            world.after(duration, nil, "no refusal") { server.refusal = nil }
        default: break
        }
    }

    // MARK: Calm

    /// Ends all faults: everything that is dead or stopped comes back.
    func calmDown() {
        isCalm = true
        world.areFaultsOver = true
        world.trace("faults end")
        if let cluster {
            cluster.settle()
            if !cluster.primary.isAlive { cluster.restart(cluster.savedData) }
            cluster.primary.proceed()
            cluster.primary.refusal = nil
        }
        for host in hosts {
            host.network.heal()
            host.journal.isFull = false
            host.journal.isClosed = false
            host.syncd?.proceed()
            host.startSyncd(oracle: oracle, cluster: cluster)
            for worker in host.workers {
                if worker.isAlive { worker.proceed() } else { startWorker(worker.number, on: host) }
            }
        }
    }

    /// Reads everywhere, now and then.
    func readEverywhere(every interval: UInt64, until end: UInt64) {
        world.after(interval, nil, "calm reads") { [self] in
            for worker in hosts.flatMap(\.workers) { read(anyKey, on: worker) }
            if world.now < end { readEverywhere(every: interval, until: end) }
        }
    }

    /// What must be true when faults have been over for some time.
    func checkCalm() {
        for host in hosts {
            guard let syncd = host.syncd, syncd.isAlive else { return oracle.fail("liveness: syncd is not there") }
            oracle.check(syncd.state == .attached, "liveness: \(syncd.name) is attached")
            oracle.check(syncd.figure("log", "owed") == 0, "liveness: nothing is owed by \(syncd.name)")
            oracle.check(syncd.figure("cache", "waiters") == 0, "liveness: nobody waits at \(syncd.name)")
            oracle.check(syncd.figure("cache", "leases") == 0, "liveness: no lease is left at \(syncd.name)")
            if let cluster {
                oracle.check(syncd.upstream?.server === cluster.primary, "liveness: \(syncd.name) is at the primary")
            }
            oracle.check(
                plan.weights[.closeJournal] != nil || host.journal.fileCount == 0,
                "liveness: journal files are left: \(((try? host.journal.names()) ?? []).prefix(5).joined(separator: " "))"
            )
            for worker in host.workers {
                let status = worker.cache?.status
                oracle.check(status?.sync == .attached, "liveness: \(worker.name) is attached")
                oracle.check(worker.cache?.waitingCount == 0, "liveness: nobody waits in \(worker.name)")
            }
        }
        oracle.check(calmHits > 0, "liveness: reads are answered from cache again")
    }

    private func checkStep() {
        for host in hosts { if let syncd = host.syncd { oracle.checkGap(syncd) } }
    }
}
