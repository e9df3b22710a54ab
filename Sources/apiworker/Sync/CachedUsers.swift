import IPC
import NIOCore

/// Reads through the cache. Cached values are finished bodies, which a hit sends unchanged. The store makes them on its
/// own threads: building a body of many users takes time, and requests are answered on the event loop.
struct CachedUsers: Sendable {
    let cache: SyncedCache
    let store: UserStore

    /// The body of an entry that this process has in memory.
    func bodyInMemory(_ entry: CacheEntry) -> ByteBuffer? { cache.valueInMemory(for: entry.key) }

    /// All users.
    nonisolated(nonsending) func users() async throws -> CachedValue {
        try await value(.users) { [store] in try await store.users() }
    }

    nonisolated(nonsending) func statistics() async throws -> CachedValue {
        try await value(.statistics) { [store] in try await store.statistics() }
    }

    /// - Parameter entry: a graph.
    nonisolated(nonsending) func graph(_ entry: CacheEntry) async throws -> CachedValue {
        guard case .graph(let request, let includesConnections) = entry else { return try await users() }
        return try await value(entry) { [store] in
            try await store.graph(request, includesConnections: includesConnections)
        }
    }

    /// One user. The absence of a user is cached, too.
    nonisolated(nonsending) func user(_ id: String) async throws -> CachedValue {
        try await value(.user(id: id)) { [store] in try await store.userBody(id) }
    }

    private nonisolated(nonsending) func value(
        _ entry: CacheEntry, load: @escaping @Sendable () async throws -> ByteBuffer?
    ) async throws -> CachedValue {
        try await cache.value(for: entry.key, tags: entry.tags, ttl: entry.timeToLive, load: load)
    }
}
