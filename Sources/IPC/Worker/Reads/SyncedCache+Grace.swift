import Synchronization

/// Keys whose load has taken longer than the soft limit and is still running.
final class SlowLoads: Sendable {
    private let keys = Mutex<[CacheKey: Int]>([:])

    func contains(_ key: CacheKey) -> Bool { keys.withLock { $0[key] != nil } }

    func add(_ key: CacheKey) { keys.withLock { $0[key, default: 0] += 1 } }

    func remove(_ key: CacheKey) {
        keys.withLock { keys in
            guard let count = keys[key] else { return }
            keys[key] = count > 1 ? count - 1 : nil
        }
    }
}

extension SyncedCache {
    /// Reads a value that L1 still has in grace, and falls back to the old value if the read fails or takes long. The
    /// served value is judged by the one rule at that moment, not before the read.
    ///
    /// A slow read continues in the background, to fill the caches. Until it ends no other request waits for it.
    func withGrace(
        _ value: CachedValue, for key: CacheKey, read: @escaping @Sendable () async throws -> CachedValue
    ) async throws -> CachedValue {
        if slowLoads.contains(key) { return value }
        let race = SharedTask<Result<CachedValue, any Error>>()
        let timer = configuration.graceAfter.map { limit in
            Task { [self] in
                try await clock.sleep(clock.now() + min(limit, Self.longestGraceWait).wholeNanoseconds)
                guard let value = l1.graceValue(for: key) else { return }
                slowLoads.add(key)
                // The read may have ended meanwhile; in that case this code removes the key.
                if !race.finishFirst(.success(value)) { slowLoads.remove(key) }
            }
        }
        race.begin(on: configuration.loadExecutor) { [self] in
            let result: Result<CachedValue, any Error>
            do {
                result = .success(try await read())
            } catch {
                result = l1.graceValue(for: key).map { .success($0) } ?? .failure(error)
            }
            timer?.cancel()
            if !race.finishFirst(result) { slowLoads.remove(key) }
        }
        return try await race.value().get()
    }

    private static let longestGraceWait = Duration.seconds(86_400)
}
