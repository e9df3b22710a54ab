import CMongoC
import Synchronization

/// The connections of this process to MongoDB. Each is used by one thread at a time.
final class MongoClientPool: Sendable {
    // libmongoc's pool may be used by any thread; it is freed only when nobody refers to this object any more.
    private nonisolated(unsafe) let pool: OpaquePointer
    private let used = Atomic<Int>(0)
    let size: Int
    let database: String

    /// - Returns: `nil` if the library refuses the URL's options.
    init?(_ uri: MongoURI) {
        guard let pool = mongoc_client_pool_new_with_error(uri.pointer, nil) else { return nil }
        mongoc_client_pool_set_error_api(pool, MONGOC_ERROR_API_VERSION_2)
        self.pool = pool
        size = uri.poolSize
        database = uri.database
    }

    deinit { mongoc_client_pool_destroy(pool) }

    /// Connections that are in use at this moment.
    var usedCount: Int { used.load(ordering: .relaxed) }

    /// Lends a client to `body`. Blocks; never to be called on an event loop.
    func withClient<Value>(
        for call: MongoCall, _ body: (MongoClient) throws(StorageFailure) -> Value
    ) throws(StorageFailure) -> Value {
        guard let client = mongoc_client_pool_pop(pool) else {
            throw StorageFailure(kind: .unavailable, detail: "no free connection")
        }
        used.add(1, ordering: .relaxed)
        defer {
            mongoc_client_pool_push(pool, client)
            used.subtract(1, ordering: .relaxed)
        }
        return try body(MongoClient(pointer: client, database: database, call: call))
    }
}
