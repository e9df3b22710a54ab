import IPCWire

/// How a value gets a successor before its time is over (docs/cache.md, "Early refresh").
///
/// Near the end of a value, a hit asks syncd for permission to load it anew (`FETCH … RENEW`). The first worker of the
/// host gets a lease, loads and fills. The others hear that somebody loads it already, and find the successor when they
/// ask again.
enum EarlyRefresh {
    /// Maximum number of concurrent refreshes per worker.
    static let limit = 64
    /// Time from the end of an attempt to the next one for the same key.
    static let pauseNanoseconds: UInt64 = 1_000_000_000
    /// A value that lives no more than this longer is not worth taking in place of the one at hand: it is the same one, as
    /// another clock has measured it.
    static let leastGainMilliseconds: UInt64 = 1000
    /// Maximum time of an attempt that does not end: longer than its lease is valid.
    static let longestNanoseconds: UInt64 = 15_000_000_000
}

extension SyncedCache {
    /// Loads a new value in the background. Whatever goes wrong, the value in use expires as it would have without it.
    ///
    /// Never inlined: otherwise every hit would reserve stack space for the task, which takes a tenth of its time.
    @inline(never)
    func refresh(
        _ key: CacheKey, _ tags: [CacheTag], _ ttl: Duration, _ load: @escaping @Sendable () async throws -> Loaded
    ) {
        let question = Question(key: key, tags: tags, ttl: ttl, load: load)
        guard isCacheable(key: key, tags: tags), let connection = session.current.connection else {
            return l1.refreshEnded(of: key)
        }
        Task(priority: .utility) { [self] in
            let ttlMilliseconds = min(
                l1.remainingMilliseconds(of: key) + EarlyRefresh.leastGainMilliseconds, limits.maximumTTLMilliseconds)
            switch await connection.renew(key, ttlMilliseconds: ttlMilliseconds) {
            case .success(.hit(let hit)): l1.insert(hit, for: key, lifetimeMilliseconds: milliseconds(ttl))
            case .success(.lease(let lease)):
                _ = await self.load(question, under: lease, over: connection, flight: Flight())
            case .success(.miss), .failure: break
            }
            // The sleep ends early only if the worker does.
            try? await clock.sleep(clock.now() + EarlyRefresh.pauseNanoseconds)
            l1.refreshEnded(of: key)
        }
    }
}
