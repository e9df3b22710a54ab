import IPCWire
import NIOCore

extension Brain {
    /// A question to L2 in Redis that is not answered yet, and everybody who wants the answer.
    struct Lookup: Sendable {
        var key: ByteBuffer
        var askers: [Asker]
        #if MUTANTS
            var appliedAtQuestion: UInt64 = 0
        #endif
    }

    struct Asker: Sendable {
        var client: ClientID
        var request: RequestID
        var purpose: Purpose
    }

    enum Purpose: Sendable {
        case fetch(waitMilliseconds: UInt64?)
        case explain
    }

    // MARK: FETCH

    mutating func fetch(
        _ client: ClientID, _ id: RequestID, key: ByteBuffer, wait: UInt64?, now: UInt64, effects: inout [Effect]
    ) {
        guard mayAnswer(now) else {
            figures.misses += 1
            effects.append(.reply(client, id, .fetched(.miss)))
            return
        }
        let wait = wait != nil && clients[client]?.version == .v3 ? wait : nil
        switch configuration.mode {
        case .embedded:
            if let hit = cached(key, now: now) {
                figures.hits += 1
                effects.append(.reply(client, id, .fetched(.hit(hit))))
            } else {
                admit(client, id, key: key, wait: wait, now: now, effects: &effects)
            }
        case .redis:
            // While somebody loads it, Redis has not got it.
            if loads.isLoading(key) || !isUpstreamConnected {
                admit(client, id, key: key, wait: wait, now: now, effects: &effects)
            } else {
                let asker = Asker(client: client, request: id, purpose: .fetch(waitMilliseconds: wait))
                lookUp(key, asker, now: now, effects: &effects)
            }
        }
    }

    /// A fresh value of the cache in this process.
    private mutating func cached(_ key: ByteBuffer, now: UInt64) -> Hit? {
        guard let cached = cache.value(for: key) else { return nil }
        guard cached.expiresAt > now, isFresh(cached) else {
            cache.remove(key)
            return nil
        }
        return Hit(cached.entry, ttlMilliseconds: max(1, (cached.expiresAt - now) / 1_000_000), epoch: log.epoch)
    }

    /// The one rule, for an entry of L2.
    func isFresh(_ entry: StoredEntry, key: ByteBuffer) -> Bool {
        #if MUTANTS
            if Mutant.active == .incarnationIgnored || Mutant.active == .horizonIgnored {
                return (Mutant.active == .incarnationIgnored || entry.incarnation == log.incarnation)
                    && (Mutant.active == .horizonIgnored || entry.asOf >= log.horizon)
                    && isUnchanged(since: entry.asOf, key: key, tags: entry.tags)
            }
        #endif
        return entry.incarnation == log.incarnation && entry.asOf >= log.horizon
            && isUnchanged(since: entry.asOf, key: key, tags: entry.tags)
    }

    /// The same for one of the cache in this process.
    private func isFresh(_ cached: CachedEntry) -> Bool {
        let entry = cached.entry
        #if MUTANTS
            if Mutant.active == .incarnationIgnored || Mutant.active == .horizonIgnored {
                return (Mutant.active == .incarnationIgnored || cached.incarnation == log.incarnation)
                    && (Mutant.active == .horizonIgnored || entry.asOf >= log.horizon)
                    && cached.slots.allSatisfy { table.slot($0) <= entry.asOf }
            }
        #endif
        guard cached.incarnation == log.incarnation, entry.asOf >= log.horizon else { return false }
        for slot in cached.slots where table.slot(slot) > entry.asOf { return false }
        return true
    }

    /// Whether none of the tags, the declared ones and the two that every entry has, was invalidated after `asOf`.
    private func isUnchanged(since asOf: UInt64, key: ByteBuffer, tags: [ByteBuffer]) -> Bool {
        func position(_ hash: UInt64) -> UInt64 {
            let position = table.slot(table.slotIndex(hash))
            #if MUTANTS
                // What was invalidated since the question does not count.
                if let question = appliedAtQuestion, position > question { return 0 }
            #endif
            return position
        }
        return position(TagHash.key(key)) <= asOf && position(TagHash.everything) <= asOf
            && tags.allSatisfy { position(TagHash.tag($0)) <= asOf }
    }

    private func hit(_ entry: StoredEntry, ttlMilliseconds: UInt64) -> Hit {
        Hit(
            value: entry.value, asOf: entry.asOf, ttlMilliseconds: ttlMilliseconds, tags: entry.tags,
            epoch: log.epoch)
    }

    /// The key is not in the cache: a lease for the first who asks, a ticket for the others.
    private mutating func admit(
        _ client: ClientID, _ id: RequestID, key: ByteBuffer, wait: UInt64?, now: UInt64, effects: inout [Effect]
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
            key, client: client, wait: wait, asOf: log.applied, epoch: log.epoch, now: now,
            isWithinShare: { isLease in isLease ? isWithinShare.lease : isWithinShare.wait })
        let reply: Reply
        switch admission {
        case .lease(let lease):
            figures.misses += 1
            reply = .fetched(.lease(lease))
        case .wait(let ticket): reply = .wait(ticket: ticket)
        case .loading:
            figures.misses += 1
            reply = .fetched(.miss)
        case .full: reply = .error(ReplyError(.busy, "no room for one more lease or waiter: read the database"))
        }
        effects.append(.reply(client, id, reply))
    }

    // MARK: L2 in Redis

    private mutating func lookUp(_ key: ByteBuffer, _ asker: Asker, now: UInt64, effects: inout [Effect]) {
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
        guard lookups.count <= limits.lookups else { return lookupEnded(id, found: nil, now: now, effects: &effects) }
        deadlines.add(.lookup(id), at: now + limits.lookupNanoseconds)
        effects.append(.upstream(.get(id, key: key)))
    }

    /// Answers everybody who asked for a key; the verdict is made now. `nil`: not there, or no answer in time.
    mutating func lookupEnded(
        _ id: UpstreamID, found: (entry: ByteBuffer, ttlMilliseconds: UInt64)?, now: UInt64, effects: inout [Effect]
    ) {
        guard let lookup = lookups.removeValue(forKey: id) else { return }
        lookupOfKey[lookup.key] = nil
        let entry = found.flatMap { StoredEntry(encoded: $0.entry, limits: limits.wire) }
        #if MUTANTS
            if Mutant.active == .verdictAtQuestion { appliedAtQuestion = lookup.appliedAtQuestion }
            defer { appliedAtQuestion = nil }
        #endif
        for asker in lookup.askers where clients[asker.client] != nil {
            switch asker.purpose {
            case .explain:
                let ttl = found?.ttlMilliseconds ?? 0
                explained(
                    asker.client, asker.request, lookup.key, entry, ttlMilliseconds: ttl, now: now, effects: &effects)
            case .fetch(let wait):
                guard mayAnswer(now) else {
                    figures.misses += 1
                    effects.append(.reply(asker.client, asker.request, .fetched(.miss)))
                    continue
                }
                if let entry, let found, found.ttlMilliseconds > 0, isFresh(entry, key: lookup.key) {
                    figures.hits += 1
                    let hit = hit(entry, ttlMilliseconds: found.ttlMilliseconds)
                    effects.append(.reply(asker.client, asker.request, .fetched(.hit(hit))))
                } else {
                    admit(asker.client, asker.request, key: lookup.key, wait: wait, now: now, effects: &effects)
                }
            }
        }
    }

    /// Redis will not answer any more, or nobody would believe it.
    mutating func endLookups(now: UInt64, effects: inout [Effect]) {
        for id in lookups.keys.sorted() { lookupEnded(id, found: nil, now: now, effects: &effects) }
    }

    // MARK: FILL

    mutating func fill(
        _ client: ClientID, _ id: RequestID, _ fill: Fill, now: UInt64, effects: inout [Effect]
    ) {
        func refuse(_ code: ErrorCode, _ message: String) {
            effects.append(.reply(client, id, .error(ReplyError(code, message))))
        }
        guard log.state == .attached else {
            return refuse(.isolated, "this host is cut off from the log: keep nothing")
        }
        #if MUTANTS
            if Mutant.active == .fillWithoutLease {
                let lease = loads.load(fill.key)?.lease ?? Lease(id: fill.lease, asOf: log.applied, epoch: log.epoch)
                return accept(fill, lease, client, id, now: now, effects: &effects)
            }
        #endif
        guard let lease = loads.isValid(fill.lease, key: fill.key, client: client, epoch: log.epoch, now: now) else {
            return refuse(.noLease, "the lease is unknown, expired or of another epoch")
        }
        guard mayAnswer(now), isUnchanged(since: lease.asOf, key: fill.key, tags: fill.tags) else {
            #if MUTANTS
                if Mutant.active == .fillChecksKeyOnly, isUnchanged(since: lease.asOf, key: fill.key, tags: []) {
                    return accept(fill, lease, client, id, now: now, effects: &effects)
                }
            #endif
            figures.staleFills += 1
            refuse(.stale, "a tag was invalidated while the value was loaded")
            passOn(fill.key, now: now, effects: &effects)
            return
        }
        accept(fill, lease, client, id, now: now, effects: &effects)
    }

    /// Keeps a value that is fresh, and gives it to everybody who waits for it.
    private mutating func accept(
        _ fill: Fill, _ lease: Lease, _ client: ClientID, _ id: RequestID, now: UInt64, effects: inout [Effect]
    ) {
        figures.fills += 1
        effects.append(.reply(client, id, .ok))
        let entry = StoredEntry(
            incarnation: log.incarnation, asOf: lease.asOf, tags: fill.tags, value: fill.value)
        let hit = hit(entry, ttlMilliseconds: fill.ttlMilliseconds)
        for waiter in loads.finish(fill.key) {
            figures.hits += 1
            figures.coalesced += 1
            effects.append(.push(waiter.client, .fetched(ticket: waiter.ticket, .hit(hit))))
        }
        store(entry, key: fill.key, ttlMilliseconds: fill.ttlMilliseconds, now: now, effects: &effects)
    }

    private mutating func store(
        _ entry: StoredEntry, key: ByteBuffer, ttlMilliseconds: UInt64, now: UInt64, effects: inout [Effect]
    ) {
        switch configuration.mode {
        case .embedded:
            let key = key.compacted
            let cached = CachedEntry(entry, key: key, table: table, expiresAt: now + ttlMilliseconds * 1_000_000)
            cache.insert(key, cached, bytes: cached.bytes + key.storageCapacity)
        case .redis:
            guard isUpstreamConnected, (entry.value?.readableBytes ?? 0) <= limits.upstreamValueBytes else { return }
            effects.append(
                .upstream(.set(key: key, entry: entry.encoded(), ttlMilliseconds: ttlMilliseconds)))
        }
    }

    // MARK: Leases

    /// The load ended without a value: the next who waits may try.
    mutating func passOn(_ key: ByteBuffer, now: UInt64, effects: inout [Effect]) {
        guard mayAnswer(now) else {
            for waiter in loads.finish(key) {
                effects.append(.push(waiter.client, .fetched(ticket: waiter.ticket, .miss)))
            }
            return
        }
        if let (waiter, lease) = loads.passOn(key, asOf: log.applied, epoch: log.epoch, now: now) {
            effects.append(.push(waiter.client, .fetched(ticket: waiter.ticket, .lease(lease))))
        }
    }

    /// Ends all loads: their leases are of an epoch that is over, or nothing may be answered from cache.
    mutating func endLoads(effects: inout [Effect]) {
        for key in loads.keys() {
            for waiter in loads.finish(key) {
                effects.append(.push(waiter.client, .fetched(ticket: waiter.ticket, .miss)))
            }
        }
    }

    // MARK: EXPLAIN

    mutating func explain(
        _ client: ClientID, _ id: RequestID, _ key: ByteBuffer, now: UInt64, effects: inout [Effect]
    ) {
        if configuration.mode == .redis, isUpstreamConnected {
            let asker = Asker(client: client, request: id, purpose: .explain)
            lookUp(key, asker, now: now, effects: &effects)
            return
        }
        let cached = cache.peek(key)
        let left = cached.map { $0.expiresAt > now ? ($0.expiresAt - now) / 1_000_000 : 0 } ?? 0
        explained(client, id, key, cached?.stored, ttlMilliseconds: left, now: now, effects: &effects)
    }

    private func explained(
        _ client: ClientID, _ id: RequestID, _ key: ByteBuffer, _ entry: StoredEntry?, ttlMilliseconds: UInt64,
        now: UInt64, effects: inout [Effect]
    ) {
        func slot(_ hash: UInt64) -> UInt64 { table.slot(table.slotIndex(hash)) }
        var fields = [StatusField("key", .bytes(key))]
        let place = entry != nil ? "L2" : loads.isLoading(key) ? "leased" : "absent"
        fields.append(StatusField("where", .text(place)))
        if let load = loads.load(key) {
            fields.append(StatusField("lease", .number(load.lease.id)))
            fields.append(StatusField("lease-as-of", .number(load.lease.asOf)))
            fields.append(StatusField("lease-holder", .number(load.holder)))
            fields.append(StatusField("waiters", .number(UInt64(load.waiters.count))))
        }
        let tags: [(StatusValue, UInt64)] =
            (entry?.tags ?? []).map { (.bytes($0), slot(TagHash.tag($0))) }
            + [(.text("=" + key.escaped), slot(TagHash.key(key))), (.text("*"), slot(TagHash.everything))]
        if let entry {
            fields.append(StatusField("as-of", .number(entry.asOf)))
            fields.append(StatusField("ttl-ms", .number(ttlMilliseconds)))
            fields.append(StatusField("bytes", .number(UInt64(entry.value?.readableBytes ?? 0))))
            fields.append(StatusField("negative", .flag(entry.value == nil)))
        }
        fields.append(
            StatusField(
                "tags",
                .list(
                    tags.map { .fields([StatusField("tag", $0.0), StatusField("invalidated-at", .number($0.1))]) })))
        let why =
            if let entry {
                reasonAgainst(entry, key: key, ttlMilliseconds: ttlMilliseconds, now: now)
            } else {
                Optional("it is not in L2")
            }
        fields.append(StatusField("fresh", .flag(why == nil)))
        fields.append(StatusField("why", .text(why ?? "no tag was invalidated after as-of")))
        effects.append(.reply(client, id, .fields(fields)))
    }

    /// Why an entry is not fresh; `nil`: it is.
    private func reasonAgainst(_ entry: StoredEntry, key: ByteBuffer, ttlMilliseconds: UInt64, now: UInt64) -> String? {
        if !mayAnswer(now) { return "this host is \(log.state.label): nothing is answered from cache" }
        if entry.incarnation != log.incarnation { return "it belongs to another log" }
        if entry.asOf < log.horizon {
            return "it is from before position \(log.horizon), where this host's knowledge begins"
        }
        if ttlMilliseconds == 0 { return "its time to live is over" }
        if !isUnchanged(since: entry.asOf, key: key, tags: entry.tags) { return "a tag was invalidated after as-of" }
        return nil
    }
}
