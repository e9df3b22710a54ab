import IPC
import IPCWire
import NIOCore
import SyncCore

extension Driver {
    func stop(_ process: Process, _ name: String, for duration: UInt64? = nil) {
        guard process.isAlive, !process.isStopped, !process.isOnStack else { return }
        oracle.figures.add("fault: \(name)")
        process.stop()
        world.after(duration ?? self.duration, nil, "continue") { if !process.isOnStack { process.proceed() } }
    }

    func kill(_ process: Process?, _ name: String) {
        guard let process, process.isAlive, !process.isOnStack else { return }
        oracle.figures.add("fault: \(name)")
        process.kill()
    }

    func fault(_ action: Plan.Action) { fault(action, on: anyHost) }

    func fault(_ action: Plan.Action, on host: Host) {
        switch action {
        case .killWorker: kill(world.random.element(host.workers), "worker killed")
        case .stopWorker: if let worker = world.random.element(host.workers) { stop(worker, "worker stopped") }
        case .hangWorker:
            if let worker = world.random.element(host.workers) {
                stop(worker, "worker hangs", for: world.random.number(2_000_000_000...plan.longestHang))
            }
        case .cutDatabase:
            oracle.figures.add("fault: way to the database cut")
            let end = world.now + world.random.number(500_000_000...6_000_000_000)
            for worker in host.workers where world.random.oneIn(2) { worker.databaseHeldUntil = end }
        case .rollBack:
            oracle.figures.add("fault: primary of the database alone")
            let duration = world.random.number(50_000_000...3_000_000_000)
            database.beAlone(for: duration, isDeposed: world.random.oneIn(4) == false)
        case .restartWorker:
            if let dead = host.workers.first(where: { !$0.isAlive }) { startWorker(dead.number, on: host) }
        case .killSyncd: kill(host.syncd, "syncd killed")
        case .stopSyncd: if let syncd = host.syncd { stop(syncd, "syncd stopped") }
        case .restartSyncd:
            if host.startSyncd(cluster: cluster) { oracle.figures.add("syncd started again") }
        case .duplicateSyncd:
            if !host.startSyncd(cluster: cluster) { oracle.figures.add("fault: second syncd refused") }
        case .wipeDirectory:
            oracle.figures.add("fault: runtime directory wiped\(host.syncd?.isAlive == true ? " under syncd" : "")")
            host.wipe()
        case .freezeHost:
            // A suspended machine: everything on it stops, and its clock continues.
            let end = duration
            for process: Process in host.workers + [host.syncd].compactMap({ $0 }) {
                stop(process, "process of a frozen host", for: end)
            }
        case .removeJournal, .replaceJournal, .moveJournal, .emptyJournal:
            oracle.figures.add("fault: \(action.rawValue)")
            switch action {
            case .removeJournal: host.removeJournal()
            case .emptyJournal: host.emptyJournal()
            default: host.replaceJournal(isMoved: action == .moveJournal)
            }
        case .fillJournal, .closeJournal:
            let journal = host.journal
            let end = duration
            host.journalFaultsUntil = max(host.journalFaultsUntil, world.now + end)
            oracle.figures.add(action == .fillJournal ? "fault: journal full" : "fault: journal not usable")
            if action == .fillJournal { journal.isFull = true } else { journal.isClosed = true }
            world.after(end, nil, "journal usable") {
                if action == .fillJournal { journal.isFull = false } else { journal.isClosed = false }
            }
        case .keepFiles:
            let journal = host.journal
            oracle.figures.add("fault: syncd may not delete journal files")
            journal.keepsFromSyncd = true
            world.after(2 * duration, nil, "files can be deleted") { journal.keepsFromSyncd = false }
        case .keepFile:
            oracle.figures.add("fault: immutable journal file")
            host.journal.keepsNext = true
        default: if let cluster { redisFault(action, host, cluster) }
        }
    }

    func redisFault(_ action: Plan.Action, _ host: Host, _ cluster: Cluster) {
        let server = cluster.primary
        oracle.figures.add("fault: \(action.rawValue)")
        switch action {
        case .cut, .cutRequests, .cutAnswers:
            let end = world.now + duration
            if action != .cutAnswers { host.network.requestsHeldUntil = end }
            if action != .cutRequests { host.network.answersHeldUntil = end }
        case .dropCommands: server.dropConnections { !server.isSubscriber($0) }
        case .dropSubscription: server.dropConnections { server.isSubscriber($0) }
        case .stopRedis: stop(server, "Redis stopped")
        case .restartRedis, .loseRedis:
            guard server.isAlive else { return }
            let saved = action == .loseRedis ? nil : world.random.oneIn(2) ? server.data : cluster.savedData
            server.kill()
            world.after(duration / 4, nil, "Redis starts") { if !cluster.primary.isAlive { cluster.restart(saved) } }
        case .failOver, .splitEngine:
            guard server.isAlive else { return }
            if cluster.lag > 0 { oracle.figures.add("goal: failover lost an acknowledged entry") }
            cluster.failOver(splitFor: action == .splitEngine ? duration : nil)
        case .flushAll: server.data.flushAll()
        case .deleteKey:
            switch world.random.below(3) {
            case 0: server.data.record = .missing
            case 1: server.data.position = .missing
            default: server.data.stream = .missing
            }
        case .damageKey:
            switch world.random.below(4) {
            case 0: server.data.record = world.random.oneIn(2) ? .other : .text("nonsense")
            case 1: server.data.position = .other
            case 2: server.data.position = .text("12x")
            default: server.data.stream = .other
            }
        case .trim: server.data.trim(to: world.random.below(4))
        case .deleteEntry: server.data.deleteEntry(at: world.random.below(max(1, server.data.entries.count)))
        case .goBack:
            // Like loading a dump: the values change, too, and no message on its way is lost.
            server.data = cluster.savedData
            server.dropConnections { _ in true }
            oracle.rewound()
            oracle.uncover()
        case .evictValues: server.data.values = [:]
        case .refuseWrites, .refuseAll:
            server.refusal = action == .refuseWrites ? .writes : world.random.oneIn(2) ? .everything : .connections
            world.after(duration, nil, "no refusal") { server.refusal = nil }
        default: break
        }
    }
}
