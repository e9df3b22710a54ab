import IPCWire
import NIOCore

// Reads that bring the position of a write (docs/consistency.md, "Reading your own writes").
extension SyncedCache {
    /// The same as ``value(for:tags:ttl:load:)``, and not older than a write on any host.
    ///
    /// A host that has not applied the position waits for it, at most 50 ms. Without it the value is loaded, past all
    /// caches, and not kept.
    ///
    /// - Parameter position: that of the write (``Written/position``); `nil`: none.
    public nonisolated(nonsending) func value(
        for key: CacheKey, tags: [CacheTag], ttl: Duration, after position: SyncPosition?,
        load: @escaping @Sendable () async throws -> ByteBuffer?
    ) async throws -> CachedValue {
        if let position, await !positions.contain(position) {
            return try await direct(key) { Loaded(value: try await load()) }
        }
        return try await value(for: key, tags: tags, ttl: ttl, load: load)
    }

    /// The same, for values whose tags or time to live are known after the load only.
    public nonisolated(nonsending) func taggedValue(
        for key: CacheKey, tags: [CacheTag] = [], ttl: Duration, after position: SyncPosition?,
        load: @escaping @Sendable () async throws -> Loaded
    ) async throws -> CachedValue {
        if let position, await !positions.contain(position) { return try await direct(key, load) }
        return try await taggedValue(for: key, tags: tags, ttl: ttl, load: load)
    }

    /// The same as ``valueInMemory(for:)``; `nil` also if this host has not applied the position.
    public func valueInMemory(for key: CacheKey, after position: SyncPosition?) -> ByteBuffer? {
        if let position, !positions.contains(position) { return nil }
        return valueInMemory(for: key)
    }
}
