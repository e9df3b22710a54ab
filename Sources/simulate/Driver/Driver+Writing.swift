import IPC
import IPCWire
import SyncCore

/// Properties of a write that are not left to chance.
struct WriteDemand {
    enum Content {
        /// A new value, an earlier one, or none: chance.
        case any
        case new
        case same(Int)
    }

    var content = Content.any
    var fate = Database.Write.Fate.chance
    var isTransaction: Bool?
    /// The time when the write lands.
    var landing: UInt64?
    var readsAfterwards = false
    /// A second document that it changes.
    var also: (key: Int, content: Content)?

    /// A write that lands after this time, without a fault of the database.
    static func sound(landing: UInt64) -> WriteDemand {
        WriteDemand(content: .new, fate: .sound, isTransaction: false, landing: landing)
    }
}

extension Driver {
    func write(
        _ key: Int, on worker: SimulatedWorker, _ demand: WriteDemand = WriteDemand(),
        afterwards: @escaping @Sendable () -> Void = {}
    ) {
        let demands = [(key: key, content: demand.content)] + (demand.also.map { [$0] } ?? [])
        let keys = demands.map(\.key)
        let tags = tags(for: keys)
        let hasEvent = world.random.oneIn(2)
        let write = Database.Write(worker: worker, parts: demands.map { ($0.key, content($0.key, $0.content)) })
        write.fate = demand.fate
        write.landing = demand.landing
        write.isTransaction = demand.isTransaction ?? world.random.oneIn(keys.count > 1 ? 2 : 3)
        world.run(worker) {
            Task { [self] in
                guard let cache = worker.cache else { return }
                let interruptions = worker.interruptions
                let host = worker.host
                var versions: [(key: Int, version: UInt64)] = []
                // The intent is written at this very moment; then the worker may be stopped for long.
                let canRecord = host.canRecord
                do {
                    let written = try await cache.writing(tags) { [self] () async throws -> WriteResult<Void> in
                        if canRecord { write.record = host.record(in: worker.journal) }
                        do {
                            try await database.carryOut(write)
                        } catch DatabaseError.refused {
                            return .rejected(DatabaseError.refused)
                        } catch {
                            throw UnknownOutcome(error, settled: { await write.settled() })
                        }
                        let event = Event(channel: "events", payload: "x")
                        return write.isChange
                            ? .changed((), event: hasEvent ? event : nil, at: write.change.map(Database.time))
                            : .unchanged(())
                    }
                    versions = write.parts.compactMap { part in part.seen.map { (part.key, $0) } }
                    readAnywhere(after: written.position, versions)
                } catch {
                    oracle.figures.add("writes that threw")
                    versions = write.parts.compactMap { part in part.seenAtEnd.map { (part.key, $0) } }
                    retry(write)
                }
                if worker.interruptions == interruptions, let ended = write.endedAt {
                    oracle.writeTook(
                        world.now - ended, on: worker, isAlone: isAlone(write, since: ended),
                        isRecorded: host.isRead(write.record) && host.journalFaultsUntil < ended)
                }
                for (key, version) in versions { acknowledged(write, key, version) }
                if versions.count > 1 { oracle.figures.add("writes of two keys acknowledged") }
                world.after(0, nil, "after a write", afterwards)
                guard demand.readsAfterwards || world.random.oneIn(3) else { return }
                world.after(world.random.number(0...500_000), nil, "read after a write") { [self] in
                    for key in keys { readEverywhere(key, on: host) }
                }
            }
        }
    }

    /// Whether syncd had been dead for more than a trust window by then, without any other fault: it had written a
    /// heartbeat, and every heartbeat had its reading of the journal.
    private func isAlone(_ write: Database.Write, since time: BootTime) -> Bool {
        let host = write.worker.host
        guard let syncd = host.syncd, syncd.diedAt <= time, host.ownsTable(host.table), host.isRead(write.record),
            host.journalFaultsUntil < time, !write.worker.isTableUnreadable, host.table.heartbeat > 0,
            host.table.scanStarted >= host.table.heartbeat
        else { return false }
        return oracle.isSilent(host.index, since: time - 2 * TrustTiming.trustWindowNanoseconds)
            && host.table.journalDirectory == write.record?.journal.identity
    }

    /// The client was told of this version.
    private func acknowledged(_ write: Database.Write, _ key: Int, _ version: UInt64) {
        let host = write.worker.host
        // Without a journal, only invalidations that syncd accepted outlive the worker. Intents of a living worker are none
        // of syncd's business.
        if let record = write.record, host.isRead(record), !record.journal.hasUnrenamedFile(of: write.worker) {
            oracle.acknowledged(key, version: version, on: write.worker)
            return
        }
        // A write that waited for heartbeats to grow old is not covered, if syncd has written one meanwhile.
        let isTaken = write.endedAt.map { world.now < $0 + TrustTiming.trustWindowNanoseconds } ?? false
        if isTaken {
            oracle.acknowledged(key, version: min(version, oracle.coveredVersion(key, on: host)), on: write.worker)
        }
    }

    /// A client that was told of an error may try again, at any worker.
    private func retry(_ write: Database.Write) {
        guard !isCalm, let first = write.parts.first, let content = first.content, world.random.oneIn(3) else {
            return
        }
        var demand = WriteDemand(content: .same(content), readsAfterwards: true)
        if write.parts.count > 1 {
            demand.also = (write.parts[1].key, write.parts[1].content.map(WriteDemand.Content.same) ?? .any)
        }
        world.after(world.random.number(1_000_000...500_000_000), nil, "retry") { [self, demand] in
            guard !isCalm, let worker = anyWorker else { return }
            oracle.figures.add("writes tried again")
            self.write(first.key, on: worker, demand)
        }
    }

    private func content(_ key: Int, _ wanted: WriteDemand.Content) -> Int? {
        switch wanted {
        case .same(let content): return content
        case .new: break
        case .any:
            let number = world.random.below(10)
            // There is nothing to change, or something that must not be there.
            if number == 0 { return nil }
            if number < 3, let content = lastContents[key] { return content }
        }
        let content = database.newContent()
        lastContents[key] = content
        return content
    }

    private func tags(for keys: [Int]) -> [CacheTag] {
        var all: [CacheTag] = []
        for tag in keys.flatMap({ tags(for: $0) }) where !all.contains(tag) { all.append(tag) }
        return all
    }

    private func tags(for key: Int) -> [CacheTag] {
        let reaching = oracle.names.reaching[key]
        switch world.random.below(16) {
        case 0..<8: return [reaching[1]]
        case 8..<10: return [reaching[1], reaching[0]]
        case 10..<12: return [reaching[0]]
        case 12..<15: return oracle.names.entries(of: key)
        default: return [reaching[3]]
        }
    }

    func invalidate(_ key: Int, on worker: SimulatedWorker) { invalidate(tags(for: key), on: worker) }

    func invalidate(_ tags: [CacheTag], on worker: SimulatedWorker) {
        world.run(worker) {
            Task {
                try? await worker.cache?.invalidating(tags) { WriteResult.changed((), event: nil) }
            }
        }
    }

    /// A client changes two documents at once, as friends are linked.
    func writeBoth() {
        guard plan.keys > 1, let worker = anyWorker else { return }
        let key = anyKey
        let other = (key + 1 + world.random.below(plan.keys - 1)) % plan.keys
        write(key, on: worker, WriteDemand(also: (other, .any)))
    }

    func landed(_ write: Database.Write, _ part: Database.Write.Part) {
        guard let version = part.version else { return }
        oracle.wrote(part.key, version: version, by: write.worker)
        if write.endedAt.map({ world.now > $0 + Database.patience }) ?? false {
            oracle.figures.add("goal: write landed long after its end")
        }
        promise(write, part.key, version)
    }

    /// Promise 4: every write in the journal is seen, whatever happens to its writer.
    private func promise(_ write: Database.Write, _ key: Int, _ version: UInt64) {
        let host = write.worker.host
        guard host.isRead(write.record) else { return promiseByWorker(write, key, version) }
        if write.endedAt != nil || !write.worker.isAlive || write.worker.isStopped {
            oracle.figures.add("writes without a living writer")
        }
        oracle.promise(key, version: version, from: world.now + seenAfter, on: host.index)
    }

    /// Without a journal, the worker has to send the invalidation, if the worker and syncd live and are connected all
    /// the time.
    private func promiseByWorker(_ write: Database.Write, _ key: Int, _ version: UInt64) {
        let worker = write.worker
        guard let syncd = worker.host.syncd, syncd.isAlive, !syncd.isStopped, worker.isAlive, !worker.isStopped,
            let link = worker.linkNumber
        else { return }
        let interruptions = (worker.interruptions, syncd.interruptions)
        told(write, landedAt: world.now) { [self] in
            guard worker.interruptions == interruptions.0, syncd.interruptions == interruptions.1,
                worker.linkNumber == link
            else { return }
            oracle.figures.add("goal: write of unknown outcome that only its worker remembers")
            oracle.promiseNow(key, version: version, on: worker.host.index)
        }
    }

    /// When its worker has had the time to tell of what has landed by now: from the end of the write on, if that is later.
    private func told(_ write: Database.Write, landedAt: BootTime, _ body: @escaping () -> Void) {
        let due = max(landedAt, write.endedAt ?? world.now) + Self.repeating + Self.collecting
        if world.now >= due { return body() }
        world.after(due - world.now, nil, "told by its worker") { [self] in
            if write.worker.isAlive { told(write, landedAt: landedAt, body) }
        }
    }

    /// A write of a register was rolled back. Caches with its value are invalidated as for a write that lands late, if
    /// the journal still has the write.
    func rolledBack(_ key: Int, _ version: UInt64, _ writes: [Database.Write]) {
        oracle.rolledBack(key, version: version)
        for write in writes {
            let host = write.worker.host
            guard !write.isSettled, world.now < write.beganAt + plan.limits.landingNanoseconds,
                host.isRead(write.record)
            else {
                oracle.figures.add("writes rolled back of which nobody knows any more")
                continue
            }
            oracle.promise(key, version: version, from: world.now + seenAfter, on: host.index)
        }
    }

    /// Interval at which a worker repeats invalidations that no journal has.
    static let repeating: UInt64 = 5_000_000_000

    /// Time after its landing until a write is seen by all on its host, whatever its writer does.
    var seenAfter: UInt64 { max(plan.limits.orphanNanoseconds, plan.limits.hungNanoseconds) + Self.collecting }

    /// A heartbeat, the trust window after it, and an append.
    static let collecting: UInt64 = 1_500_000_000
}
