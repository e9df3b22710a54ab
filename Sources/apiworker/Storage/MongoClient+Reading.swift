import CMongoC

/// Reads. Only a primary, a standalone server or a mongos may answer: a secondary may hold less than the acknowledged
/// writes, and its answer would be cached.
///
/// `DB_URL` with a single host and without `replicaSet` makes libmongoc use that server whatever its role, and tell it
/// that a secondary may answer (`$readPreference: primaryPreferred`, as in the drivers' specification). So the type of
/// the selected server is checked, and the commands are sent like commands that may write: without a read preference. A
/// server that is no primary any more when the command arrives refuses it then (NotPrimaryNoSecondaryOk).
extension MongoClient {
    /// Reads users one after the other, each valid until `each` returns. Documents without a text as their id are passed
    /// over.
    ///
    /// - Parameter options: sort, skip, limit, projection: https://www.mongodb.com/docs/manual/reference/command/find/
    /// - Returns: number of documents.
    @discardableResult
    func find(
        _ filter: BSONDocument, _ options: BSONDocument = [:], each: (StoredUser) throws(StorageFailure) -> Void
    ) throws(StorageFailure) -> Int {
        var command: BSONDocument = ["find": .string(Self.collection), "filter": .document(filter)]
        for field in options.fields { command.append(field.name, field.value) }
        // A batch is as large as the server allows (16 MiB), the first one, too: by default it has 101 documents.
        command.append("batchSize", .int32(.max))
        // The server is selected first: without a suitable one there is no session, and no reason.
        let target = try target()
        // A cursor belongs to the session in which it was made.
        let session = try MongoSession(self)
        let cursor = try readTwice(command, session, at: target) { (reply, options) throws(StorageFailure) in
            // The cursor takes over the reply's memory.
            mongoc_cursor_new_from_command_reply_with_opts(pointer, reply, options)
        }
        defer { mongoc_cursor_destroy(cursor) }
        var (next, count): (OpaquePointer?, Int) = (nil, 0)
        while mongoc_cursor_next(cursor, &next), let document = next {
            call.progressed()
            count += 1
            if let user = BSONDocument.bytes(document).flatMap(StoredUser.init) { try each(user) }
        }
        var error = bson_error_t()
        var reply: OpaquePointer?
        if mongoc_cursor_error_document(cursor, &error, &reply) {
            throw StorageFailure(error, reply: reply.flatMap(BSONDocument.init) ?? [:])
        }
        call.progressed()
        return count
    }

    /// Number of matching documents.
    func count(_ filter: BSONDocument) throws(StorageFailure) -> Int {
        let sum: BSONDocument = ["_id": .int32(1), "n": .document(["$sum": .int32(1)])]
        let command: BSONDocument = [
            "aggregate": .string(Self.collection),
            "pipeline": .array([.document(["$match": .document(filter)]), .document(["$group": .document(sum)])]),
            "cursor": .document([:]),
        ]
        let reply = try readTwice(command, nil, at: try target()) { (reply, _) throws(StorageFailure) in
            defer { bson_destroy(reply) }
            return BSONDocument(reply) ?? [:]
        }
        call.progressed()
        // No document matches: there is no group.
        let group = reply["cursor"]?.document?["firstBatch"]?.array?.first?.document
        return Int(group?["n"]?.integer ?? 0)
    }

    /// Repeats a command once, if a connection was lost or the primary has changed. The driver does that only for
    /// commands that are sent with a read preference.
    private func readTwice<Value>(
        _ command: BSONDocument, _ session: MongoSession?, at target: MongoTarget,
        _ take: (_ reply: OpaquePointer, _ options: OpaquePointer) throws(StorageFailure) -> Value
    ) throws(StorageFailure) -> Value {
        do {
            return try read(command, session, at: target, take)
        } catch {
            guard error.mayPassByItself, call.isTimeLeft else { throw error }
            return try read(command, session, at: try self.target(), take)
        }
    }

    /// - Parameter take: gets the reply, which it has to destroy, and the options of the request.
    private func read<Value>(
        _ command: BSONDocument, _ session: MongoSession?, at target: MongoTarget,
        _ take: (_ reply: OpaquePointer, _ options: OpaquePointer) throws(StorageFailure) -> Value
    ) throws(StorageFailure) -> Value {
        let options = (["serverId": .int32(Int32(bitPattern: target.id))] as BSONDocument).allocated()
        let command = limited(command).allocated()
        defer {
            bson_destroy(command)
            bson_destroy(options)
        }
        try session?.append(to: options)
        return try BSONDocument.withReplyMemory { reply throws(StorageFailure) in
            var error = bson_error_t()
            guard mongoc_client_read_write_command_with_opts(pointer, database, command, nil, options, reply, &error)
            else {
                defer { bson_destroy(reply) }
                let failure = StorageFailure(error, reply: BSONDocument(reply) ?? [:])
                if failure.evidence == .answered { call.heard() }
                throw failure
            }
            call.heard()
            return try take(reply, options)
        }
    }
}
