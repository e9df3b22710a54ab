import CMongoC
import Glibc
import TestSupport

/// libmongoc by itself: reads the cursors that a worker reads, and drops the documents.
final class Drain {
    private let client: OpaquePointer
    private let collection: OpaquePointer

    init(url: String, database: String) throws {
        mongoc_init()
        guard let client = mongoc_client_new(url) else { throw TestFailure("libmongoc refuses the URL") }
        self.client = client
        collection = mongoc_client_get_collection(client, database, "users")
    }

    deinit {
        mongoc_collection_destroy(collection)
        mongoc_client_destroy(client)
    }

    /// Reads one cursor to its end.
    ///
    /// - Parameter options: as JSON.
    /// - Returns: number of documents.
    @discardableResult
    func find(_ options: String) throws -> Int {
        var error = bson_error_t()
        guard let filter = bson_new_from_json(Array("{}".utf8), 2, &error),
            let options = bson_new_from_json(Array(options.utf8), options.utf8.count, &error),
            let cursor = mongoc_collection_find_with_opts(collection, filter, options, nil)
        else { throw TestFailure("libmongoc refuses \(options)") }
        defer {
            mongoc_cursor_destroy(cursor)
            bson_destroy(filter)
            bson_destroy(options)
        }
        var (document, count): (OpaquePointer?, Int) = (nil, 0)
        while mongoc_cursor_next(cursor, &document) { count += 1 }
        guard !mongoc_cursor_error(cursor, &error) else { throw TestFailure("libmongoc: \(options)") }
        return count
    }
}
