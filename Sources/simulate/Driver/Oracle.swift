import IPC
import IPCWire
import NIOCore
import SyncCore

/// A promise that did not hold.
struct Violation: Error {
    var what: String
    var key: Int
}

/// Knows everything, asks nobody, and compares what the processes do with the promises of docs/consistency.md.
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
    /// Per key: from when on everybody must know that everything up to a version is old.
    private var covered: [[(time: UInt64, version: UInt64)]]
    /// Per key: the version in the database.
    private var landed: [UInt64]
    /// Per key: versions at which it did not exist.
    private var absent: [[UInt64]]
    /// Per host and key: from when on no read on that host may bring less, because a writer there died or gave up.
    private var promised: [[(time: UInt64, version: UInt64)]]
    /// All entries that any server ever took, per incarnation.
    private var ghost: [Incarnation: [UInt64: LogEntry]] = [:]
    private var hosts: [HostState]
    private var isRewound = false
    private var nonces: Set<[UInt64]> = []

    struct HostState {
        var lastLease: LeaseID = 0
        var leases: [ByteBuffer: (id: LeaseID, holder: ClientID, endsAt: UInt64)] = [:]
        var fetches: [ClientID: [RequestID: ByteBuffer]] = [:]
        var tickets: [UInt64: ByteBuffer] = [:]
        var hasLostSubscription = false
        var epoch: UInt64 = 0
        var incarnation = Incarnation.none
        var checked: UInt64 = 0
        var fills: [ClientID: [RequestID: Fill]] = [:]
        var leaseAsOf: [LeaseID: UInt64] = [:]
        var lostLink: (epoch: UInt64, at: UInt64)?
        var silentSince: UInt64?
        var closing = false
    }

    /// Keys and tags.
    struct Names {
        let keys: [ByteBuffer]
        let tags: [[ByteBuffer]]
        /// The group, the entry itself, its key, everything.
        let reaching: [[ByteBuffer]]

        init(count: Int) {
            keys = (0..<count).map { ByteBuffer(string: "key\($0)") }
            tags = (0..<count).map { [ByteBuffer(string: "group\($0 % 2)"), ByteBuffer(string: "tag\($0)")] }
            reaching = (0..<count).map {
                [
                    ByteBuffer(string: "group\($0 % 2)"), ByteBuffer(string: "tag\($0)"),
                    ByteBuffer(string: "=key\($0)"), ByteBuffer(string: "*"),
                ]
            }
        }
    }

    init(world: World, plan: Plan) {
        self.world = world
        self.plan = plan
        names = Names(count: plan.keys)
        acknowledged = Array(repeating: Array(repeating: 1, count: plan.keys), count: plan.hosts)
        covered = Array(repeating: [(0, 1)], count: plan.keys)
        promised = Array(repeating: [], count: plan.hosts * plan.keys)
        landed = Array(repeating: 1, count: plan.keys)
        absent = Array(repeating: [], count: plan.keys)
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

    /// A read, from its begin on.
    struct Read {
        var key: Int
        var begin: UInt64
        /// Nothing older may be answered, wherever it comes from.
        var floor: UInt64
        var acrossFloor: UInt64
        var interruptions: Int
        var loadTime: UInt64 = 0
        var silentSince: UInt64?
    }

    func readBegan(_ key: Int, on worker: SimulatedWorker) -> Read {
        let host = worker.host.index
        let trust = TrustTiming.upstreamTrustNanoseconds
        let limit = world.now >= trust ? world.now - trust : 0
        let across = covered[key].last { $0.time <= limit }?.version ?? 1
        let promised = promised[host * plan.keys + key].filter { $0.time <= world.now }.map(\.version).max() ?? 1
        return Read(
            key: key, begin: world.now, floor: max(acknowledged[host][key], promised), acrossFloor: across,
            interruptions: worker.interruptions, silentSince: hosts[host].silentSince)
    }

    func readEnded(_ read: Read, _ result: CachedValue, on worker: SimulatedWorker) {
        let key = read.key
        figures.add("reads checked")
        figures.add("source \(result.source.rawValue)")
        let floor = max(read.floor, read.acrossFloor)
        let version: UInt64
        if var value = result.value, let number: UInt64 = value.readInteger() {
            version = number
        } else {
            version = absent[key].last ?? 0
        }
        world.trace("read", worker, version, floor, key: key)
        let source = result.source.rawValue
        check(
            version >= read.floor,
            "promise 1: \(worker.name) read version \(version) from \(source), \(read.floor) was acknowledged on its host before",
            key: key)
        check(
            version >= read.acrossFloor,
            "promise 2: \(worker.name) read version \(version) from \(source), \(read.acrossFloor) was invalidated more than 2 s before",
            key: key)
        check(version <= landed[key], "\(worker.name) read version \(version), which was never written", key: key)
        if result.source == .l1 { l1Hit(on: worker) }
    }

    private func l1Hit(on worker: SimulatedWorker) {
        let table = worker.host.table
        let age = world.now &- table.beat
        if age <= TrustTiming.trustWindowNanoseconds, age > 990_000_000 {
            figures.add("goal: L1 hit in the last percent of the trust window")
        }
    }

    /// A read took so long, without the time that its own loads took.
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

    /// What delays of sockets and scheduling add.
    var slack: UInt64 { 4 * plan.socketDelay.upperBound + 50_000_000 }

    func writeTook(_ nanoseconds: UInt64, on worker: SimulatedWorker) {
        let limit = TrustTiming.silenceNanoseconds + TrustTiming.trustWindowNanoseconds + slack
        check(nanoseconds <= limit, "promise 6: a write of \(worker.name) waited \(nanoseconds / 1_000_000) ms")
    }

    func wrote(_ key: Int, version: UInt64) {
        landed[key] = version
        if Database.isAbsent(version) { absent[key].append(version) }
        world.trace("landed", nil, version, key: key)
    }

    func acknowledged(_ key: Int, version: UInt64, on worker: SimulatedWorker) {
        figures.add("writes acknowledged")
        let host = worker.host.index
        acknowledged[host][key] = max(acknowledged[host][key], version)
        world.trace("acknowledged", worker, version, key: key)
    }

    /// The journal of a host is gone, and with it what was owed there.
    func lostJournal(of host: Int) {
        for key in names.keys.indices { acknowledged[host][key] = min(acknowledged[host][key], coveredVersion(key)) }
    }

    /// Everything up to this version is in the log as changed.
    func coveredVersion(_ key: Int) -> UInt64 { covered[key].last?.version ?? 1 }

    /// From a time on, no read on this host may bring less.
    func promise(_ key: Int, version: UInt64, from time: UInt64, on host: Int) {
        promised[host * plan.keys + key].append((time, version))
    }

    var versions: [UInt64] { landed }

    // MARK: The log

    func syncdStarted(_ syncd: SimulatedSyncd) {
        let host = syncd.host.index
        hosts[host].epoch = syncd.epoch
        hosts[host].incarnation = .none
        hosts[host].leases = [:]
        hosts[host].fills = [:]
        hosts[host].fetches = [:]
        hosts[host].tickets = [:]
        silence(host, false)
        world.trace("starts", syncd, syncd.epoch, syncd.applied)
    }

    func executed(
        _ command: UpstreamCommand, _ execution: RedisServer.Execution, on server: RedisServer,
        for syncd: SimulatedSyncd, sentAt: UInt64
    ) {
        if case .read = command, hosts[syncd.host.index].hasLostSubscription,
            case .entries(let entries) = execution.reply, !entries.isEmpty
        {
            hosts[syncd.host.index].hasLostSubscription = false
            figures.add("goal: subscription lost and caught up from the stream")
        }
        guard let (incarnation, entry) = execution.committed else { return }
        figures.add("entries appended")
        if world.now - sentAt > plan.limits.appendNanoseconds { figures.add("goal: append timed out but happened") }
        if !nonces.insert([entry.body.origin, entry.body.nonce]).inserted {
            figures.add("goal: invalidation appended twice")
        }
        world.trace("append", server, entry.position, UInt64(entry.body.tags.count))
        let old = ghost[incarnation]?[entry.position]
        // Two servers of a split go on from one log: their entries of one position differ.
        if old == nil || server === cluster?.primary { ghost[incarnation, default: [:]][entry.position] = entry }
        guard server === cluster?.primary else { return }
        invalidated(entry.body.tags)
    }

    /// Tags are in the log from now on.
    func invalidated(_ tags: [ByteBuffer]) {
        let time = max(world.now, cluster?.splitUntil ?? 0)
        for key in names.keys.indices where names.reaching[key].contains(where: tags.contains) {
            guard covered[key].last.map({ $0.version < landed[key] }) ?? true else { continue }
            covered[key].append((time, landed[key]))
            if covered[key].count > 64 { covered[key].removeFirst(32) }
        }
    }

    func upstreamEvent(_ syncd: SimulatedSyncd, _ event: UpstreamEvent) {
        if case .subscriptionDisconnected = event { hosts[syncd.host.index].hasLostSubscription = true }
    }

    func linkLost(_ syncd: SimulatedSyncd, inFlight: some Sequence<UpstreamCommand>) {
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

    // MARK: What syncd does

    func requested(_ syncd: SimulatedSyncd, _ client: ClientID, _ id: RequestID, _ request: Request) {
        let host = syncd.host.index
        switch request {
        case .fetch(let key, _): hosts[host].fetches[client, default: [:]][id] = key
        case .fill(let fill): hosts[host].fills[client, default: [:]][id] = fill
        case .abandon(let key, let lease):
            if let current = hosts[host].leases[key], current.id == lease, current.holder == client {
                hosts[host].leases[key] = nil
            }
        default: break
        }
    }

    func clientClosed(_ syncd: SimulatedSyncd, _ client: ClientID) {
        let host = syncd.host.index
        hosts[host].fills[client] = nil
        hosts[host].fetches[client] = nil
        let gone = hosts[host].leases.filter { $0.value.holder == client }.map(\.key)
        for key in gone { hosts[host].leases[key] = nil }
        hosts[host].closing = true
        world.after(0, nil, "after close") { [self] in hosts[host].closing = false }
    }

    func effect(_ syncd: SimulatedSyncd, _ effect: Effect) {
        let host = syncd.host.index
        switch effect {
        case .reply(let client, let id, let reply):
            if let key = hosts[host].fetches[client]?.removeValue(forKey: id) {
                if case .fetched(.lease(let lease)) = reply {
                    granted(lease, key, to: client, syncd, isPassedOn: false)
                }
                if case .wait(let ticket) = reply { hosts[host].tickets[ticket] = key }
            }
            guard let fill = hosts[host].fills[client]?.removeValue(forKey: id) else { break }
            filled(fill, reply, syncd, client)
        case .push(let client, .fetched(let ticket, let outcome)):
            guard let key = hosts[host].tickets.removeValue(forKey: ticket) else {
                return fail("the outcome of a ticket that nobody has")
            }
            if case .lease(let lease) = outcome { granted(lease, key, to: client, syncd, isPassedOn: true) }
        case .removeJournalFile(let name):
            if name.hasSuffix(".intent") { figures.add("goal: intent of a dead owner collected") }
            if name.hasSuffix(".orphan") { figures.add("goal: orphan appended once more") }
        case .notice(let notice): self.notice(notice, syncd)
        case .writeMarker: figures.add("goal: marker written")
        case .writeOwed: figures.add("goal: write deferred")
        default: break
        }
    }

    private func granted(
        _ lease: Lease, _ key: ByteBuffer, to client: ClientID, _ syncd: SimulatedSyncd, isPassedOn: Bool
    ) {
        let host = syncd.host.index
        if let current = hosts[host].leases[key] {
            // A holder that has gone, a load that took too long, and a load that failed end a lease.
            check(
                world.now >= current.endsAt || isPassedOn && hosts[host].closing,
                "a second lease for one key: \(lease.id) beside \(current.id)")
            if isPassedOn, world.now >= current.endsAt { figures.add("goal: lease passed on after its time") }
        }
        hosts[host].leases[key] = (lease.id, client, world.now + plan.limits.leaseNanoseconds)
        check(lease.id > hosts[host].lastLease, "a lease id was given out twice: \(lease.id)")
        hosts[host].lastLease = max(hosts[host].lastLease, lease.id)
        hosts[host].leaseAsOf[lease.id] = lease.asOf
        world.trace("lease", nil, lease.id, lease.asOf)
        figures.add("leases")
        if isPassedOn, hosts[host].closing { figures.add("goal: lease passed on after its holder left") }
    }

    private func filled(_ fill: Fill, _ reply: Reply, _ syncd: SimulatedSyncd, _ client: ClientID) {
        if let current = hosts[syncd.host.index].leases[fill.key], current.id == fill.lease, current.holder == client {
            hosts[syncd.host.index].leases[fill.key] = nil
        }
        if case .error(let error) = reply, error.code == .stale { figures.add("goal: stale fill refused") }
        guard case .ok = reply else { return }
        figures.add("fills")
        guard let key = names.keys.firstIndex(of: fill.key), let asOf = hosts[syncd.host.index].leaseAsOf[fill.lease]
        else { return fail("a fill was accepted under a lease that nobody got") }
        let table = syncd.host.table
        for tag in names.reaching[key] where table.slot(table.slotIndex(TagHash.tag(tag))) > asOf {
            fail("promise 5: a fill was accepted although a tag was invalidated after its lease", key: key)
        }
    }

    private func notice(_ notice: Notice, _ syncd: SimulatedSyncd) {
        let host = syncd.host.index
        switch notice {
        case .epochRaised(let epoch, let reason):
            world.trace("epoch raised", syncd, epoch)
            figures.add("goal: epoch raised: \(reason.rawValue)")
            hosts[host].leases = [:]
        case .isolated(let reason):
            world.trace("isolated", syncd)
            hosts[host].leases = [:]
            isolated(reason)
        case .attached(let epoch, let applied):
            world.trace("attached", syncd, epoch, applied)
            figures.add("attached")
        case .upstreamReady:
            if let lost = hosts[host].lostLink, lost.epoch == syncd.epoch {
                figures.add("goal: link lost and resumed in the same epoch")
            }
            hosts[host].lostLink = nil
        case .upstreamWarning, .upstreamDenied: break
        }
    }

    private func isolated(_ reason: String) {
        let reasons: [(String, String)] = [
            ("another process", "another process"), ("vanished", "log vanished"), ("no log", "log vanished"),
            ("another log", "another log"), ("went back", "went back"), ("changed", "changed"),
            ("DAMAGED", "damaged"), ("something else", "damaged"), ("WRONGTYPE", "damaged"), ("replica", "replica"),
            ("READONLY", "replica"),
            ("entries are missing", "entries missing"), ("within 250 ms", "append timed out"),
            ("for 2 s", "no probe for 2 s"),
        ]
        figures.add("isolated")
        for (text, name) in reasons where reason.contains(text) { figures.add("goal: isolated: \(name)") }
    }

    // MARK: After every step

    /// An attached host has applied every entry of its log up to where it says.
    func checkGap(_ syncd: SimulatedSyncd) {
        guard !isRewound, syncd.isAlive, syncd.state == .attached else { return }
        let host = syncd.host.index
        let table = syncd.host.table
        let incarnation = table.incarnation
        if hosts[host].incarnation != incarnation || hosts[host].epoch != syncd.epoch {
            hosts[host].incarnation = incarnation
            hosts[host].epoch = syncd.epoch
            hosts[host].checked = table.horizon
        }
        guard let entries = ghost[incarnation] else { return }
        var position = max(hosts[host].checked, table.horizon)
        while position < syncd.applied {
            position += 1
            guard let entry = entries[position] else { continue }
            for tag in entry.body.tags where table.slot(table.slotIndex(TagHash.tag(tag))) < position {
                fail("promise 3: \(syncd.name) is past position \(position) and has not applied it")
            }
        }
        hosts[host].checked = position
    }

    /// The log was set back to an earlier state: its positions come twice.
    func rewound() {
        for incarnation in ghost.keys { ghost[incarnation] = [:] }
        isRewound = true
    }

    func silence(_ host: Int, _ isSilent: Bool) {
        if isSilent {
            if hosts[host].silentSince == nil { hosts[host].silentSince = world.now }
        } else {
            hosts[host].silentSince = nil
        }
    }
}
