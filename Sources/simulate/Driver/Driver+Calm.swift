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
            host.isHeldDown = false
            for syncd in host.formerSyncds + [host.syncd].compactMap({ $0 }) { syncd.proceed() }
            host.startSyncd(cluster: cluster)
            for worker in host.workers {
                worker.databaseHeldUntil = 0
                if worker.isAlive { worker.proceed() } else { startWorker(worker.number, on: host) }
            }
        }
    }

    /// Reads everywhere from time to time.
    func readEverywhere(every interval: UInt64, until end: UInt64) {
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

    /// Checks the conditions that hold when faults have been over for some time.
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
}
