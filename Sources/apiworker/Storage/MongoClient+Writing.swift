import CMongoC

/// Writes. The driver tries most of those of one document once more by itself after a network error; the server knows
/// that it is the same write.
extension MongoClient {
    func insert(_ document: BSONDocument) throws(StorageFailure) {
        let (document, options) = (document.allocated(), limited([:]).allocated())
        defer {
            bson_destroy(document)
            bson_destroy(options)
        }
        let users = users
        defer { mongoc_collection_destroy(users) }
        try change { mongoc_collection_insert_one(users, document, options, $0, $1) }
    }

    /// A command of its own: in the driver's function for it, `maxTimeMS` becomes a field of the statement, which the
    /// server refuses. So it is not tried again, which only a replica set would allow.
    ///
    /// - Returns: how many documents matched (0 or 1), and how many are different now.
    func updateOne(
        _ filter: BSONDocument, _ update: BSONDocument
    ) throws(StorageFailure) -> (matched: Int64, modified: Int64) {
        let statement: BSONDocument = ["q": .document(filter), "u": .document(update)]
        do {
            let reply = try run(["update": .string(Self.collection), "updates": .array([.document(statement)])])
            return (reply["n"]?.integer ?? 0, reply["nModified"]?.integer ?? 0)
        } catch {
            throw error.refusedOrDoubtful
        }
    }

    /// Changes a document and returns it as it was before; `nil` if there is none.
    func findAndUpdate(_ filter: BSONDocument, _ update: BSONDocument) throws(StorageFailure) -> BSONDocument? {
        let (filter, update) = (filter.allocated(), update.allocated())
        defer {
            bson_destroy(filter)
            bson_destroy(update)
        }
        let users = users
        defer { mongoc_collection_destroy(users) }
        let options = mongoc_find_and_modify_opts_new()
        defer { mongoc_find_and_modify_opts_destroy(options) }
        mongoc_find_and_modify_opts_set_update(options, update)
        mongoc_find_and_modify_opts_set_max_time_ms(options, UInt32(clamping: call.serverMilliseconds))
        let reply = try change { mongoc_collection_find_and_modify_with_opts(users, filter, options, $0, $1) }
        return reply["value"]?.document
    }

    /// - Returns: whether there was one.
    func deleteOne(_ filter: BSONDocument) throws(StorageFailure) -> Bool {
        let (filter, options) = (filter.allocated(), limited([:]).allocated())
        defer {
            bson_destroy(filter)
            bson_destroy(options)
        }
        let users = users
        defer { mongoc_collection_destroy(users) }
        let reply = try change { mongoc_collection_delete_one(users, filter, options, $0, $1) }
        return reply["deletedCount"]?.integer == 1
    }

    /// Runs a command as it is, in a transaction if there is a session. Unlike the others it is not tried again, and
    /// what its failure means is the caller's to know.
    func run(_ command: BSONDocument, in session: MongoSession? = nil) throws(StorageFailure) -> BSONDocument {
        let (command, options) = (limited(command).allocated(), BSONDocument().allocated())
        defer {
            bson_destroy(command)
            bson_destroy(options)
        }
        try session?.append(to: options)
        let reply = try reply {
            mongoc_client_write_command_with_opts(pointer, database, command, options, $0, $1)
        }
        // A statement may have failed while the command is fine.
        if let failure = StorageFailure(writeErrorsIn: reply) { throw failure }
        return reply
    }

    /// A failure of a write is doubtful, but for one that says that it was refused.
    @discardableResult
    private func change(
        _ body: (OpaquePointer, UnsafeMutablePointer<bson_error_t>) -> Bool
    ) throws(StorageFailure) -> BSONDocument {
        do {
            return try reply(body)
        } catch {
            throw error.refusedOrDoubtful
        }
    }
}

extension StorageFailure {
    /// The failure of a write that was sent.
    fileprivate var refusedOrDoubtful: StorageFailure { kind == .duplicate ? self : doubtful }
}
