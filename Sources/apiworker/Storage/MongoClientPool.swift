import CMongoC
import Synchronization

/// The connections of this process to MongoDB. Each is used by one thread at a time.
///
/// libmongoc looks up the servers of a `mongodb+srv` URL when the pool is made, and a pool without any stays without.
/// So while the name can't be looked up there is no pool, and each request for a connection tries again.
final class MongoClientPool: Sendable {
    private let current = Mutex<DriverPool?>(nil)
    private let made = Atomic(0)
    // Only read, by the thread that holds `lookup`.
    private nonisolated(unsafe) let uri: MongoURI
    private let lookup = Mutex(())
    private let used = Atomic<Int>(0)
    let size: Int
    let database: String
    private let repetitions: Repetitions
    private let clocks = ServerClocks()

    /// - Throws: the library refuses the URL's options.
    init(_ uri: MongoURI) throws(UnusableURI) {
        self.uri = uri
        size = uri.poolSize
        database = uri.database
        repetitions = Repetitions(atMost: uri.poolSize / 4)
        if let error = make(), error.code != MONGOC_ERROR_STREAM_NAME_RESOLUTION.rawValue {
            throw UnusableURI(error, of: "")
        }
    }

    /// - Returns: the reason for a failure: the library refuses the URL's options, or a name can't be looked up now.
    private func make() -> bson_error_t? {
        var error = bson_error_t()
        guard let made = mongoc_client_pool_new_with_error(uri.pointer, &error) else { return error }
        mongoc_client_pool_set_error_api(made, MONGOC_ERROR_API_VERSION_2)
        clocks.follow(made)
        // Two more than there are threads, for ``LateWrites`` and ``ChangeStreams``.
        mongoc_client_pool_max_size(made, UInt32(size + 2))
        let pool = DriverPool(made, clocks: clocks)
        current.withLock { $0 = pool }
        self.made.add(1, ordering: .relaxed)
        return nil
    }

    /// One thread looks the name up; others do not wait for it.
    private func found() -> DriverPool? {
        let known = current.withLock { $0 }
        if let known, !known.isToBeReplaced { return known }
        _ = lookup.withLockIfAvailable { _ in
            if current.withLock({ $0 === known }) { _ = make() }
        }
        return current.withLock { $0 }
    }

    /// Number of the present ``DriverPool``: the one before had no server left that belongs to the replica set.
    var number: Int { made.load(ordering: .relaxed) }

    /// Number of connections that requests use at this moment.
    var usedCount: Int { used.load(ordering: .relaxed) }

    /// Lends a client until it is given back, in addition to those of requests. Blocks; must not be called on an event loop.
    func lend(for call: MongoCall) throws(StorageFailure) -> MongoClient {
        guard let pool = found() else {
            throw StorageFailure(
                kind: .unavailable,
                detail: "the name in DB_URL (mongodb+srv) can't be looked up: check it, and the host's DNS")
        }
        guard let client = mongoc_client_pool_pop(pool.pointer) else {
            throw StorageFailure(kind: .unavailable, detail: "no free connection")
        }
        return MongoClient(pointer: client, pool: pool, database: database, call: call, repetitions: repetitions)
    }

    func giveBack(_ client: MongoClient) {
        mongoc_client_pool_push(client.pool.pointer, client.pointer)
    }

    /// Lends a client to `body`. Blocks; must not be called on an event loop.
    func withClient<Value>(
        for call: MongoCall, _ body: (MongoClient) throws(StorageFailure) -> Value
    ) throws(StorageFailure) -> Value {
        let client = try lend(for: call)
        used.add(1, ordering: .relaxed)
        defer {
            giveBack(client)
            used.subtract(1, ordering: .relaxed)
        }
        return try body(client)
    }
}

/// A pool of libmongoc. It is freed when its last client was given back.
final class DriverPool: Sendable {
    // Unchecked: libmongoc's pool may be used by any thread.
    nonisolated(unsafe) let pointer: OpaquePointer
    let clocks: ServerClocks
    private let madeAt = MongoTarget.now
    private let hasNoServers = Atomic(false)
    /// Maximum rate at which pools follow each other, in milliseconds.
    private static let leastAge: Int64 = 5000

    init(_ pointer: OpaquePointer, clocks: ServerClocks) { (self.pointer, self.clocks) = (pointer, clocks) }

    deinit { mongoc_client_pool_destroy(pointer) }

    /// No server is left that belongs to the replica set of the URL. libmongoc never asks a server again that it has
    /// found to be another one, such as a member that ran as a standalone server for a moment: only another pool does.
    func noteThatNoServerIsLeft() { hasNoServers.store(true, ordering: .relaxed) }

    var isToBeReplaced: Bool {
        hasNoServers.load(ordering: .relaxed) && MongoTarget.now >= madeAt + Self.leastAge
    }
}
