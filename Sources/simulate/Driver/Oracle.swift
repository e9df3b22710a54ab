import EngineTesting
import IPC
import IPCWire
import NIOCore
import SyncCore

/// A broken promise.
struct Violation: Error {
    var what: String
    var key: Int
}

/// Compares the behaviour of the processes with the promises of docs/consistency.md. It sees the complete state of the
/// world.
// Unchecked: everything in a simulation runs on its one thread.
final class Oracle: @unchecked Sendable {
    let world: World
    let plan: Plan
    let names: Names
    var figures = Figures()
    private(set) var violation: Violation?
    var cluster: Cluster?

    /// Per host and key: the newest version whose write was acknowledged there.
    private var acknowledged: [[UInt64]]
    /// Per key: the times from which all hosts must know that everything up to a version is old.
    private var covered: [[(time: BootTime, version: UInt64, position: LogPosition)]]
    /// Per host and key: the version up to which its syncd has accepted invalidations.
    private var taken: [[UInt64]]
    /// Per key: the version in the database.
    private var landed: [UInt64]
    /// Per key: versions at which it did not exist.
    private var absent: [[UInt64]]
    /// Per key: versions that were rolled back.
    private var undone: [Set<UInt64>]
    /// Per host and key: the times from which no read on that host may return less, because it was written there
    /// before.
    private var promised: [[(time: BootTime, version: UInt64)]]
    /// All entries that any server ever accepted, per incarnation.
    private var ghost: [Incarnation: [LogPosition: LogEntry]] = [:]
    var hosts: [HostState]
    /// The tables of all hosts.
    var tables: () -> [TagTable] = { [] }
    /// Changes of the database that no entry of the log covers.
    var openChanges: [OpenChange] = []
    /// The last token that an embedded syncd has stored.
    var lastToken: UInt64 = 0
    private var rewoundAt: BootTime?
    private var nonces: Set<[UInt64]> = []

    struct HostState {
        var lastLease: LeaseID = 0
        var leases: [ByteBuffer: (id: LeaseID, holder: ClientID, endsAt: BootTime)] = [:]
        var fetches: [ClientID: [RequestID: ByteBuffer]] = [:]
        var tickets: [UInt64: ByteBuffer] = [:]
        var hasLostSubscription = false
        var epoch: Epoch = 0
        var incarnation = Incarnation.none
        var checked: LogPosition = 0
        var fills: [ClientID: [RequestID: Fill]] = [:]
        var invalidations: [ClientID: [RequestID: [(key: Int, version: UInt64)]]] = [:]
        var leaseAsOf: [LeaseID: LogPosition] = [:]
        var lostLink: (epoch: Epoch, at: BootTime)?
        var silentSince: BootTime?
        var closing = false
        /// When its journal was lost, and the versions that remained promised, per key.
        var losses: [(time: BootTime, acknowledged: [UInt64], promised: [UInt64])] = []
    }

    /// Keys and tags.
    struct Names {
        let keys: [CacheKey]
        let tags: [[CacheTag]]
        /// The group, the entry itself, its key, everything.
        let reaching: [[CacheTag]]
        /// Values that are made of two documents: of one and the next.
        let pairs: [CacheKey]
        let pairTags: [[CacheTag]]

        init(count: Int) {
            keys = (0..<count).map { "key\($0)" }
            tags = (0..<count).map { ["group\($0 % 2)", "tag\($0)"] }
            reaching = (0..<count).map { ["group\($0 % 2)", "tag\($0)", "=key\($0)", "*"] }
            pairs = (1..<max(1, count)).map { "pair\($0 - 1)" }
            let tags = tags
            pairTags = pairs.indices.map { tags[$0] + tags[$0 + 1] }
        }

        /// The tags to invalidate where the keys of a document's values are named instead of its tags.
        func entries(of key: Int) -> [CacheTag] {
            [key - 1, key].filter(pairs.indices.contains).map { "=pair\($0)" } + [reaching[key][2]]
        }

        /// Whether one of these tags of a log entry affects a document.
        func isReached(_ key: Int, by tags: [ByteBuffer]) -> Bool { reaching[key].contains { tags.contains($0.bytes) } }

        /// All tags of an entry, and the first document that it is made of.
        func entry(_ name: ByteBuffer) -> (key: Int, tags: [CacheTag])? {
            let name = CacheKey(name)
            if let key = keys.firstIndex(of: name) { return (key, reaching[key]) }
            return pairs.firstIndex(of: name).map { pair in
                (pair, pairTags[pair] + ["=pair\(pair)", "*"])
            }
        }
    }

    init(world: World, plan: Plan) {
        self.world = world
        self.plan = plan
        names = Names(count: plan.keys)
        acknowledged = Array(repeating: Array(repeating: 1, count: plan.keys), count: plan.hosts)
        covered = Array(repeating: [(0, 1, 0)], count: plan.keys)
        promised = Array(repeating: [], count: plan.hosts * plan.keys)
        landed = Array(repeating: 1, count: plan.keys)
        taken = acknowledged
        absent = Array(repeating: [], count: plan.keys)
        undone = Array(repeating: [], count: plan.keys)
        hosts = Array(repeating: HostState(), count: plan.hosts)
    }

    func fail(_ what: String, key: Int = -1) {
        guard violation == nil else { return }
        violation = Violation(what: what, key: key)
    }

    func check(_ condition: Bool, _ what: @autoclosure () -> String, key: Int = -1) {
        if !condition { fail("does not hold: " + what(), key: key) }
    }

    // MARK: Reads and writes

    /// A read, from its beginning.
    struct Read {
        var key: Int
        var begin: BootTime
        /// The oldest version that may be returned, from any source.
        var floor: UInt64
        var acrossFloor: UInt64
        var promisedFloor: UInt64
        /// The write whose position the read brings.
        var written: WrittenVersion?
        var interruptions: Int
        var silentSince: BootTime?
    }

    func readBegan(_ key: Int, on worker: Reader, after written: WrittenVersion? = nil) -> Read {
        let host = worker.host.index
        let trust = TrustTiming.upstreamTrustNanoseconds
        let limit = world.now.saturatingSubtract(trust)
        let across = covered[key].last { $0.time <= limit }?.version ?? 1
        return Read(
            key: key, begin: world.now, floor: acknowledged[host][key], acrossFloor: across,
            promisedFloor: promisedVersion(key, on: host), written: written, interruptions: worker.interruptions,
            silentSince: hosts[host].silentSince)
    }

    func readEnded(_ read: Read, _ result: CachedValue, on worker: Reader) {
        var version = absent[read.key].last ?? 0
        if let value = result.value {
            guard let number: UInt64 = value.getInteger(at: value.readerIndex),
                value == Database.value(number, of: read.key)
            else { return fail("no value of this key, from \(result.source.rawValue)", key: read.key) }
            version = number
        }
        readEnded(read, version, result.source, on: worker)
    }

    /// A value that is made of several documents.
    func readEnded(_ reads: [Read], _ result: CachedValue, on worker: Reader) {
        figures.add("values of two keys read")
        if result.source == .l1 { figures.add("goal: value of two keys read from L1") }
        var value = result.value ?? ByteBuffer()
        for read in reads {
            guard let version: UInt64 = value.readInteger() else { return fail("half of a value", key: read.key) }
            readEnded(read, version, result.source, on: worker)
        }
    }

    private func readEnded(_ read: Read, _ version: UInt64, _ source: CacheSource, on worker: Reader) {
        let key = read.key
        var read = read
        // Pending invalidations of a journal that was lost meanwhile are not promised any more, whatever was acknowledged
        // since.
        for loss in hosts[worker.host.index].losses where loss.time >= read.begin {
            read.floor = min(read.floor, loss.acknowledged[key])
            read.promisedFloor = min(read.promisedFloor, loss.promised[key])
        }
        figures.add("reads checked")
        figures.add("source \(source.rawValue)")
        let floor = max(read.floor, read.acrossFloor, read.promisedFloor)
        world.trace("read", worker, version, floor, key: key)
        check(
            version >= read.floor,
            "promise 1: \(worker.name) read version \(version) from \(source.rawValue), \(read.floor) was acknowledged on its host before",
            key: key)
        check(
            version >= read.acrossFloor,
            "promise 2: \(worker.name) read version \(version) from \(source.rawValue), \(read.acrossFloor) was invalidated more than 2 s before",
            key: key)
        check(
            version >= read.promisedFloor,
            "promise 4: \(worker.name) read version \(version) from \(source.rawValue), \(read.promisedFloor) was written on its host long before",
            key: key)
        checkPosition(of: read, version, source, on: worker)
        check(version <= landed[key], "\(worker.name) read version \(version), which was never written", key: key)
        if source == .l1 { l1Hit(on: worker) }
        if source == .l1 || source == .l2, undone[key].contains(version) {
            figures.add("goal: rolled-back value still cached")
        }
    }

    private func checkPosition(of read: Read, _ version: UInt64, _ source: CacheSource, on worker: Reader) {
        guard let written = read.written else { return }
        // Positions of a log that went back occur twice, until all hosts have noticed.
        if let time = rewoundAt, written.time <= time || read.begin <= time + TrustTiming.upstreamTrustNanoseconds {
            return
        }
        check(
            version >= written.version,
            "promise 9: \(worker.name) read version \(version) from \(source.rawValue), and brought the position of \(written.version)",
            key: read.key)
        if source == .l1 || source == .l2 { figures.add("goal: read with a position answered from cache") }
    }

    private func l1Hit(on worker: Reader) {
        let table = worker.host.table
        let age = world.now &- table.heartbeat
        if age <= TrustTiming.trustWindowNanoseconds, age > 990_000_000 {
            figures.add("goal: L1 hit in the last percent of the trust window")
        }
    }

    /// A read has ended. `waited`: its duration without the time of its own loads.
    func readTook(_ read: Read, waited: UInt64, on worker: SimulatedWorker) {
        guard worker.interruptions == read.interruptions, let since = read.silentSince,
            hosts[worker.host.index].silentSince == since, since < read.begin
        else { return }
        let limit = TrustTiming.silenceNanoseconds + slack
        check(
            waited <= limit,
            "promise 6: a read of \(worker.name) waited \(waited / 1_000_000) ms for a silent syncd", key: read.key)
        figures.add("reads with a silent syncd")
    }

    /// Additional time for delays of sockets and scheduling.
    var slack: UInt64 { 4 * plan.socketDelay.upperBound + 50_000_000 }

    /// `isAlone`: no trusted heartbeat can have missed the record of the write. `isRecorded`: the record could be used all
    /// the time.
    func writeTook(_ nanoseconds: UInt64, on worker: SimulatedWorker, isAlone: Bool, isRecorded: Bool) {
        if isAlone { figures.add("goal: write at once without syncd") }
        let windows = TrustTiming.trustWindowNanoseconds * (isRecorded ? 1 : 2)
        let wait = isAlone ? 0 : TrustTiming.silenceNanoseconds + windows
        let limit = wait + slack
        check(nanoseconds <= limit, "promise 6: a write of \(worker.name) waited \(nanoseconds / 1_000_000) ms")
    }

    func wrote(_ key: Int, version: UInt64, by worker: Reader?) {
        landed[key] = version
        if Database.isAbsent(version) { absent[key].append(version) }
        world.trace("landed", worker, version, key: key)
    }

    /// The last write of the register was rolled back.
    func rolledBack(_ key: Int, version: UInt64) {
        undone[key].insert(landed[key])
        wrote(key, version: version, by: nil)
    }

    func acknowledged(_ key: Int, version: UInt64, on worker: SimulatedWorker) {
        figures.add("writes acknowledged")
        let host = worker.host.index
        acknowledged[host][key] = max(acknowledged[host][key], version)
        world.trace("acknowledged", worker, version, key: key)
    }

    /// The journal of a host is lost, together with pending invalidations and intents.
    func lostJournal(of host: Host, isPendingLost: Bool = true) {
        for key in names.keys.indices {
            if isPendingLost {
                acknowledged[host.index][key] = min(acknowledged[host.index][key], coveredVersion(key, on: host))
            }
            // The time of a promise may have passed while syncd was not there: nobody has kept it.
            let covered = isPendingLost ? coveredVersion(key, on: host) : .max
            promised[host.index * plan.keys + key].removeAll { $0.time > world.now || $0.version > covered }
        }
        let promised = names.keys.indices.map { promisedVersion($0, on: host.index) }
        hosts[host.index].losses.append((world.now, acknowledged[host.index], promised))
    }

    /// The version that no read on this host may be older than by promise 4.
    private func promisedVersion(_ key: Int, on host: Int) -> UInt64 {
        promised[host * plan.keys + key].last { $0.time <= world.now }?.version ?? 1
    }

    /// The table of a host is lost: nobody knows any more what only the table had, because Redis went back meanwhile.
    func lostTable(of host: Host) {
        for key in names.keys.indices {
            taken[host.index][key] = min(taken[host.index][key], covered[key].last?.version ?? 1)
        }
    }

    /// The version up to which this host has accepted or applied an invalidation.
    func coveredVersion(_ key: Int, on host: Host) -> UInt64 {
        max(taken[host.index][key], covered[key].last { $0.position <= host.table.applied }?.version ?? 1)
    }

    /// The versions in the database of the keys that these tags affect.
    func versions(of tags: [ByteBuffer]) -> [(key: Int, version: UInt64)] {
        names.keys.indices.filter { names.isReached($0, by: tags) }.map { ($0, landed[$0]) }
    }

    /// A syncd has accepted an invalidation that was requested when the database had these versions.
    func took(_ versions: [(key: Int, version: UInt64)], on host: Int) {
        for (key, version) in versions { taken[host][key] = max(taken[host][key], version) }
    }

    /// From this time on, no read on this host may return less. Later promises are of later versions, from later times
    /// on.
    func promise(_ key: Int, version: UInt64, from time: BootTime, on host: Int) {
        promised[host * plan.keys + key].append((time, version))
    }

    /// From now on, no read on this host may return less.
    func promiseNow(_ key: Int, version: UInt64, on host: Int) {
        let place = host * plan.keys + key
        let next = promised[place].firstIndex { $0.time > world.now } ?? promised[place].count
        let before = next > 0 ? promised[place][next - 1].version : 1
        promised[place].insert((world.now, max(before, version)), at: next)
    }

    // MARK: The log

    func syncdStarted(_ syncd: SimulatedSyncd) {
        let host = syncd.host.index
        hosts[host].epoch = syncd.epoch
        hosts[host].incarnation = .none
        hosts[host].leases = [:]
        hosts[host].fills = [:]
        hosts[host].invalidations = [:]
        hosts[host].fetches = [:]
        hosts[host].tickets = [:]
        silence(host, false)
        world.trace("starts", syncd, syncd.epoch.number, syncd.applied.number)
    }

    func executed(
        _ command: UpstreamCommand, _ execution: RedisData.Execution, on server: RedisServer,
        for syncd: SimulatedSyncd, sentAt: BootTime
    ) {
        if case .read = command, hosts[syncd.host.index].hasLostSubscription,
            case .entries(_, let entries) = execution.reply, !entries.isEmpty
        {
            hosts[syncd.host.index].hasLostSubscription = false
            figures.add("goal: subscription lost and caught up from the stream")
        }
        if case .published(_, let entry) = execution.published { closeChanges(entry.body.tags) }
        switch (command, execution.reply) {
        case (.feed(_, let feed), .feed(isHolder: true, _)): if let token = feed.token { stored(token) }
        case (.append(_, let append), .appended): if let token = append.feed?.token { stored(token) }
        default: break
        }
        guard case .published(let incarnation, let entry) = execution.published else { return }
        figures.add("entries appended")
        if world.now - sentAt > plan.limits.appendNanoseconds { figures.add("goal: append timed out but happened") }
        if !nonces.insert([entry.body.origin, entry.body.nonce]).inserted {
            figures.add("goal: invalidation appended twice")
        }
        world.trace("append", server, entry.position.number, UInt64(entry.body.tags.count))
        let old = ghost[incarnation]?[entry.position]
        // Two servers of a split continue from one log: their entries of one position differ.
        if old == nil || server === cluster?.primary { ghost[incarnation, default: [:]][entry.position] = entry }
        guard server === cluster?.primary else { return }
        invalidated(entry.body.tags, at: entry.position)
    }

    /// Tags are in the log from now on.
    func invalidated(_ tags: [ByteBuffer], at position: LogPosition) {
        let time = max(world.now, cluster?.splitUntil ?? 0)
        for key in names.keys.indices where names.isReached(key, by: tags) {
            guard covered[key].last.map({ $0.version < landed[key] }) ?? true else { continue }
            covered[key].append((time, landed[key], position))
            if covered[key].count > 64 { covered[key].removeFirst(32) }
        }
    }

    func upstreamEvent(_ syncd: SimulatedSyncd, _ event: UpstreamEvent) {
        if case .subscriptionDisconnected = event { hosts[syncd.host.index].hasLostSubscription = true }
    }

    func linkLost(_ syncd: SimulatedSyncd, inFlight: some Sequence<UpstreamCommand>) {
        guard syncd.isPresent else { return }
        world.trace("lost Redis", syncd)
        hosts[syncd.host.index].lostLink = (syncd.epoch, world.now)
        for command in inFlight {
            switch command {
            case .read: figures.add("goal: link lost while catching up")
            case .replace: figures.add("goal: link lost while replacing the log")
            default: break
            }
        }
    }

    // MARK: After every step

    /// Checks that an attached host has applied every entry of its log up to its `applied`.
    func checkGap(_ syncd: SimulatedSyncd) {
        guard rewoundAt == nil, syncd.isAlive, syncd.state == .attached else { return }
        let host = syncd.host.index
        let table = syncd.host.table
        let incarnation = table.incarnation
        if hosts[host].incarnation != incarnation || hosts[host].epoch != syncd.epoch {
            hosts[host].incarnation = incarnation
            hosts[host].epoch = syncd.epoch
            hosts[host].checked = table.firstKnownPosition
        }
        guard let entries = ghost[incarnation] else { return }
        var position = max(hosts[host].checked, table.firstKnownPosition)
        while position < syncd.applied {
            position += 1
            guard let entry = entries[position] else { continue }
            for tag in entry.body.tags where table.slot(table.slotIndex(TagHash.tag(tag))) < position {
                fail("promise 3: \(syncd.name) is past position \(position) and has not applied it")
            }
        }
        hosts[host].checked = position
    }

    /// The log was set back to an earlier state: its positions occur twice.
    func rewound() {
        for incarnation in ghost.keys { ghost[incarnation] = [:] }
        rewoundAt = world.now
    }

    /// Entries of the log are lost, and the one host that knows them may be killed before it can append them again.
    func uncover() { covered = covered.map { _ in [(0, 1, 0)] } }

    /// Whether a host's syncd has written no heartbeat since this time.
    func isSilent(_ host: Int, since time: BootTime) -> Bool {
        hosts[host].silentSince.map { $0 <= time } ?? false
    }

    func silence(_ host: Int, _ isSilent: Bool) {
        if isSilent {
            if hosts[host].silentSince == nil { hosts[host].silentSince = world.now }
        } else {
            hosts[host].silentSince = nil
        }
    }
}
