import IPCWire
import NIOCore

/// How a value gets a successor before its time is over (docs/cache.md, "Early refresh").
///
/// Near the end of a value, a hit asks syncd for permission to load it anew (`FETCH … RENEW`). The first worker of the
/// host gets a lease, loads and fills. The others hear that somebody loads it already, and find the successor when they
/// ask again.
enum EarlyRefresh {
    /// Keys at once, per worker.
    static let limit = 64
    /// From the end of an attempt to the next for the same key.
    static let pauseNanoseconds: UInt64 = 1_000_000_000
    /// A value that lives no more than this longer is not worth taking in place of the one at hand: it is the same one, as
    /// another clock has measured it.
    static let leastGainMilliseconds: UInt64 = 1000
    /// How long an attempt that does not end holds its place: longer than its lease is valid.
    static let longestNanoseconds: UInt64 = 15_000_000_000
}

extension SyncedCache {
    /// Gets a successor in the background. Whatever goes wrong, the value in use ends as it would have.
    ///
    /// Never inlined: what a task needs would be made room for at every hit, which is a tenth of its time.
    @inline(never)
    func refresh(
        _ key: ByteBuffer, _ tags: [ByteBuffer], _ ttl: Duration, _ load: @escaping @Sendable () async throws -> Loaded
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
            // Ends early only if the worker does.
            try? await clock.sleep(clock.now() + EarlyRefresh.pauseNanoseconds)
            l1.refreshEnded(of: key)
        }
    }
}
