import IPCWire
import NIOCore

extension SyncedCache {
    /// How often a request asks syncd for a value at most. A request asks again when a load that it shared turned out not
    /// to be fresh. After the last attempt it reads the database by itself.
    static let maximumAttempts = 3

    /// The value of `key`: from this process's memory, from syncd, or loaded (docs/consistency.md, "Reading").
    ///
    /// - Parameters:
    ///   - key: at most 1 KiB; what has a longer one is loaded each time.
    ///   - tags: what the value depends on: at most 64 of at most 256 B, else it is loaded each time.
    ///   - ttl: how long the value may be used at most: 1 ms to 24 hours; others are brought into that range.
    ///   - load: reads the value from the database; `nil` is a negative result, which is kept, too. It may be
    ///     shared with other callers, and is cancelled when all of them are. The auditor may call it once more.
    /// - Throws: what `load` throws; `CancellationError`.
    public nonisolated(nonsending) func value(
        for key: CacheKey, tags: [CacheTag], ttl: Duration,
        load: @escaping @Sendable () async throws -> ByteBuffer?
    ) async throws -> CachedValue {
        if let hit = l1.value(for: key) {
            if let duty = hit.duty { perform(duty, key, tags, ttl) { Loaded(value: try await load()) } }
            return CachedValue(value: hit.value, source: .l1)
        }
        if let value = shared.value(for: key, lifetimeMilliseconds: milliseconds(ttl), load: load) { return value }
        return try await missed(key, tags, ttl) { Loaded(value: try await load()) }
    }

    /// The value of `key` in this process's own memory, if it is fresh and needs no further work; for callers that can
    /// answer at once and want no task. `nil`: ask ``value(for:tags:ttl:load:)``, which also counts misses, knows negative
    /// results, samples hits for the auditor and refreshes values early.
    public func valueInMemory(for key: CacheKey) -> ByteBuffer? { l1.valueWithoutWork(for: key) }

    /// The same, for values whose tags or time to live are known after the load only.
    ///
    /// - Parameters:
    ///   - tags: what the value is known to depend on; the load may add some.
    ///   - ttl: if the load doesn't say.
    public nonisolated(nonsending) func taggedValue(
        for key: CacheKey, tags: [CacheTag] = [], ttl: Duration,
        load: @escaping @Sendable () async throws -> Loaded
    ) async throws -> CachedValue {
        if let hit = l1.value(for: key) {
            if let duty = hit.duty { perform(duty, key, tags, ttl, load) }
            return CachedValue(value: hit.value, source: .l1)
        }
        let shared = shared.value(for: key, lifetimeMilliseconds: milliseconds(ttl)) { try await load().value }
        if let shared { return shared }
        return try await missed(key, tags, ttl, load)
    }

    /// The work that comes with a hit.
    private func perform(
        _ duty: L1Duty, _ key: CacheKey, _ tags: [CacheTag], _ ttl: Duration,
        _ load: @escaping @Sendable () async throws -> Loaded
    ) {
        if let sample = duty.sample { auditor?.audit(sample, of: key) { try await load().value } }
        if duty.isRefreshDue { refresh(key, tags, ttl, load) }
    }

    /// Handles a miss in L1.
    private func missed(
        _ key: CacheKey, _ tags: [CacheTag], _ ttl: Duration, _ load: @escaping @Sendable () async throws -> Loaded
    ) async throws -> CachedValue {
        guard configuration.grace > .zero, let grace = l1.graceValue(for: key) else {
            return try await obtain(key, tags, ttl, load)
        }
        return try await withGrace(grace, for: key) { [self] in try await obtain(key, tags, ttl, load) }
    }

    /// The value from syncd, or loaded.
    private func obtain(
        _ key: CacheKey, _ tags: [CacheTag], _ ttl: Duration, _ load: @escaping @Sendable () async throws -> Loaded
    ) async throws -> CachedValue {
        guard configuration.socketPath != nil, isCacheable(key: key, tags: tags) else {
            return try await direct(key, load)
        }
        let question = Question(key: key, tags: tags, ttl: ttl, load: load)
        for attempt in 0..<Self.maximumAttempts {
            if attempt > 0, let value = l1.valueWithoutRefresh(for: key) {
                return CachedValue(value: value, source: .l1)
            }
            guard let connection = session.current.connection else { break }
            switch try await self.attempt(question, over: connection) {
            case .answer(let answer): return answer
            case .again: continue
            case .direct: return try await direct(key, load)
            }
        }
        return try await direct(key, load)
    }

    /// Reads the database without storing anything.
    func direct(
        _ key: CacheKey, _ load: @escaping @Sendable () async throws -> Loaded
    ) async throws -> CachedValue {
        let value = try await bypassLoads.value(for: key) { try await load().value }
        return CachedValue(value: value, source: .bypass)
    }

    /// The parameters of a caller.
    struct Question: Sendable {
        var key: CacheKey
        var tags: [CacheTag]
        var ttl: Duration
        var load: @Sendable () async throws -> Loaded
    }

    private enum Step {
        case answer(CachedValue)
        case again
        case direct
    }

    private func attempt(_ question: Question, over connection: SyncdConnection) async throws -> Step {
        switch singleFlight.take(question.key, hasTable: l1.isUsable) {
        case .lead(let flight):
            return try leaderStep(await fly(flight, question, over: connection))
        case .alone:
            return try leaderStep(await fly(Flight(), question, over: connection))
        case .join(let flight, let isCovered):
            return joinerStep(try await flight.shared.value(), isCovered: isCovered)
        }
    }

    /// Asks in a separate task, so that the first caller's cancellation does not affect the others.
    private func fly(
        _ flight: Flight, _ question: Question, over connection: SyncdConnection
    ) async throws -> FlightEnd {
        flight.shared.begin(on: configuration.loadExecutor) { [self] in
            let end = await ask(question, over: connection, flight: flight)
            // From here on no request joins: a value that is fresh now is fresh for all that have joined.
            singleFlight.remove(flight, of: question.key)
            let isFresh =
                switch end {
                case .found(let hit), .filled(let hit): l1.isFresh(hit, for: question.key)
                case .unconfirmed, .failed, .miss: false
                }
            flight.shared.finish(FlightResult(end: end, isFreshAtEnd: isFresh))
        }
        return try await flight.shared.value().end
    }

    private func leaderStep(_ end: FlightEnd) throws -> Step {
        switch end {
        case .found(let hit): return .answer(CachedValue(value: hit.value, source: .l2))
        case .filled(let hit): return .answer(CachedValue(value: hit.value, source: .miss))
        case .unconfirmed(let value): return .answer(CachedValue(value: value, source: .miss))
        case .failed(let error): throw error
        case .miss: return .direct
        }
    }

    private func joinerStep(_ result: FlightResult, isCovered: Bool) -> Step {
        let isFreshAtEnd = result.isFreshAtEnd || breaks(.joinerGetsOlderLoad)
        switch result.end {
        case .found(let hit):
            return isFreshAtEnd ? .answer(CachedValue(value: hit.value, source: .l2)) : .again
        case .filled(let hit):
            let isFresh = isCovered || isFreshAtEnd
            return isFresh ? .answer(CachedValue(value: hit.value, source: .l2)) : .again
        // The error of another request is no answer to this one.
        case .unconfirmed, .failed: return .again
        case .miss: return .direct
        }
    }

    func isCacheable(key: CacheKey, tags: [CacheTag]) -> Bool {
        key.bytes.readableBytes > 0 && key.bytes.readableBytes <= limits.keyBytes && areCacheable(tags)
    }

    private func areCacheable(_ tags: [CacheTag]) -> Bool {
        tags.count <= limits.tagsPerEntry
            && tags.allSatisfy { $0.bytes.readableBytes > 0 && $0.bytes.readableBytes <= limits.tagBytes }
    }

    /// Tags and time to live of a loaded value in the cache; `nil`: it is not stored.
    func keeping(_ loaded: Loaded, _ question: Question) -> (tags: [CacheTag], ttlMilliseconds: UInt64)? {
        let tags = question.tags + loaded.tags
        guard loaded.value?.readableBytes ?? 0 <= limits.valueBytes, loaded.tags.isEmpty || areCacheable(tags),
            loaded.ttl.map({ $0 > .zero }) ?? true
        else { return nil }
        return (tags, spread(milliseconds(loaded.ttl ?? question.ttl)))
    }

    /// The time is only shortened: the caller's value is the maximum.
    private func spread(_ milliseconds: UInt64) -> UInt64 {
        let percent = UInt64(max(0, min(configuration.ttlSpreadPercent, 90)))
        guard percent > 0 else { return milliseconds }
        return max(1, milliseconds - platform.random(0...milliseconds * percent / 100))
    }

    func milliseconds(_ ttl: Duration) -> UInt64 {
        let (seconds, attoseconds) = ttl.components
        guard seconds >= 0, attoseconds >= 0 else { return 1 }
        let limit = limits.maximumTTLMilliseconds
        guard seconds < limit / 1000 else { return limit }
        return max(1, UInt64(seconds) * 1000 + UInt64(attoseconds / 1_000_000_000_000_000))
    }
}
