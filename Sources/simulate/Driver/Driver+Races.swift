import IPC
import IPCWire
import NIOCore
import SyncCore

// Situations that chance alone hardly ever brings about.
extension Driver {
    /// A value is in every cache; a fault; a write, perhaps more of them, and reads everywhere once it is done.
    func scenario() {
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
    func wakeRace() {
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

    /// A host is cut off while another one writes; its syncd falls asleep just before it would isolate itself.
    func lateCut() {
        let host = anyHost
        let key = anyKey
        guard let cluster, let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, syncd.state == .attached,
            let writer = hosts.filter({ $0 !== host }).flatMap(\.workers).first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        for reader in host.workers where reader.isAlive && !reader.isStopped { read(key, on: reader) }
        world.after(20_000_000, nil, "cut off") { [self] in
            guard !isCalm, cluster.primary.isAlive else { return }
            let end = world.now + 4_000_000_000
            (host.network.requestsHeldUntil, host.network.answersHeldUntil) = (end, end)
            write(key, on: writer)
            let asleep = host.table.freshAsOf + TrustTiming.upstreamTrustNanoseconds - 5_000_000
            world.at(asleep, nil, "syncd falls asleep") { [self] in
                guard !isCalm else { return }
                stop(syncd, "syncd stopped")
                for reader in host.workers {
                    world.after(world.random.number(100_000_000...950_000_000), nil, "late read") { [self] in
                        if reader.isAlive, !reader.isStopped { read(key, on: reader) }
                    }
                }
            }
        }
    }

    /// Redis goes back to an older state while a host is cut off, and others, who were down meanwhile, give the
    /// positions that the host has applied to other entries.
    func rewrittenLog() {
        let host = anyHost
        let others = hosts.filter { $0 !== host }
        guard let cluster, let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, syncd.state == .attached,
            cluster.primary.isAlive, let other = others.first, others.allSatisfy({ $0.syncd?.isOnStack != true }),
            let writer = host.workers.first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        for down in others { kill(down.syncd, "syncd killed") }
        let older = cluster.primary.data
        write(anyKey, on: writer)
        world.after(world.random.number(20_000_000...100_000_000), nil, "rewritten") { [self] in
            guard !isCalm, cluster.primary.isAlive, !others.contains(where: { $0.syncd?.isAlive == true }) else {
                return
            }
            let end = world.now + world.random.number(800_000_000...1_800_000_000)
            (host.network.requestsHeldUntil, host.network.answersHeldUntil) = (end, end)
            // Values, too: as a dump is loaded.
            cluster.primary.data = older
            // What the server has to say it says to a new connection.
            cluster.primary.dropConnections { _ in true }
            oracle.rewound()
            oracle.uncover()
            other.startSyncd(oracle: oracle, cluster: cluster)
            for wait: UInt64 in [200, 300, 400, 500] {
                world.after(wait * 1_000_000, nil, "write of the others") { [self] in
                    guard !isCalm else { return }
                    for worker in other.workers.prefix(1) where worker.isAlive { write(anyKey, on: worker) }
                }
            }
        }
    }

    /// Stops syncd, and reads when the table is believed for the last few milliseconds.
    func lateRead() {
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
}
