import IPC
import NIOCore

/// Reads through the cache. Cached values are finished bodies, which a hit sends unchanged. The store makes them on its
/// own threads: building a body of many users takes time, and requests are answered on the event loop.
struct CachedUsers: Sendable {
    let cache: SyncedCache
    let store: UserStore

    /// The body of an entry that this process has in memory.
    ///
    /// - Parameter position: of a write that it must not be older than, as for all reads.
    func bodyInMemory(_ entry: CacheEntry, after position: SyncPosition?) -> ByteBuffer? {
        cache.valueInMemory(for: entry.key, after: position)
    }

    /// All users.
    nonisolated(nonsending) func users(after position: SyncPosition?) async throws -> CachedValue {
        try await value(.users, after: position) { [store] in try await store.users() }
    }

    nonisolated(nonsending) func statistics(after position: SyncPosition?) async throws -> CachedValue {
        try await value(.statistics, after: position) { [store] in try await store.statistics() }
    }

    /// - Parameter entry: a graph.
    nonisolated(nonsending) func graph(_ entry: CacheEntry, after position: SyncPosition?) async throws -> CachedValue {
        guard case .graph(let request, let includesConnections) = entry else { return try await users(after: position) }
        return try await value(entry, after: position) { [store] in
            try await store.graph(request, includesConnections: includesConnections)
        }
    }

    /// One user. The absence of a user is cached, too.
    nonisolated(nonsending) func user(_ id: String, after position: SyncPosition?) async throws -> CachedValue {
        try await value(.user(id: id), after: position) { [store] in try await store.userBody(id) }
    }

    private nonisolated(nonsending) func value(
        _ entry: CacheEntry, after position: SyncPosition?, load: @escaping @Sendable () async throws -> ByteBuffer?
    ) async throws -> CachedValue {
        try await cache.value(
            for: entry.key, tags: entry.tags, ttl: entry.timeToLive, after: position, load: load)
    }
}
