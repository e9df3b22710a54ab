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
        oracle.figures.add("race: rewritten log")
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
            for wait: UInt64 in [100, 200, 300, 400, 500, 600] {
                world.after(wait * 1_000_000, nil, "write of the others") { [self] in
                    guard !isCalm else { return }
                    for worker in other.workers where worker.isAlive && !worker.isStopped {
                        if world.random.oneIn(2) { write(anyKey, on: worker) } else { invalidate(anyKey, on: worker) }
                    }
                }
            }
        }
    }

    /// While a host has no connection, others append so much that a worker of its who does not read cannot be told all
    /// of it at once. The connections may get lost once more, while the host reads what it missed.
    func missedMuch() {
        let host = anyHost
        guard let cluster, cluster.primary.isAlive, let syncd = host.syncd, syncd.isAlive, !syncd.isStopped,
            let writer = hosts.filter({ $0 !== host }).flatMap(\.workers).first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        let server = cluster.primary
        syncd.upstream?.drop()
        let end = world.now + 400_000_000
        (host.network.requestsHeldUntil, host.network.answersHeldUntil) = (end, end)
        for _ in 0..<80 {
            world.after(world.random.number(0...300_000_000), nil, "write of the others") { [self] in
                if !isCalm, writer.isAlive, !writer.isStopped { invalidate(anyKey, on: writer) }
            }
        }
        if world.random.oneIn(2), let worker = world.random.element(host.workers) { stop(worker, "worker stopped") }
        if world.random.oneIn(2) { loseOnceMore(syncd, server, from: end, until: end + 500_000_000) }
    }

    /// As soon as a page of entries is asked for.
    private func loseOnceMore(_ syncd: SimulatedSyncd, _ server: RedisServer, from: UInt64, until end: UInt64) {
        world.at(from, nil, "lost once more") { [self] in
            guard !isCalm, world.now < end, syncd.isAlive else { return }
            if syncd.upstream?.isReading == true { return syncd.upstream?.drop() ?? () }
            loseOnceMore(syncd, server, from: world.now + 500_000, until: end)
        }
    }

    /// The connections get lost between an append and its answer, and are there again before it is given up.
    func lostAnswer() {
        let host = anyHost
        guard let cluster, cluster.primary.isAlive, let syncd = host.syncd, syncd.state == .attached,
            let writer = host.workers.first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        invalidate(anyKey, on: writer)
        loseAnswer(syncd, until: world.now + 100_000_000)
    }

    private func loseAnswer(_ syncd: SimulatedSyncd, until end: UInt64) {
        world.after(200_000, nil, "answer lost") { [self] in
            guard !isCalm, world.now < end, syncd.isAlive else { return }
            guard syncd.upstream?.isAppending == true else { return loseAnswer(syncd, until: end) }
            world.after(world.random.number(plan.redisDelay), nil, "answer lost") { syncd.upstream?.drop() }
        }
    }

    /// An entry that a host was not told of is gone before it asks for it.
    func trimmedGap() {
        let host = anyHost
        guard let cluster, cluster.primary.isAlive, let syncd = host.syncd, syncd.state == .attached,
            let writer = hosts.filter({ $0 !== host }).flatMap(\.workers).first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        let server = cluster.primary
        server.dropConnections { server.isSubscriber($0) && syncd.upstream?.isMine($0) == true }
        let position = server.data.entryCount
        invalidate(anyKey, on: writer)
        trim(server, below: position, until: world.now + 400_000_000)
    }

    /// As soon as there is a new one.
    private func trim(_ server: RedisServer, below position: Int, until end: UInt64) {
        world.after(500_000, nil, "trimmed") { [self] in
            guard !isCalm, world.now < end, server.isAlive else { return }
            if server.data.entryCount > position { return server.data.trim(to: 0) }
            trim(server, below: position, until: end)
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
