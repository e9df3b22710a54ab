import IPC
import NIOCore

/// Reads through the cache. Cached values are finished bodies, which a hit sends unchanged.
struct CachedUsers: Sendable {
    let cache: SyncedCache
    let store: UserStore

    /// Maximum length of a body in bytes, and bound for the hobbies in statistics: a worker's memory is bounded, also
    /// with millions of stored users.
    static let maximumBodyBytes = 64 << 20
    private static let maximumHobbies = 1_000_000

    /// The body of an entry that this process has in memory.
    func bodyInMemory(_ entry: CacheEntry) -> ByteBuffer? { cache.valueInMemory(for: entry.key) }

    /// All users.
    nonisolated(nonsending) func users() async throws -> CachedValue {
        try await value(.users) { [store] in
            let list = try await store.users(into: UserList()) { list, user throws(StorageFailure) in
                list.add(user)
                guard list.byteCount <= Self.maximumBodyBytes else { throw .tooLarge }
            }
            return list.finished()
        }
    }

    nonisolated(nonsending) func statistics() async throws -> CachedValue {
        try await value(.statistics) { [store] in
            let statistics = try await store.profiles(into: Statistics()) { statistics, user throws(StorageFailure) in
                statistics.add(user)
                guard statistics.hobbyCount <= Self.maximumHobbies else { throw .tooLarge }
            }
            var writer = JSONWriter()
            statistics.write(to: &writer)
            return writer.buffer
        }
    }

    /// - Parameter entry: a graph.
    nonisolated(nonsending) func graph(_ entry: CacheEntry) async throws -> CachedValue {
        guard case .graph(let request, let includesConnections) = entry else { return try await users() }
        return try await value(entry) { [store] in
            let (page, friends) =
                includesConnections
                ? try await store.pageWithFriends(request) : (try await store.page(request), [])
            let graph = GraphPage(
                users: page.users, friendsElsewhere: friends,
                pagination: Pagination(page: request, total: page.total), includesConnections: includesConnections)
            var writer = JSONWriter()
            graph.write(to: &writer)
            return writer.buffer
        }
    }

    /// One user. The absence of a user is cached, too.
    nonisolated(nonsending) func user(_ id: String) async throws -> CachedValue {
        try await value(.user(id: id)) { [store] in
            guard let user = try await store.user(id) else { return nil }
            var writer = JSONWriter()
            user.write(to: &writer)
            return writer.buffer
        }
    }

    private nonisolated(nonsending) func value(
        _ entry: CacheEntry, load: @escaping @Sendable () async throws -> ByteBuffer?
    ) async throws -> CachedValue {
        try await cache.value(for: entry.key, tags: entry.tags, ttl: entry.timeToLive) {
            // Building a body of many users takes time, and requests are answered on the event loop.
            try await withTaskExecutorPreference(globalConcurrentExecutor) { try await load() }
        }
    }
}

extension StorageFailure {
    fileprivate static let tooLarge = StorageFailure(
        kind: .tooLarge, evidence: .answered, detail: "more than an answer may hold")
}
