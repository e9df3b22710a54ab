import CMongoC

/// A client of the pool, lent to one operation on one thread. What it is given for `maxTimeMS` is what is left of the
/// call's time.
struct MongoClient {
    /// The collection that everything is about.
    static let collection = "users"

    let pointer: OpaquePointer
    let database: String
    let call: MongoCall

    /// What kind of server is written to.
    enum Topology {
        /// No transactions.
        case standalone
        /// A replica set, or several behind a mongos.
        case replicated
    }

    /// Makes sure that there is a server to write to, and that whoever waits still does. Until this returns, nothing
    /// was changed, for sure.
    func beginWriting() throws(StorageFailure) -> Topology {
        var error = bson_error_t()
        guard let server = mongoc_client_select_server(pointer, true, nil, &error) else {
            throw StorageFailure(error, reply: [:])
        }
        defer { mongoc_server_description_destroy(server) }
        try call.beginWriting()
        return String(cString: mongoc_server_description_type(server)) == "Standalone" ? .standalone : .replicated
    }

    /// Reads documents one after the other.
    ///
    /// - Parameter options: sort, skip, limit, projection: https://www.mongodb.com/docs/manual/reference/command/find/
    func find(
        _ filter: BSONDocument, _ options: BSONDocument, each: (BSONDocument) throws(StorageFailure) -> Void
    ) throws(StorageFailure) {
        let (filter, options) = (filter.allocated(), limited(options).allocated())
        defer {
            bson_destroy(filter)
            bson_destroy(options)
        }
        let users = users
        defer { mongoc_collection_destroy(users) }
        let cursor = mongoc_collection_find_with_opts(users, filter, options, nil)
        defer { mongoc_cursor_destroy(cursor) }
        var next: OpaquePointer?
        while mongoc_cursor_next(cursor, &next), let document = next {
            call.progressed()
            if let document = BSONDocument(document) { try each(document) }
        }
        var error = bson_error_t()
        var reply: OpaquePointer?
        if mongoc_cursor_error_document(cursor, &error, &reply) {
            throw StorageFailure(error, reply: reply.flatMap(BSONDocument.init) ?? [:])
        }
        call.progressed()
    }

    /// How many documents match.
    func count(_ filter: BSONDocument) throws(StorageFailure) -> Int {
        let (filter, options) = (filter.allocated(), limited([:]).allocated())
        defer {
            bson_destroy(filter)
            bson_destroy(options)
        }
        let users = users
        defer { mongoc_collection_destroy(users) }
        var count: Int64 = -1
        _ = try reply { reply, error in
            count = mongoc_collection_count_documents(users, filter, options, nil, reply, error)
            return count >= 0
        }
        call.progressed()
        return Int(count)
    }

    // MARK: For all operations

    /// The collection, to be destroyed in the same scope.
    var users: OpaquePointer { mongoc_client_get_collection(pointer, database, Self.collection) }

    func limited(_ options: BSONDocument) -> BSONDocument {
        options.appending("maxTimeMS", .int64(call.serverMilliseconds))
    }

    /// What the server replied.
    func reply(
        _ body: (OpaquePointer, UnsafeMutablePointer<bson_error_t>) -> Bool
    ) throws(StorageFailure) -> BSONDocument {
        let (isDone, reply, error) = BSONDocument.reply(body)
        guard isDone else {
            let failure = StorageFailure(error, reply: reply)
            if failure.evidence == .answered { call.heard() }
            throw failure
        }
        call.heard()
        return reply
    }
}
