import IPCWire
import NIOCore

extension SyncEngine {
    /// A query to L2 in Redis that is not answered yet, and every request that waits for its result.
    struct Lookup: Sendable {
        var key: ByteBuffer
        var askers: [Asker]
        #if MUTANTS
            // `verdictAtQuestion` compares with the position that was applied when Redis was asked. No rule needs it,
            // so only a build with mutants stores it.
            var appliedAtQuestion: LogPosition = .max
        #endif

        /// Whether a value was fresh when Redis was asked, though not any more (`verdictAtQuestion`).
        func wasFresh(_ verdict: FreshnessVerdict) -> Bool {
            #if MUTANTS
                if breaks(.verdictAtQuestion), case .invalidated(_, let position) = verdict {
                    return position > appliedAtQuestion
                }
            #endif
            return false
        }
    }

    struct Asker: Sendable {
        var client: ClientID
        var request: RequestID
        var purpose: Purpose
    }

    enum Purpose: Sendable {
        /// With a ticket, the client has the reply already, and the outcome is pushed.
        case fetch(waitMilliseconds: UInt64?, ticket: UInt64?)
        /// The client has a value that may live for this long still.
        case renew(ttlMilliseconds: UInt64)
        case explain
    }

    // MARK: FETCH

    mutating func fetch(
        _ client: ClientID, _ id: RequestID, ticket: UInt64? = nil, key: ByteBuffer, wait: UInt64?,
        _ turn: inout Turn<Effect>
    ) {
        // A hit is trusted already: the rule looks at that, too.
        if let hit = cached(key, now: turn.now) {
            figures.hits += 1
            answer(client, id, ticket, .hit(hit), &turn)
            return
        }
        let isEndingIdleness = isEndingIdleness(turn.now)
        guard mayAnswer(turn.now) || isEndingIdleness else {
            figures.misses += 1
            answer(client, id, ticket, .miss, &turn)
            return
        }
        let wait = wait != nil && clients[client]?.version == .v3 ? wait : nil
        if isUpstreamConnected, !loads.isLoading(key) || loads.isRenewing(key) || isEndingIdleness {
            // Redis answers in order: when it has answered this, the probe before it has been answered, too.
            let purpose = Purpose.fetch(waitMilliseconds: wait, ticket: ticket)
            let asker = Asker(client: client, request: id, purpose: purpose)
            lookUp(key, asker, &turn)
        } else {
            // While somebody loads it, Redis has not got it, unless it is renewed.
            admit(client, id, ticket: ticket, key: key, wait: wait, &turn)
        }
    }

    /// Sends the outcome of a FETCH.
    ///
    /// - Parameter ticket: that the client was told before; `nil`: the outcome is the reply.
    private func answer(
        _ client: ClientID, _ id: RequestID, _ ticket: UInt64?, _ outcome: FetchOutcome, _ turn: inout Turn<Effect>
    ) {
        if let ticket {
            turn.add(.push(client, .fetched(ticket: ticket, outcome)))
        } else {
            turn.add(.reply(client, id, .fetched(outcome)))
        }
    }

    /// Whether only the probe is missing that the end of idleness has caused.
    private func isEndingIdleness(_ now: BootTime) -> Bool {
        isUpstreamConnected && log.isSynced && trust.distrust(at: now) == .freshAsOfTooOld
    }

    // MARK: FETCH … RENEW

    /// A lease although a fresh value may be there, for the first who asks. Nobody waits: who asks has a value.
    mutating func renew(
        _ client: ClientID, _ id: RequestID, key: ByteBuffer, ttlMilliseconds: UInt64, _ turn: inout Turn<Effect>
    ) {
        guard mayAnswer(turn.now), !isBeingLoaded(key) else {
            turn.add(.reply(client, id, .fetched(.miss)))
            return
        }
        switch configuration.mode {
        case .embedded:
            let hit = cached(key, now: turn.now)
            answerRenewal(client, id, key, hit, ttlMilliseconds: ttlMilliseconds, &turn)
        case .redis:
            // Another host may have renewed it, so Redis is asked even if the arena has it.
            guard isUpstreamConnected else {
                turn.add(.reply(client, id, .fetched(.miss)))
                return
            }
            let asker = Asker(client: client, request: id, purpose: .renew(ttlMilliseconds: ttlMilliseconds))
            lookUp(key, asker, &turn)
        }
    }

    /// Somebody else may have renewed the value already: then it lives longer than that of the asker.
    private mutating func answerRenewal(
        _ client: ClientID, _ id: RequestID, _ key: ByteBuffer, _ found: Hit?, ttlMilliseconds: UInt64,
        _ turn: inout Turn<Effect>
    ) {
        if let found, found.ttlMilliseconds > ttlMilliseconds {
            figures.hits += 1
            turn.add(.reply(client, id, .fetched(.hit(found))))
        } else if isBeingLoaded(key) {
            turn.add(.reply(client, id, .fetched(.miss)))
        } else {
            admit(client, id, key: key, wait: nil, isRenewal: found != nil, &turn)
        }
    }

    private func isBeingLoaded(_ key: ByteBuffer) -> Bool { loads.isLoading(key) && !breaks(.renewedByEverybody) }

    /// A fresh value from the arena.
    private mutating func cached(_ key: ByteBuffer, now: BootTime) -> Hit? {
        guard let copy = arenaCopy(of: key) else { return nil }
        let verdict = verdict(copy.incarnation, asOf: copy.entry.asOf, copy.slots, deadline: copy.deadline, now: now)
        guard verdict.isFresh else {
            if case .notTrusted = verdict { return nil }
            arena?.remove(key)
            return nil
        }
        return Hit(copy.entry, ttlMilliseconds: max(1, (copy.deadline - now) / 1_000_000), epoch: log.epoch)
    }

    /// The copy of a record. It is kept for a while.
    private mutating func arenaCopy(of key: ByteBuffer) -> ArenaCopy? {
        guard let arena, let offset = arena.offset(of: key) else { return nil }
        if let copy = copies.value(for: offset) { return copy }
        guard let entry = arena.entry(for: key) else { return nil }
        let copy = ArenaCopy(entry, key: key, table: table)
        copies.insert(offset, copy, bytes: copy.bytes)
        return copy
    }

    /// The verdict on an entry that is stored in Redis.
    private func verdict(
        on entry: StoredEntry, key: ByteBuffer, ttlMilliseconds: UInt64, now: BootTime
    ) -> FreshnessVerdict {
        guard entry.asOf <= log.applied || breaks(.lostLogBelieved) else { return .aheadOfApplied(log.applied) }
        let slots = table.slots(key: key, tags: entry.tags)
        let (lifetime, isEndless) = ttlMilliseconds.multipliedReportingOverflow(by: 1_000_000)
        return verdict(
            entry.incarnation, asOf: entry.asOf, slots,
            deadline: isEndless ? .max : now.saturatingAdd(lifetime), now: now)
    }

    private func verdict(
        _ incarnation: Incarnation, asOf: LogPosition, _ slots: [UInt32], deadline: BootTime, now: BootTime
    ) -> FreshnessVerdict {
        FreshnessRule.verdict(
            trust: { trust },
            invalidation: {
                slots.withUnsafeBufferPointer { FreshnessRule.firstInvalidation($0, after: asOf, in: table) }
            },
            objection: {
                FreshnessRule.objection(
                    to: incarnation, asOf: asOf, log: log.incarnation, firstKnownPosition: log.firstKnownPosition)
            }, deadline: deadline, clock: { now })
    }

    /// The verdict on a value that was loaded under a valid lease.
    private func verdict(on fill: Fill, _ lease: Lease, now: BootTime) -> FreshnessVerdict {
        let slots = table.slots(key: fill.key, tags: breaks(.fillChecksKeyOnly) ? [] : fill.tags)
        return verdict(log.incarnation, asOf: lease.asOf, slots, deadline: .max, now: now)
    }

    private func hit(_ entry: StoredEntry, ttlMilliseconds: UInt64) -> Hit {
        Hit(
            value: entry.value, asOf: entry.asOf, ttlMilliseconds: ttlMilliseconds, tags: entry.tags,
            epoch: log.epoch)
    }

    /// The key is not in the cache: the first request gets a lease, later ones a ticket.
    private mutating func admit(
        _ client: ClientID, _ id: RequestID, ticket: UInt64? = nil, key: ByteBuffer, wait: UInt64?,
        isRenewal: Bool = false, _ turn: inout Turn<Effect>
    ) {
        let isWithinShare = (
            lease: self.isWithinShare(client, total: loads.leaseCount, limit: limits.leases) {
                loads.leases(of: $0)
            },
            wait: self.isWithinShare(client, total: loads.waiterCount, limit: limits.waiters) {
                loads.waiters(of: $0)
            }
        )
        let admission = loads.admit(
            key, client: client, wait: wait, ticket: ticket, isRenewal: isRenewal, asOf: log.applied, epoch: log.epoch,
            now: turn.now, isWithinShare: { isLease in isLease ? isWithinShare.lease : isWithinShare.wait })
        switch admission {
        case .lease(let lease):
            if !isRenewal { figures.misses += 1 }
            answer(client, id, ticket, .lease(lease), &turn)
        case .wait(let given): if ticket == nil { turn.add(.reply(client, id, .wait(ticket: given))) }
        case .loading:
            figures.misses += 1
            answer(client, id, ticket, .miss, &turn)
        case .full where ticket != nil: answer(client, id, ticket, .miss, &turn)
        case .full:
            let error = ReplyError(.busy, "no room for one more lease or waiter: read the database")
            turn.add(.reply(client, id, .error(error)))
        }
    }

    // MARK: L2 in Redis

    private mutating func lookUp(_ key: ByteBuffer, _ asker: Asker, _ turn: inout Turn<Effect>) {
        if let id = lookupOfKey[key] {
            lookups[id]?.askers.append(asker)
            return
        }
        let id = log.makeID()
        let key = key.compacted
        lookupOfKey[key] = id
        lookups[id] = Lookup(key: key, askers: [asker])
        #if MUTANTS
            lookups[id]?.appliedAtQuestion = log.applied
        #endif
        guard lookups.count <= limits.lookups else { return lookupEnded(id, found: nil, &turn) }
        deadlines.add(.lookup(id), at: turn.now + limits.lookupNanoseconds)
        turn.add(.upstream(.get(id, key: key)))
    }

    /// Answers every request that waits for a key; the verdict is made now. `nil`: no value, or no answer in time.
    /// `isThere`: Redis has a value that it can't send now, so that nobody need load it for the others.
    mutating func lookupEnded(
        _ id: UpstreamID, found: (entry: ByteBuffer, ttlMilliseconds: UInt64)?, isThere: Bool = false,
        _ turn: inout Turn<Effect>
    ) {
        guard let lookup = lookups.removeValue(forKey: id) else { return }
        lookupOfKey[lookup.key] = nil
        let entry = found.flatMap { StoredEntry(encoded: $0.entry, limits: limits.wire) }
        keepInArena(entry, lookup, found?.ttlMilliseconds, now: turn.now)
        for asker in lookup.askers {
            guard clients[asker.client] != nil else {
                left(asker, &turn)
                continue
            }
            switch asker.purpose {
            case .explain:
                if let entry, let ttl = found?.ttlMilliseconds {
                    explained(asker.client, asker.request, lookup.key, entry, ttlMilliseconds: ttl, &turn)
                } else {
                    explainArena(asker.client, asker.request, lookup.key, &turn)
                }
            case .fetch(let wait, let ticket):
                guard mayAnswer(turn.now), !isThere else {
                    figures.misses += 1
                    answer(asker.client, asker.request, ticket, .miss, &turn)
                    continue
                }
                let hit = freshHit(entry, lookup, found?.ttlMilliseconds, now: turn.now)
                if let hit = hit ?? cached(lookup.key, now: turn.now) {
                    figures.hits += 1
                    answer(asker.client, asker.request, ticket, .hit(hit), &turn)
                } else {
                    admit(asker.client, asker.request, ticket: ticket, key: lookup.key, wait: wait, &turn)
                }
            case .renew(let ttl):
                guard mayAnswer(turn.now), !isThere else {
                    turn.add(.reply(asker.client, asker.request, .fetched(.miss)))
                    continue
                }
                let hit = freshHit(entry, lookup, found?.ttlMilliseconds, now: turn.now)
                answerRenewal(
                    asker.client, asker.request, lookup.key, hit, ttlMilliseconds: ttl, &turn)
            }
        }
    }

    /// Ends the request of a client that has gone: as long as it is under way, its process has less room.
    private func left(_ asker: Asker, _ turn: inout Turn<Effect>) {
        if case .fetch(_, ticket: .some) = asker.purpose { return }
        turn.add(.reply(asker.client, asker.request, .fetched(.miss)))
    }

    /// What Redis keeps, if it is fresh at this moment.
    private func freshHit(
        _ entry: StoredEntry?, _ lookup: Lookup, _ ttlMilliseconds: UInt64?, now: BootTime
    ) -> Hit? {
        guard let entry, let ttlMilliseconds else { return nil }
        let verdict = verdict(on: entry, key: lookup.key, ttlMilliseconds: ttlMilliseconds, now: now)
        guard verdict.isFresh || lookup.wasFresh(verdict) else { return nil }
        return hit(entry, ttlMilliseconds: ttlMilliseconds)
    }

    /// Keeps what Redis had for the workers of this host, if it is fresh and they have nothing newer.
    private mutating func keepInArena(
        _ entry: StoredEntry?, _ lookup: Lookup, _ ttlMilliseconds: UInt64?, now: BootTime
    ) {
        guard let entry, let ttlMilliseconds, freshHit(entry, lookup, ttlMilliseconds, now: now) != nil,
            cached(lookup.key, now: now).map({ $0.ttlMilliseconds < ttlMilliseconds }) ?? true
        else { return }
        keepInArena(entry, key: lookup.key, ttlMilliseconds: ttlMilliseconds, now: now)
    }

    /// Keeps a value for the workers of this host, unless it is too long for the arena. It is not newer than the last
    /// applied entry, by which the next syncd knows the log again.
    private func keepInArena(_ entry: StoredEntry, key: ByteBuffer, ttlMilliseconds: UInt64, now: BootTime) {
        let (lifetime, isEndless) = ttlMilliseconds.multipliedReportingOverflow(by: 1_000_000)
        arena?.insert(
            ArenaEntry(
                incarnation: entry.incarnation, asOf: entry.asOf,
                deadline: isEndless ? .max : now.saturatingAdd(lifetime), tags: entry.tags, value: entry.value),
            for: key, now: now)
    }

    /// Ends all queries: Redis will not answer any more, or its answers would not be trusted.
    mutating func endLookups(_ turn: inout Turn<Effect>) {
        for id in lookups.keys.sorted() { lookupEnded(id, found: nil, &turn) }
    }

    // MARK: FILL

    mutating func fill(
        _ client: ClientID, _ id: RequestID, _ fill: Fill, _ turn: inout Turn<Effect>
    ) {
        func refuse(_ code: ErrorCode, _ message: String) {
            turn.add(.reply(client, id, .error(ReplyError(code, message))))
        }
        guard log.state == .attached else {
            return refuse(.isolated, "this host is cut off from the log: keep nothing")
        }
        let given = loads.isValid(fill.lease, key: fill.key, client: client, epoch: log.epoch, now: turn.now)
        let invented =
            breaks(.fillWithoutLease) ? Lease(id: fill.lease, asOf: log.applied, epoch: log.epoch) : nil
        guard let lease = given ?? invented else {
            return refuse(.noLease, "the lease is unknown, expired or of another epoch")
        }
        guard verdict(on: fill, lease, now: turn.now).isFresh else {
            figures.staleFills += 1
            refuse(.stale, "a tag was invalidated while the value was loaded")
            regrant(fill.key, &turn)
            return
        }
        accept(fill, lease, client, id, &turn)
    }

    /// Stores a value that is fresh, and sends it to every waiter.
    private mutating func accept(
        _ fill: Fill, _ lease: Lease, _ client: ClientID, _ id: RequestID, _ turn: inout Turn<Effect>
    ) {
        figures.fills += 1
        turn.add(.reply(client, id, .ok))
        let entry = StoredEntry(
            incarnation: log.incarnation, asOf: lease.asOf, tags: fill.tags, value: fill.value)
        let hit = hit(entry, ttlMilliseconds: fill.ttlMilliseconds)
        for waiter in loads.finish(fill.key) {
            figures.hits += 1
            figures.coalesced += 1
            turn.add(.push(waiter.client, .fetched(ticket: waiter.ticket, .hit(hit))))
        }
        store(entry, key: fill.key, ttlMilliseconds: fill.ttlMilliseconds, &turn)
    }

    private mutating func store(
        _ entry: StoredEntry, key: ByteBuffer, ttlMilliseconds: UInt64, _ turn: inout Turn<Effect>
    ) {
        keepInArena(entry, key: key, ttlMilliseconds: ttlMilliseconds, now: turn.now)
        guard configuration.mode == .redis, isUpstreamConnected,
            (entry.value?.readableBytes ?? 0) <= limits.upstreamValueBytes
        else { return }
        turn.add(.upstream(.set(key: key, entry: entry.encoded(), ttlMilliseconds: ttlMilliseconds)))
    }

    // MARK: Leases

    /// The load ended without a value: the next waiter gets the lease.
    mutating func regrant(_ key: ByteBuffer, _ turn: inout Turn<Effect>) {
        guard mayAnswer(turn.now) else {
            for waiter in loads.finish(key) {
                turn.add(.push(waiter.client, .fetched(ticket: waiter.ticket, .miss)))
            }
            return
        }
        if let (waiter, lease) = loads.regrant(key, asOf: log.applied, epoch: log.epoch, now: turn.now) {
            cachesAreUsed(&turn)
            turn.add(.push(waiter.client, .fetched(ticket: waiter.ticket, .lease(lease))))
        }
    }

    /// Ends all loads: their leases are of a past epoch, or nothing may be answered from cache.
    mutating func endLoads(_ turn: inout Turn<Effect>) {
        for key in loads.keys() {
            for waiter in loads.finish(key) {
                turn.add(.push(waiter.client, .fetched(ticket: waiter.ticket, .miss)))
            }
        }
    }

    // MARK: EXPLAIN

    mutating func explain(
        _ client: ClientID, _ id: RequestID, _ key: ByteBuffer, _ turn: inout Turn<Effect>
    ) {
        if isUpstreamConnected, cached(key, now: turn.now) == nil {
            let asker = Asker(client: client, request: id, purpose: .explain)
            lookUp(key, asker, &turn)
        } else {
            explainArena(client, id, key, &turn)
        }
    }

    private mutating func explainArena(
        _ client: ClientID, _ id: RequestID, _ key: ByteBuffer, _ turn: inout Turn<Effect>
    ) {
        let cached = arenaCopy(of: key)
        let left = cached.map { $0.deadline > turn.now ? ($0.deadline - turn.now) / 1_000_000 : 0 } ?? 0
        explained(client, id, key, cached?.stored, ttlMilliseconds: left, &turn)
    }

    private func explained(
        _ client: ClientID, _ id: RequestID, _ key: ByteBuffer, _ entry: StoredEntry?, ttlMilliseconds: UInt64,
        _ turn: inout Turn<Effect>
    ) {
        var fields = [StatusField("key", .bytes(key))]
        let isAsked = configuration.mode == .embedded || isUpstreamConnected
        let place = entry != nil ? "L2" : loads.isLoading(key) ? "leased" : isAsked ? "absent" : "unknown"
        fields.append(StatusField("where", .text(place)))
        if let load = loads.load(key) {
            fields.append(StatusField("lease", .number(load.lease.id.number)))
            fields.append(StatusField("lease-as-of", .number(load.lease.asOf.number)))
            fields.append(StatusField("lease-holder", .number(load.holder.number)))
            fields.append(StatusField("waiters", .number(UInt64(load.waiters.count))))
        }
        let tags =
            (entry?.tags ?? []).map { StatusValue.bytes($0) } + [.text("=" + key.escaped), .text("*")]
        let slots = table.slots(key: key, tags: entry?.tags ?? [])
        if let entry {
            fields.append(StatusField("as-of", .number(entry.asOf.number)))
            fields.append(StatusField("ttl-ms", .number(ttlMilliseconds)))
            fields.append(StatusField("bytes", .number(UInt64(entry.value?.readableBytes ?? 0))))
            fields.append(StatusField("negative", .flag(entry.value == nil)))
        }
        fields.append(
            StatusField(
                "tags",
                .list(
                    zip(tags, slots).map { tag, slot in
                        .fields([
                            StatusField("tag", tag), StatusField("invalidated-at", .number(table.slot(slot).number)),
                        ])
                    })))
        let verdict = entry.map { self.verdict(on: $0, key: key, ttlMilliseconds: ttlMilliseconds, now: turn.now) }
        fields.append(StatusField("fresh", .flag(verdict == .fresh)))
        let absence = isAsked ? "it is not in L2" : "Redis is not connected, so that L2 cannot be asked"
        fields.append(StatusField("why", .text(verdict?.explanation ?? absence)))
        turn.add(.reply(client, id, .fields(fields)))
    }
}

extension FreshnessVerdict {
    /// The verdict as text for people.
    fileprivate var explanation: String {
        switch self {
        case .fresh: "no tag was invalidated after as-of"
        case .notTrusted(.isolated): "this host is isolated: nothing is answered from cache"
        case .notTrusted(.heartbeatTooOld): "syncd's last heartbeat is too old: nothing is answered from cache"
        case .notTrusted(.freshAsOfTooOld): "Redis was silent for too long: nothing is answered from cache"
        case .notTrusted(.notAskedSinceSleep): "syncd slept and has not heard from Redis since"
        case .otherLog: "it belongs to another log"
        case .beforeFirstKnownPosition(let position):
            "it is from before position \(position), where this host's knowledge begins"
        case .aheadOfApplied(let position):
            "it is from after position \(position), the last one that this host has applied: of a host that is ahead, or of a log that Redis has lost"
        case .expired: "its time to live is over"
        case .invalidated(_, let position): "a tag was invalidated after as-of, at position \(position)"
        }
    }
}
