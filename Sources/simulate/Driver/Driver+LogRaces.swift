import IPC
import IPCWire
import SyncCore

// Races that chance alone hardly ever causes: logs that are cut off, trimmed, lost or rewritten.
extension Driver {
    /// Redis goes back to an older state while a host is cut off, or its syncd is dead, and other hosts, which were down
    /// meanwhile, give the positions that the host has applied to other entries.
    func rewrittenLog() {
        let host = anyHost
        let others = hosts.filter { $0 !== host }
        guard let cluster, let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, syncd.state == .attached,
            cluster.primary.isAlive, let other = others.first, others.allSatisfy({ $0.syncd?.isOnStack != true }),
            let writer = host.workers.first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        oracle.figures.add("race: rewritten log")
        beQuiet(for: 3_300_000_000)
        for key in oracle.names.keys.indices { readEverywhere(key, on: host) }
        for down in others { kill(down.syncd, "syncd killed") }
        let older = cluster.primary.data
        write(anyKey, on: writer)
        for _ in 0..<world.random.below(4) { invalidate(anyKey, on: writer) }
        world.after(15_000_000, nil, "reads in the log that was") { [self] in
            for key in oracle.names.keys.indices { readEverywhere(key, on: host) }
        }
        world.after(world.random.number(30_000_000...100_000_000), nil, "rewritten") { [self] in
            guard !isCalm, cluster.primary.isAlive, !others.contains(where: { $0.syncd?.isAlive == true }) else {
                return
            }
            let end = world.now + world.random.number(800_000_000...1_800_000_000)
            (host.network.requestsHeldUntil, host.network.answersHeldUntil) = (end, end)
            // The values change, too, like when loading a dump.
            cluster.primary.data = older
            // The server's further messages go to a new connection.
            cluster.primary.dropConnections { _ in true }
            if world.random.oneIn(2) { startAgain(host, at: end, cluster) }
            oracle.rewound()
            oracle.uncover()
            other.startSyncd(cluster: cluster)
            world.after(world.random.number(2_700_000_000...3_200_000_000), nil, "late reads") { [self] in
                for key in oracle.names.keys.indices { readEverywhere(key, on: host) }
            }
            for wait: UInt64 in 1...6 where wait < 3 || world.random.oneIn(2) {
                world.after(wait * 100_000_000, nil, "write of the others") { [self] in
                    guard !isCalm else { return }
                    for worker in other.workers where worker.isAlive && !worker.isStopped {
                        if world.random.oneIn(2) { write(anyKey, on: worker) } else { invalidate(anyKey, on: worker) }
                    }
                }
            }
        }
    }

    /// A host is without syncd until then. The next one finds the table and the values of the one before.
    private func startAgain(_ host: Host, at time: BootTime, _ cluster: Cluster) {
        holdDown(host, for: time - world.now)
        world.at(time, nil, "started again") { [self] in
            if !isCalm, host.syncd?.isAlive != true { host.startSyncd(cluster: cluster) }
            for wait: UInt64 in [100, 200, 400] {
                world.after(wait * 1_000_000, nil, "read after a start") { [self] in
                    for key in oracle.names.keys.indices { readEverywhere(key, on: host) }
                }
            }
        }
    }

    /// While a host has no connection, others append more than can be sent at once to a worker of it that does not
    /// read. The connections may get lost once more, while the host reads the missed entries.
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

    /// Loses the connections as soon as a page of entries is requested.
    private func loseOnceMore(_ syncd: SimulatedSyncd, _ server: RedisServer, from: BootTime, until end: BootTime) {
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

    private func loseAnswer(_ syncd: SimulatedSyncd, until end: BootTime) {
        world.after(200_000, nil, "answer lost") { [self] in
            guard !isCalm, world.now < end, syncd.isAlive else { return }
            guard syncd.upstream?.isAppending == true else { return loseAnswer(syncd, until: end) }
            world.after(world.random.number(plan.redisDelay), nil, "answer lost") { syncd.upstream?.drop() }
        }
    }

    /// An entry is trimmed before a host that has not received it requests it. Some of the host's workers sleep
    /// meanwhile, with an older value, or while they load one.
    func trimmedGap() {
        let host = anyHost
        let key = anyKey
        guard let cluster, cluster.primary.isAlive, let syncd = host.syncd, syncd.state == .attached,
            let writer = hosts.filter({ $0 !== host }).flatMap(\.workers).first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        let server = cluster.primary
        let isLoading = world.random.oneIn(2)
        if !isLoading { readEverywhere(key, on: host) }
        let start = world.random.number(8_000_000...30_000_000)
        for sleeper in host.workers where world.random.oneIn(2) { nap(sleeper, key, from: start, isLoading: isLoading) }
        world.after(start, nil, "gap") { [self] in
            guard !isCalm, server.isAlive else { return }
            oracle.figures.add("race: trimmed gap")
            beQuiet(for: 3_400_000_000)
            server.dropConnections { server.isSubscriber($0) && syncd.upstream?.isMine($0) == true }
            let position = server.data.entries.count
            if world.random.oneIn(2) { write(key, on: writer) } else { invalidate(key, on: writer) }
            trim(server, below: position, until: world.now + 400_000_000)
        }
        for wait: UInt64 in [40, 90, 200, 400, 2200, 2600, 3300] {
            world.after(start + wait * 1_000_000, nil, "read after a gap") { [self] in readEverywhere(key, on: host) }
        }
    }

    /// Sleeps for more than the bound across hosts, and reads at once afterwards.
    private func nap(_ sleeper: SimulatedWorker, _ key: Int, from start: UInt64, isLoading: Bool) {
        world.after(start - min(start, world.random.number(100_000...6_000_000)), nil, "falls asleep") { [self] in
            guard !isCalm, sleeper.isAlive, !sleeper.isStopped else { return }
            if isLoading { read(key, on: sleeper) }
            world.after(world.random.number(0...400_000), nil, "asleep") { [self] in
                guard !isCalm, sleeper.isAlive, !sleeper.isStopped, !sleeper.isOnStack else { return }
                sleeper.stop()
                world.after(world.random.number(2_150_000_000...3_200_000_000), nil, "awake") { [self] in
                    guard sleeper.isAlive, !sleeper.isOnStack else { return }
                    sleeper.proceed()
                    read(key, on: sleeper)
                }
            }
        }
    }

    /// Trims the log as soon as there is a new entry.
    private func trim(_ server: RedisServer, below position: Int, until end: BootTime) {
        world.after(500_000, nil, "trimmed") { [self] in
            guard !isCalm, world.now < end, server.isAlive else { return }
            if server.data.entries.count > position { return server.data.trim(to: 0) }
            trim(server, below: position, until: end)
        }
    }

    /// A host acknowledges a write and dies; so does the primary, before the replica has the entry and before another
    /// host has received it.
    func lostTail() {
        let host = anyHost
        let key = anyKey
        guard let cluster, cluster.primary.isAlive, let syncd = host.syncd, syncd.state == .attached,
            let other = hosts.first(where: { $0 !== host }),
            let writer = other.workers.first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        readEverywhere(key, on: host)
        world.after(world.random.number(10_000_000...30_000_000), nil, "lost tail") { [self] in
            guard !isCalm else { return }
            host.network.answersHeldUntil = world.now + 200_000_000
            let server = cluster.primary
            write(key, on: writer) { [self] in
                guard !isCalm, server.isAlive, server === cluster.primary, let older = server.data.withoutLastEntry,
                    older.position == .text(syncd.applied.description)
                else { return }
                holdDown(other, for: 2_700_000_000)
                oracle.figures.add("race: lost tail")
                beQuiet(for: 2_700_000_000)
                cluster.failOver(splitFor: nil, with: older)
                world.after(world.random.number(2_050_000_000...2_600_000_000), nil, "late read") { [self] in
                    readEverywhere(key, on: host)
                }
            }
        }
    }

    private func holdDown(_ host: Host, for duration: UInt64) {
        kill(host.syncd, "syncd killed")
        host.isHeldDown = true
        world.after(duration, nil, "may start again") { host.isHeldDown = false }
    }

    /// The log is deleted while a host is cut off, together with the entries of another host, which has died; the
    /// values that it left stay.
    func lostLog() {
        let host = anyHost
        let key = anyKey
        guard let cluster, cluster.primary.isAlive, let syncd = host.syncd, syncd.state == .attached,
            let other = hosts.first(where: { $0 !== host }), let reader = other.workers.first,
            reader.isAlive, !reader.isStopped
        else { return }
        let server = cluster.primary
        let end = world.now + world.random.number(200_000_000...500_000_000)
        (host.network.requestsHeldUntil, host.network.answersHeldUntil) = (end, end)
        for _ in 0..<4 { invalidate(key, on: reader) }
        world.after(30_000_000, nil, "value of the other log") { [self] in
            if reader.isAlive, !reader.isStopped { read(key, on: reader) }
        }
        world.after(100_000_000, nil, "lost log") { [self] in
            guard !isCalm, server.isAlive else { return }
            oracle.figures.add("race: lost log")
            beQuiet(for: 1_000_000_000)
            holdDown(other, for: 2_000_000_000)
            (server.data.record, server.data.position, server.data.stream) = (.missing, .missing, .missing)
        }
        for wait: UInt64 in 1...3 {
            world.at(end + wait * 40_000_000, nil, "write in a new log") { [self] in
                let writer = host.workers.first { $0.isAlive && !$0.isStopped }
                if !isCalm, let writer { write(key, on: writer, WriteDemand(readsAfterwards: true)) }
            }
        }
    }

    /// A host that was cut off comes back while its workers write.
    func writesWhileAttaching() {
        let host = anyHost
        let key = anyKey
        guard let cluster, cluster.primary.isAlive, let syncd = host.syncd, syncd.state == .attached else { return }
        readEverywhere(key, on: host)
        world.after(world.random.number(10_000_000...30_000_000), nil, "cut off") { [self] in
            guard !isCalm else { return }
            let length = world.random.number(2_050_000_000...2_300_000_000)
            beQuiet(for: length + 300_000_000)
            let end = world.now + length
            (host.network.requestsHeldUntil, host.network.answersHeldUntil) = (end, end)
            let other = anyKey
            world.after(length - 20_000_000, nil, "write of a host that is cut off") { [self] in
                let writer = host.workers.first { $0.isAlive && !$0.isStopped }
                if !isCalm, let writer { invalidate(other, on: writer) }
            }
            world.at(end, nil, "attaching") { [self] in writeDuringPass(key, on: host, until: end + 1_500_000_000) }
        }
    }

    /// Writes as soon as pending invalidations are appended: the answers come late, and a write is deferred meanwhile.
    private func writeDuringPass(_ key: Int, on host: Host, until end: BootTime) {
        world.after(100_000, nil, "write while attaching") { [self] in
            guard !isCalm, world.now < end, let syncd = host.syncd, syncd.isAlive else { return }
            guard syncd.state == .isolated, syncd.upstream?.isAppending == true else {
                return writeDuringPass(key, on: host, until: end)
            }
            oracle.figures.add("race: write while attaching")
            beQuiet(for: 300_000_000)
            host.network.answersHeldUntil = world.now + 40_000_000
            if let writer = host.workers.first(where: { $0.isAlive && !$0.isStopped }) {
                write(key, on: writer, WriteDemand(readsAfterwards: true))
            }
            for wait: UInt64 in 1...40 {
                world.after(20_000_000 + wait * 2_000_000, nil, "read while attaching") { [self] in
                    if !isCalm { readEverywhere(key, on: host) }
                }
            }
        }
    }

    /// A host that does not receive the entries of others has to read them, which takes longer than the bound across
    /// hosts, while probes are answered.
    func slowPages() {
        let host = anyHost
        let key = anyKey
        guard plan.limits.entriesPerPage < 10, let cluster, cluster.primary.isAlive, let syncd = host.syncd,
            syncd.state == .attached,
            let writer = hosts.filter({ $0 !== host }).flatMap(\.workers).first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        oracle.figures.add("race: slow pages")
        readEverywhere(key, on: host)
        beQuiet(for: 3_500_000_000)
        let server = cluster.primary
        world.after(15_000_000, nil, "slow pages") { [self] in
            guard !isCalm else { return }
            server.lostMessages = 100
            host.network.slowness = 100_000_000
            for _ in 0..<50 { invalidate(["nobody's"], on: writer) }
            world.after(20_000_000, nil, "last write") { [self] in
                if writer.isAlive, !writer.isStopped { write(key, on: writer) }
            }
            for wait: UInt64 in [2200, 2500, 2900, 3300] {
                world.after(wait * 1_000_000, nil, "late read") { [self] in readEverywhere(key, on: host) }
            }
            // Their answers show a position, too.
            for wait: UInt64 in 1...10 where world.random.oneIn(2) {
                world.after(wait * 300_000_000, nil, "append of a host that lacks entries") { [self] in
                    let worker = host.workers.first { $0.isAlive && !$0.isStopped }
                    if !isCalm, let worker { invalidate(["nobody's"], on: worker) }
                }
            }
            world.after(3_400_000_000, nil, "fast again") {
                host.network.slowness = 0
                server.lostMessages = self.plan.lostMessages
            }
        }
    }

    /// A host on which no value is read loses its link without a sign, and another host writes. Then a value is read.
    func idleRead() {
        let host = anyHost
        let key = anyKey
        guard plan.limits.idleNanoseconds < 1_000_000_000, let cluster, cluster.primary.isAlive,
            let syncd = host.syncd, syncd.isAlive, !syncd.isStopped, syncd.state == .attached,
            let writer = hosts.filter({ $0 !== host }).flatMap(\.workers).first(where: { $0.isAlive && !$0.isStopped })
        else { return }
        oracle.figures.add("race: read on an idle host")
        readEverywhere(key, on: host)
        beQuiet(for: 6_000_000_000, always: true)
        let idle = world.random.number(2_400_000_000...3_000_000_000)
        world.after(idle, nil, "write beside an idle host") { [self] in
            guard !isCalm else { return }
            let end = world.now + 2_900_000_000
            switch world.random.below(3) {
            case 0: (host.network.requestsHeldUntil, host.network.answersHeldUntil) = (end, end)
            case 1: host.network.answersHeldUntil = end
            default: break
            }
            if writer.isAlive, !writer.isStopped { write(key, on: writer) }
            let wait = world.random.number(2_050_000_000...3_000_000_000)
            world.after(wait, nil, "read on an idle host") { [self] in
                if syncd.isAlive, host.syncd === syncd { oracle.figures.add("goal: read on an idle host") }
                readEverywhere(key, on: host)
            }
        }
    }

    /// A failover that one host does not notice: it continues to write at the old primary, while another makes the log
    /// anew at the new one and fills a value; then the positions of the two logs meet.
    func splitLog() {
        let host = anyHost
        let key = anyKey
        guard let cluster, cluster.primary.isAlive, !cluster.primary.isStopped, let syncd = host.syncd,
            syncd.state == .attached, let writer = host.workers.first(where: { $0.isAlive && !$0.isStopped }),
            let other = hosts.first(where: { $0 !== host }), let reader = other.workers.first, reader.isAlive,
            !reader.isStopped, other.syncd?.isAlive == true
        else { return }
        oracle.figures.add("race: split log")
        beQuiet(for: 2_000_000_000)
        cluster.failOver(splitFor: world.random.number(500_000_000...800_000_000))
        other.syncd?.upstream?.drop()
        for wait: UInt64 in 1...3 {
            world.after(wait * 80_000_000, nil, "entry of the new log") { [self] in
                if !isCalm, reader.isAlive, !reader.isStopped { invalidate(key, on: reader) }
            }
        }
        world.after(300_000_000, nil, "value of the new log") { [self] in
            if reader.isAlive, !reader.isStopped { read(key, on: reader) }
        }
        world.after(350_000_000, nil, "write in the old log") { [self] in
            if !isCalm, writer.isAlive, !writer.isStopped { write(key, on: writer, WriteDemand(readsAfterwards: true)) }
        }
        for wait: UInt64 in 3...9 {
            world.after(wait * 200_000_000, nil, "late read") { [self] in readEverywhere(key, on: host) }
        }
    }
}
