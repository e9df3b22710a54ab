import IPC
import IPCWire
import NIOCore
import SyncCore

// Races that chance alone hardly ever causes: processes that die or sleep at the wrong moment.
extension Driver {
    /// A value is in every cache; a fault; a write, possibly more of them, and reads everywhere once it is done.
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
                if let worker = anyWorker { write(key, on: worker, WriteDemand(readsAfterwards: true)) }
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
        for client in plainClients where client.host === host { client.read(key) }
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
                for client in plainClients where client.host === host { client.read(key) }
                world.after(world.random.number(0...2_000_000), nil, "syncd wakes up") { syncd.proceed() }
            }
        }
        oracle.figures.add("syncd asleep during a write")
        beQuiet(for: 1_700_000_000)
        // All processes wake up, whatever the outcome of the write.
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

    /// Stops syncd, and reads when the table is trusted for the last few milliseconds.
    func lateRead() {
        let host = anyHost
        guard let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, host.table.state == .attached else { return }
        stop(syncd, "syncd stopped")
        let edge = host.table.heartbeat + TrustTiming.trustWindowNanoseconds
        for worker in host.workers {
            world.at(edge - world.random.number(0...9_000_000), nil, "late read") { [self] in
                if worker.isAlive, !worker.isStopped { read(anyKey, on: worker) }
            }
        }
    }

    /// syncd dies, its directory is wiped, and the next one is there at once. It accepts writes before all workers have
    /// noticed, and some of them still map the deleted table.
    func newTable() {
        let host = anyHost
        let key = anyKey
        guard let syncd = host.syncd, syncd.isAlive else { return }
        readEverywhere(key, on: host)
        world.after(world.random.number(5_000_000...40_000_000), nil, "directory wiped") { [self] in
            guard !isCalm, syncd.isAlive, !syncd.isOnStack else { return }
            // The old syncd may live on, or sleep, without knowing this.
            switch world.random.below(4) {
            case 0: break
            case 1: stop(syncd, "syncd stopped")
            default: kill(syncd, "syncd killed")
            }
            host.wipe()
            host.startSyncd(cluster: cluster)
            oracle.figures.add("race: new table")
            for wait: UInt64 in 1...30 {
                world.after(wait * 4_000_000, nil, "write with a new table") { [self] in
                    let worker = world.random.element(host.workers)
                    guard !isCalm, let worker, worker.isAlive, !worker.isStopped else { return }
                    write(key, on: worker, WriteDemand(readsAfterwards: true))
                }
            }
        }
    }

    /// A pass through the journal takes long, because Redis answers late; a write becomes pending meanwhile, and syncd
    /// falls asleep as soon as the pass is over.
    func longPass() {
        let host = anyHost
        let key = anyKey
        guard cluster?.primary.isAlive == true, let syncd = host.syncd, syncd.state == .attached,
            let writer = host.workers.first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        readEverywhere(key, on: host)
        world.after(world.random.number(10_000_000...30_000_000), nil, "long pass") { [self] in
            guard !isCalm else { return }
            beQuiet(for: 1_500_000_000)
            let end = world.now + world.random.number(120_000_000...220_000_000)
            host.network.answersHeldUntil = end
            invalidate(anyKey, on: writer)
            hangUpWhileAppending(writer, syncd, until: world.now + 50_000_000)
            let late = world.random.element(host.workers) ?? writer
            world.at(end - world.random.number(2_000_000...25_000_000), nil, "write of a long pass") { [self] in
                guard !isCalm, late.isAlive, !late.isStopped, !late.isOnStack else { return }
                write(key, on: late, WriteDemand(readsAfterwards: true)) { [self] in readEverywhere(key, on: host) }
                late.hangUp()
            }
            world.at(end - 1_000_000, nil, "end of a long pass") { [self] in
                stopAtNextHeartbeat(syncd, until: end + 50_000_000)
            }
        }
    }

    private func hangUpWhileAppending(_ writer: SimulatedWorker, _ syncd: SimulatedSyncd, until end: BootTime) {
        world.after(200_000, nil, "hang up") { [self] in
            guard !isCalm, world.now < end, syncd.isAlive, writer.isAlive, !writer.isOnStack else { return }
            if syncd.upstream?.isAppending == true {
                writer.hangUp()
            } else {
                hangUpWhileAppending(writer, syncd, until: end)
            }
        }
    }

    private func stopAtNextHeartbeat(_ syncd: SimulatedSyncd, until end: BootTime) {
        let heartbeat = syncd.host.table.heartbeat
        func look() {
            world.after(100_000, nil, "stop after a heartbeat") { [self] in
                guard !isCalm, world.now < end, syncd.isAlive, !syncd.isStopped else { return }
                guard syncd.host.table.heartbeat != heartbeat else { return look() }
                oracle.figures.add("race: asleep after a long pass")
                stop(syncd, "syncd stopped")
            }
        }
        look()
    }

    /// A writer dies, and its write reaches the database after its journal file has been collected, and after others
    /// have read the old value.
    func lateOrphan() {
        let host = anyHost
        let key = anyKey
        guard let writer = host.workers.first(where: { $0.isAlive && !$0.isStopped }) else { return }
        let landing = world.random.number(800_000_000...1_900_000_000)
        write(key, on: writer, .sound(landing: landing))
        world.after(world.random.number(2_000_000...20_000_000), nil, "writer dies") { [self] in
            guard !isCalm, writer.isAlive, !writer.isOnStack else { return }
            oracle.figures.add("race: late orphan")
            beQuiet(for: 8_000_000_000)
            kill(writer, "worker killed")
            startWorker(writer.number, on: host)
            for _ in 0..<2 {
                world.after(world.random.number(150_000_000...700_000_000), nil, "reads an old value") { [self] in
                    readEverywhere(key, on: host)
                }
            }
            let collected = landing + seenAfter
            world.after(collected + world.random.number(1...500_000_000), nil, "read after an orphan") { [self] in
                readEverywhere(key, on: host)
            }
        }
    }
}
