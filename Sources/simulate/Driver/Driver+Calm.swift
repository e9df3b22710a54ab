import IPC
import IPCWire
import NIOCore
import SyncCore

extension Driver {
    /// Ends all faults: every dead or stopped process comes back.
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
            host.journal.keepsFromSyncd = false
            host.journal.keepsNext = false
            host.isHeldDown = false
            for syncd in host.formerSyncds + [host.syncd].compactMap({ $0 }) { syncd.proceed() }
            host.startSyncd(cluster: cluster)
            for worker in host.workers {
                worker.databaseHeldUntil = 0
                if worker.isAlive { worker.proceed() } else { startWorker(worker.number, on: host) }
            }
        }
    }

    /// Everything that any program has written by then is seen everywhere some time later.
    func expectChanges(by time: UInt64, seenBy end: UInt64) {
        guard plan.hasFeed else { return }
        world.after(time, nil, "changes to be seen") { [self] in
            let versions = database.notedVersions
            world.after(end - time, nil, "changes are seen") { [self] in
                for (key, version) in versions.enumerated() {
                    for host in hosts { oracle.promiseNow(key, version: version, on: host.index) }
                }
            }
        }
    }

    /// Reads everywhere from time to time.
    func readEverywhere(every interval: UInt64, until end: BootTime) {
        world.after(interval, nil, "calm reads") { [self] in
            for worker in hosts.flatMap(\.workers) {
                let key = anyKey
                read(key, on: worker)
                // One more read, before the shortest TTL ends.
                world.after(100_000_000, nil, "calm read") { [self] in read(key, on: worker) }
            }
            if world.now < end { readEverywhere(every: interval, until: end) }
        }
    }

    /// A file that can't be deleted is in the log once, and counted.
    private func checkUndeletable(on host: Host, _ syncd: SimulatedSyncd) {
        guard !host.journal.isMoved, host.formerJournals.isEmpty, plan.weights[.closeJournal] == nil else { return }
        let (count, there) = (syncd.figure("log", "undeletable") ?? 0, host.journal.immutableFiles)
        oracle.check(count == UInt64(there), "liveness: \(syncd.name) counts \(count) undeletable files of \(there)")
    }

    /// How far each host is, and its epoch; `nil` where an owner lives whose intent is immutable: it is appended
    /// again and again.
    func progress() -> [(applied: LogPosition, epoch: Epoch)]? {
        if hosts.contains(where: { $0.journal.hasLivingImmutableFile }) { return nil }
        return hosts.map { ($0.syncd?.applied ?? 0, $0.syncd?.epoch ?? 0) }
    }

    /// No tags that are in the log already are appended with every heartbeat, and no log is replaced. `before`: a
    /// second ago.
    func checkRest(since before: [(applied: LogPosition, epoch: Epoch)]?) {
        guard let before, let now = progress() else { return }
        for (one, other) in zip(before, now) {
            oracle.check(other.applied < one.applied + 5, "liveness: the log comes to rest at \(other.applied)")
            oracle.check(other.epoch == one.epoch, "liveness: the epoch comes to rest at \(other.epoch)")
        }
    }

    /// Checks the conditions that hold when faults have been over for some time.
    func checkCalm() {
        for host in hosts {
            guard let syncd = host.syncd, syncd.isAlive else { return oracle.fail("liveness: syncd is not there") }
            oracle.check(syncd.state == .attached, "liveness: \(syncd.name) is attached")
            oracle.check(syncd.figure("log", "pending") == 0, "liveness: nothing is pending in \(syncd.name)")
            oracle.check(syncd.figure("cache", "waiters") == 0, "liveness: nobody waits at \(syncd.name)")
            oracle.check(syncd.figure("cache", "leases") == 0, "liveness: no lease is left at \(syncd.name)")
            oracle.check(
                syncd.loop.leavingCount == 0, "liveness: requests of closed connections are answered at \(syncd.name)")
            if let cluster {
                oracle.check(syncd.upstream?.server === cluster.primary, "liveness: \(syncd.name) is at the primary")
            }
            oracle.check(
                plan.weights[.closeJournal] != nil || host.journal.deletableFiles.isEmpty,
                "liveness: journal files are left: \(host.journal.deletableFiles.prefix(5).joined(separator: " "))"
            )
            checkUndeletable(on: host, syncd)
            for worker in host.workers {
                let status = worker.cache?.status
                oracle.check(status?.sync == .attached, "liveness: \(worker.name) is attached")
                oracle.check(worker.cache?.waitingCount == 0, "liveness: nobody waits in \(worker.name)")
            }
        }
        oracle.check(calmHits > 0, "liveness: reads are answered from cache again")
    }
}
