import CMongoC

/// A client of the pool, lent to one operation on one thread.
struct MongoClient {
    /// The collection that everything is about.
    static let collection = "users"

    let pointer: OpaquePointer
    let database: String
    let call: MongoCall

    /// Runs a command that reads or writes, and returns the server's reply. Write errors inside of a reply that says
    /// `ok` are failures, too.
    ///
    /// - Parameters:
    ///   - command: without `maxTimeMS`, which is what is left of the call's budget, and without a write concern,
    ///     which is the pool's.
    ///   - session: the session whose transaction the command belongs to.
    func write(_ command: BSONDocument, in session: MongoSession? = nil) throws(StorageFailure) -> BSONDocument {
        let command = command.appending("maxTimeMS", .int64(call.serverMilliseconds))
        let options = CDocument([:])
        if let session { mongoc_client_session_append(session.pointer, options.pointer, nil) }
        let document = CDocument(command)
        let (isDone, reply, error) = CDocument.reply { reply, error in
            mongoc_client_write_command_with_opts(
                pointer, database, document.pointer, options.pointer, reply, error)
        }
        guard isDone else { throw StorageFailure(error, reply: reply) }
        if let failure = StorageFailure(writeErrorsIn: reply) { throw failure }
        return reply
    }

    /// Reads documents one after the other.
    ///
    /// - Parameter options: sort, skip, limit, projection: https://www.mongodb.com/docs/manual/reference/command/find/
    func find(
        _ filter: BSONDocument, _ options: BSONDocument, each: (BSONDocument) throws(StorageFailure) -> Void
    ) throws(StorageFailure) {
        let collection = mongoc_client_get_collection(pointer, database, Self.collection)
        defer { mongoc_collection_destroy(collection) }
        let filter = CDocument(filter)
        let options = CDocument(options.appending("maxTimeMS", .int64(call.serverMilliseconds)))
        let cursor = mongoc_collection_find_with_opts(collection, filter.pointer, options.pointer, nil)
        defer { mongoc_cursor_destroy(cursor) }
        var next: OpaquePointer?
        while mongoc_cursor_next(cursor, &next), let document = next {
            guard let document = CDocument.decode(document) else { continue }
            try each(document)
            call.progressed()
        }
        var error = bson_error_t()
        var reply: OpaquePointer?
        if mongoc_cursor_error_document(cursor, &error, &reply) {
            throw StorageFailure(error, reply: reply.flatMap(CDocument.decode) ?? [:])
        }
    }

    /// How many documents match.
    func count(_ filter: BSONDocument) throws(StorageFailure) -> Int {
        let collection = mongoc_client_get_collection(pointer, database, Self.collection)
        defer { mongoc_collection_destroy(collection) }
        let filter = CDocument(filter)
        let options = CDocument(["maxTimeMS": .int64(call.serverMilliseconds)])
        var count: Int64 = -1
        let (isDone, reply, error) = CDocument.reply { reply, error in
            count = mongoc_collection_count_documents(
                collection, filter.pointer, options.pointer, nil, reply, error)
            return count >= 0
        }
        guard isDone else { throw StorageFailure(error, reply: reply) }
        return Int(count)
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

    /// What kind of server is written to.
    enum Topology {
        /// No transactions.
        case standalone
        /// A replica set, or several behind a mongos.
        case replicated
    }
}
