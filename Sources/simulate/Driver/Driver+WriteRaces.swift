import IPC
import IPCWire
import NIOCore
import SyncCore

// Races that chance alone hardly ever causes: writes that change nothing, that land late, whose writer hangs, or that
// are recorded in a journal that syncd does not read.
extension Driver {
    private func isUp(_ worker: SimulatedWorker) -> Bool { worker.isAlive && !worker.isStopped && !worker.isOnStack }

    /// All workers hold a value; then two clients write the same at once. The client whose write changes nothing is
    /// told so, and reads elsewhere.
    func equalWrites() {
        let host = anyHost
        let key = anyKey
        readEverywhere(key, on: host)
        world.after(world.random.number(5_000_000...30_000_000), nil, "equal writes") { [self] in
            guard !isCalm else { return }
            let content = database.newContent()
            for delay in [0, world.random.number(0...3_000_000)] {
                world.after(delay, nil, "equal write") { [self] in
                    guard let writer = world.random.element(host.workers), isUp(writer) else { return }
                    oracle.figures.add("race: equal writes")
                    write(key, on: writer, WriteDemand(content: .same(content), readsAfterwards: true))
                }
            }
        }
    }

    /// A transaction of unknown outcome lands when its client has long been told of an error, and after others have
    /// read the old value. Its worker may live, be cut off, or be dead.
    func lateTransaction() {
        let host = anyHost
        let key = anyKey
        guard let writer = host.workers.first(where: isUp) else { return }
        let landing = world.random.number(1_500_000_000...database.latestTransaction)
        write(
            key, on: writer, WriteDemand(content: .new, fate: .unknown, isTransaction: true, landing: landing))
        oracle.figures.add("race: late transaction")
        beQuiet(for: landing + seenAfter + 500_000_000)
        if world.random.oneIn(2) {
            world.after(world.random.number(2_000_000...landing), nil, "writer dies") { [self] in
                guard !isCalm, isUp(writer) else { return }
                kill(writer, "worker killed")
                startWorker(writer.number, on: host)
            }
        }
        readOldAndNew(key, on: host, landing: landing)
    }

    /// Reads old values until the write lands, which must then be seen within its bound.
    private func readOldAndNew(_ key: Int, on host: Host, landing: UInt64) {
        for _ in 0..<3 {
            world.after(world.random.number(landing / 2...landing), nil, "reads an old value") { [self] in
                readEverywhere(key, on: host)
            }
        }
        let seen = landing + seenAfter
        for _ in 0..<2 {
            world.after(seen + world.random.number(20_000_000...500_000_000), nil, "reads what landed") { [self] in
                readEverywhere(key, on: host)
            }
        }
    }

    /// A writer hangs for long before, during or after its write; then it continues, or dies at once.
    func hungWriter() {
        let host = anyHost
        let key = anyKey
        guard let writer = host.workers.first(where: isUp), host.workers.count > 1 || plan.hasPlainClients else {
            return
        }
        let landing = world.random.number(1_000_000...200_000_000)
        oracle.figures.add("race: hung writer")
        readEverywhere(key, on: host)
        write(key, on: writer, .sound(landing: landing))
        // The writer hangs before it has sent anything, while its write is on its way, or before it has reported it.
        let delay = world.random.oneIn(3) ? world.random.number(1...60_000) : world.random.number(1...landing)
        let hang = world.random.number(7_500_000_000...plan.longestHang)
        world.after(delay, nil, "writer hangs") { [self] in
            guard !isCalm, isUp(writer) else { return }
            beQuiet(for: hang + 2_000_000_000)
            stop(writer, "worker hangs", for: hang)
            world.after(hang + world.random.number(1...5_000_000), nil, "writer dies") { [self] in
                guard !isCalm, isUp(writer), world.random.oneIn(2) else { return }
                kill(writer, "worker killed")
                startWorker(writer.number, on: host)
            }
            readOldAndNew(key, on: host, landing: landing)
            readOldAndNew(key, on: host, landing: hang + landing)
        }
    }

    /// The journal at the path is another one than the open one; a worker writes and dies, or syncd sleeps.
    func replacedJournal() {
        let host = anyHost
        let key = anyKey
        guard let writer = host.workers.first(where: isUp) else { return }
        let how: [Plan.Action] = [.removeJournal, .replaceJournal, .moveJournal, .emptyJournal]
        guard let action = world.random.element(how) else { return }
        oracle.figures.add("race: replaced journal")
        readEverywhere(key, on: host)
        // Before, during or after the replacement.
        let begin = world.random.number(1_000_000...400_000_000)
        world.after(world.random.number(10_000_000...40_000_000), nil, "journal replaced") { [self] in
            guard !isCalm else { return }
            fault(action, on: host)
            if world.random.oneIn(3) { writer.hangUp() }
        }
        beQuiet(for: 9_000_000_000)
        if world.random.oneIn(2) {
            let landing = world.random.number(300_000_000...1_900_000_000)
            world.after(begin, nil, "write in a replaced journal") { [self] in
                guard !isCalm, isUp(writer) else { return }
                write(key, on: writer, .sound(landing: landing))
                world.after(world.random.number(2_000_000...20_000_000), nil, "writer dies") { [self] in
                    guard !isCalm, isUp(writer) else { return }
                    kill(writer, "worker killed")
                    startWorker(writer.number, on: host)
                }
                readOldAndNew(key, on: host, landing: landing)
            }
        } else {
            world.after(begin, nil, "write in a replaced journal") { [self] in
                guard !isCalm else { return }
                writeWhileAsleep(key, by: writer)
            }
        }
    }

    /// syncd sleeps during a write, and wakes up as soon as that is acknowledged.
    private func writeWhileAsleep(_ key: Int, by writer: SimulatedWorker) {
        let host = writer.host
        guard isUp(writer), let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, !syncd.isOnStack else { return }
        syncd.stop()
        world.after(4_000_000_000, nil, "syncd wakes up") { if !syncd.isOnStack { syncd.proceed() } }
        write(key, on: writer, WriteDemand(content: .new, fate: .sound)) { [self] in
            if !syncd.isOnStack { syncd.proceed() }
            for wait: UInt64 in 0...12 {
                world.after(wait * 300_000, nil, "read after a write") { [self] in readEverywhere(key, on: host) }
            }
        }
    }

    /// A write of unknown outcome that could not be recorded: its worker has to remember it.
    func doubtWithoutJournal() {
        let host = anyHost
        let key = anyKey
        guard let writer = host.workers.first(where: isUp), let syncd = host.syncd, syncd.isAlive, !syncd.isStopped
        else { return }
        oracle.figures.add("race: doubt without a journal")
        fault(.fillJournal, on: host)
        let isTransaction = world.random.oneIn(2)
        let landing = world.random.number(
            300_000_000...(isTransaction ? plan.transactionLifetime : Database.patience))
        beQuiet(for: landing + 8_000_000_000)
        readEverywhere(key, on: host)
        world.after(world.random.number(1_000_000...20_000_000), nil, "write without a journal") { [self] in
            guard !isCalm, isUp(writer) else { return }
            write(
                key, on: writer,
                WriteDemand(content: .new, fate: .unknown, isTransaction: isTransaction, landing: landing))
            readOldAndNew(key, on: host, landing: landing)
            world.after(landing + Self.repeating + Self.collecting + 100_000_000, nil, "reads what landed") { [self] in
                readEverywhere(key, on: host)
            }
        }
    }

    /// syncd has been away longer than its last heartbeat is trusted, and comes back, or wakes up, during a write.
    func syncdStarts() {
        let host = anyHost
        let key = anyKey
        guard let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, !syncd.isOnStack, !host.isHeldDown else {
            return
        }
        oracle.figures.add("race: syncd starts during a write")
        let away = world.random.number(900_000_000...2_600_000_000)
        readEverywhere(key, on: host)
        beQuiet(for: away + 1_500_000_000)
        if world.random.oneIn(3) {
            syncd.stop()
        } else {
            kill(syncd, "syncd killed")
            host.isHeldDown = true
        }
        world.after(away, nil, "syncd comes back") { [self] in
            host.isHeldDown = false
            if !syncd.isOnStack { syncd.proceed() }
            guard !isCalm, host.startSyncd(cluster: cluster), world.random.oneIn(2), let started = host.syncd else {
                return
            }
            // syncd may stop again, between the beginning of its pass and the heartbeat.
            world.after(world.random.number(0...4_000_000), nil, "syncd stops") { [self] in
                if !isCalm { stop(started, "syncd stopped", for: world.random.number(1_000_000...1_500_000_000)) }
            }
        }
        for _ in 0..<3 {
            let start = away + world.random.number(0...30_000_000) - 15_000_000
            world.after(start, nil, "write while syncd starts") { [self] in
                guard !isCalm, let writer = world.random.element(host.workers), isUp(writer) else { return }
                write(
                    key, on: writer,
                    WriteDemand(
                        content: .new, fate: .sound, landing: world.random.number(100_000...3_000_000),
                        readsAfterwards: true)
                ) { [self] in
                    for wait: UInt64 in 0...5 {
                        world.after(wait * 5_000_000, nil, "read") { [self] in readEverywhere(key, on: host) }
                    }
                }
            }
        }
    }

    /// Too many invalidations are pending to name them, twice, and the marker that stands for them can't be deleted.
    func undeletableMarker() {
        let host = anyHost
        let key = anyKey
        guard cluster != nil, let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, !syncd.isOnStack else { return }
        oracle.figures.add("race: undeletable marker")
        beQuiet(for: 4_000_000_000)
        readEverywhere(key, on: host)
        let (journal, isImmutable) = (host.journal, world.random.oneIn(2))
        if !isImmutable {
            journal.keepsFromSyncd = true
            world.after(3_500_000_000, nil, "files can be deleted") { journal.keepsFromSyncd = false }
        }
        for begin: UInt64 in [10_000_000, 1_800_000_000] {
            world.after(begin, nil, "more is pending than can be named") { [self] in
                guard !isCalm else { return }
                host.network.answersHeldUntil = max(host.network.answersHeldUntil, world.now + 700_000_000)
                for number: UInt64 in 0..<5 {
                    world.after(number * 60_000_000, nil, "write that is pending") { [self] in
                        guard !isCalm, let writer = world.random.element(host.workers), isUp(writer) else { return }
                        write(key, on: writer, .sound(landing: 1_000_000))
                    }
                }
            }
            // The marker is the first that is deleted when the answers come.
            world.after(begin + 690_000_000, nil, "journal file immutable") { [self] in
                if !isCalm, isImmutable { journal.keepsNext = true }
            }
            world.after(begin + 1_200_000_000, nil, "read after a marker") { [self] in readEverywhere(key, on: host) }
        }
        world.after(3_200_000_000, nil, "syncd dies beside a marker") { [self] in
            guard !isCalm, world.random.oneIn(2) else { return }
            kill(host.syncd, "syncd killed")
            world.after(50_000_000, nil, "syncd starts") { [self] in if !isCalm { host.startSyncd(cluster: cluster) } }
        }
    }
}
