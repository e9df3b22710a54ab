import IPC
import IPCWire
import NIOCore
import SyncCore

/// Drives the world: reads and writes, and every fault that the plan allows; then no more faults.
// Unchecked: everything in a simulation runs on its one thread.
final class Driver: @unchecked Sendable {
    let world: World
    let plan: Plan
    let oracle: Oracle
    let database: Database
    let cluster: Cluster?
    private(set) var hosts: [Host] = []
    /// The plain clients: one per host, in some worlds.
    private(set) var plainClients: [PlainClient] = []
    var isCalm = false
    private var workerNumbers = 0
    let actions: [(Plan.Action, upTo: Int)]
    private var lastSources: [ObjectIdentifier: CacheSource] = [:]
    var calmHits = 0
    var lastRead = BootTime.max
    private var quietUntil: BootTime = 0
    /// The last written or intended content of each key.
    var lastContents: [Int: Int] = [:]

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
        database.landed = { [unowned self] in landed($0, $1) }
        database.rolledBack = { [unowned self] in rolledBack($0, $1, $2) }
        if plan.hasFeed {
            database.noted = { [unowned self] in oracle.changed($0, $1) }
            database.undone = { [unowned self] in oracle.undo($0) }
        }
        hosts = (0..<plan.hosts).map { Host(world: world, plan: plan, index: $0, oracle: oracle) }
        oracle.tables = { [unowned self] in hosts.map(\.table) }
        for host in hosts {
            host.startSyncd(cluster: cluster)
            for number in 0..<plan.workersPerHost { startWorker(number, on: host) }
            if plan.hasPlainClients { plainClients.append(PlainClient(host: host, oracle: oracle, database: database)) }
        }
        world.afterStep = { [unowned self] in checkStep() }
        act()
    }

    func startWorker(_ number: Int, on host: Host) {
        workerNumbers += 1
        let worker = SimulatedWorker(
            host: host, number: number, name: "worker\(host.index).\(number).\(workerNumbers)", oracle: oracle,
            database: database)
        if number < host.workers.count { host.workers[number] = worker } else { host.workers.append(worker) }
        world.after(0, worker, "worker starts") { worker.start() }
    }

    // MARK: Reads

    func read(_ key: Int, on worker: SimulatedWorker, after written: WrittenVersion? = nil) {
        read([key], named: oracle.names.keys[key], oracle.names.tags[key], place: key, on: worker, after: written) {
            [self] in
            try await database.load(key, for: worker)
        }
    }

    /// Reads soon after a write, on any host, by clients that bring its position.
    func readAnywhere(after position: SyncPosition, _ versions: [(key: Int, version: UInt64)]) {
        guard world.random.oneIn(2) else { return }
        let time = world.now
        for latest: UInt64 in [100_000, 5_000_000, 2_000_000_000] {
            world.after(world.random.number(0...latest), nil, "read with a position") { [self] in
                guard world.now < lastRead, let part = world.random.element(versions) else { return }
                let written = WrittenVersion(position: position, version: part.version, time: time)
                if let client = world.random.element(plainClients), world.random.oneIn(3) {
                    client.read(part.key, after: written)
                } else if let worker = anyWorker {
                    read(part.key, on: worker, after: written)
                }
            }
        }
    }

    /// A value that is made of this document and the next.
    func readPair(_ pair: Int, on worker: SimulatedWorker) {
        let (names, keys) = (oracle.names, [pair, pair + 1])
        read(keys, named: names.pairs[pair], names.pairTags[pair], place: plan.keys + pair, on: worker) { [self] in
            try await database.load(both: keys, for: worker)
        }
    }

    /// `place`: a number for the entry.
    private func read(
        _ keys: [Int], named name: CacheKey, _ tags: [CacheTag], place: Int, on worker: SimulatedWorker,
        after written: WrittenVersion? = nil, load: @escaping @Sendable () async throws -> ByteBuffer?
    ) {
        world.run(worker) {
            Task { [self] in
                guard let cache = worker.cache else { return }
                let (reads, ended) = (keys.map { oracle.readBegan($0, on: worker, after: written) }, Flag())
                do {
                    let result = try await cache.value(
                        for: name, tags: tags, ttl: .milliseconds(Int64(plan.ttlMilliseconds)), after: written?.position
                    ) { [self] in
                        // The read may be over, and its load may run in the background.
                        guard !ended.isSet else {
                            oracle.figures.add("loads in the background")
                            return try await load()
                        }
                        worker.loadBegan(reads[0], place)
                        defer { worker.loadEnded(place) }
                        return try await load()
                    }
                    ended.isSet = true
                    if reads.count == 1 {
                        oracle.readEnded(reads[0], result, on: worker)
                    } else {
                        oracle.readEnded(reads, result, on: worker)
                    }
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
            !TagTable.isWithin(world.now, of: host.table.heartbeat, TrustTiming.trustWindowNanoseconds)
        {
            oracle.figures.add("goal: L1 not believed for an old heartbeat while connected")
        }
    }

    /// Reads at every living reader of a host. No reads any more when the world has to come to rest.
    func readEverywhere(_ key: Int, on host: Host) {
        guard world.now < lastRead else { return }
        for reader in host.workers where reader.isAlive && !reader.isStopped { read(key, on: reader) }
        if plan.keys > 1, world.random.oneIn(3) {
            let pair = min(key, plan.keys - 2)
            for reader in host.workers where reader.isAlive && !reader.isStopped { readPair(pair, on: reader) }
        }
        for client in plainClients where client.host === host { client.read(key) }
    }

    // MARK: Faults

    private func act() {
        world.after(world.random.number(0...2 * plan.pace), nil, "act") { [self] in
            guard !isCalm else { return }
            if world.now >= quietUntil { choose() }
            act()
        }
    }

    /// Suspends other actions, which would often prevent a race.
    func beQuiet(for duration: UInt64, always: Bool = false) {
        if always || world.random.oneIn(2) { quietUntil = max(quietUntil, world.now + duration) }
    }

    private func choose() {
        guard let total = actions.last?.upTo else { return }
        let number = world.random.below(total)
        guard let (action, _) = actions.first(where: { number < $0.upTo }) else { return }
        perform(action)
    }

    var anyHost: Host { hosts[world.random.below(hosts.count)] }
    var anyWorker: SimulatedWorker? {
        let worker = world.random.element(anyHost.workers)
        return worker.flatMap { $0.isAlive && !$0.isStopped ? $0 : nil }
    }
    var anyKey: Int { world.random.below(plan.keys) }

    /// A random duration, from 1 ms to the longest, more often short.
    var duration: UInt64 {
        let longest = plan.longestStop
        return world.random.oneIn(2)
            ? world.random.number(1_000_000...longest / 8) : world.random.number(longest / 8...longest)
    }

    func perform(_ action: Plan.Action) {
        if action.group > 0 { world.trace("fault", nil, UInt64(Plan.Action.allCases.firstIndex(of: action) ?? 0)) }
        switch action {
        case .read:
            if let client = world.random.element(plainClients), world.random.oneIn(4) {
                client.read(anyKey)
            } else if let worker = anyWorker {
                read(anyKey, on: worker)
            }
        case .burst:
            let key = anyKey
            for _ in 0..<6 { if let worker = anyWorker { read(key, on: worker) } }
        case .readPair:
            if plan.keys > 1, let worker = anyWorker { readPair(world.random.below(plan.keys - 1), on: worker) }
        case .write: if let worker = anyWorker { write(anyKey, on: worker) }
        case .writeBoth: writeBoth()
        case .invalidate: if let worker = anyWorker { invalidate(anyKey, on: worker) }
        case .lateRead: lateRead()
        case .scenario: scenario()
        case .wakeRace: wakeRace()
        case .lateCut: lateCut()
        case .rewrittenLog: rewrittenLog()
        case .missedMuch: missedMuch()
        case .trimmedGap: trimmedGap()
        case .lostAnswer: lostAnswer()
        case .lostTail: lostTail()
        case .lostLog: lostLog()
        case .newTable: newTable()
        case .longPass: longPass()
        case .attaching: writesWhileAttaching()
        case .lateOrphan: lateOrphan()
        case .slowPages: slowPages()
        case .splitLog: splitLog()
        case .idleRead: idleRead()
        case .equalWrites: equalWrites()
        case .lateTransaction: lateTransaction()
        case .hungWriter: hungWriter()
        case .replacedJournal: replacedJournal()
        case .doubtWithoutJournal: doubtWithoutJournal()
        case .syncdStarts: syncdStarts()
        case .undeletableMarker: undeletableMarker()
        case .writeDirectly:
            let key = anyKey
            _ = database.writeDirectly(key)
            oracle.wrote(key, version: database.versions[key], by: nil)
        case .forgetChanges: database.forgetChanges()
        default: fault(action)
        }
    }

    private func checkStep() {
        for host in hosts { if let syncd = host.syncd { oracle.checkGap(syncd) } }
    }
}

/// A condition that becomes true.
// Unchecked: everything in a simulation runs on its one thread.
private final class Flag: @unchecked Sendable {
    var isSet = false
}
