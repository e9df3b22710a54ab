import CMongoC

/// Writes of one document. Each has a deadline, which the server compares with its own clock when it begins with the
/// write: a late write changes nothing (docs/consistency.md, "Writes that land late").
///
/// By default, libmongoc would repeat a write once, also at another server, whose clock may differ. So retries are off
/// (``MongoURI``). A write that the server certainly refused is repeated here, with a new deadline.
extension MongoClient {
    /// The server's error for a condition that can't be met: a conversion of a date to a number.
    private static let conversionFailure: Int32 = 241

    /// The driver's `insert` cannot have a deadline. This is an update that matches nothing, and then inserts the
    /// result of its pipeline, or fails. No part of the document is taken for an expression.
    func insert(_ document: BSONDocument, at target: MongoTarget, within limit: Int64? = nil) throws(StorageFailure) {
        let id = document["_id"] ?? .null
        _ = try landing(at: target, within: limit) { (target, deadline) throws(StorageFailure) -> Bool? in
            let isLate: BSONDocument = ["$gte": .array([.string("$$NOW"), .date(deadline)])]
            let content: BSONDocument = [
                "$cond": .array([
                    .document(isLate), .document(["$toInt": .string("$$NOW")]),
                    .document(["$literal": .document(document)]),
                ])
            ]
            let statement: BSONDocument = [
                // The query matches nothing, and names the id to insert.
                "q": .document(["_id": id, "$nor": .array([.document([:])])]),
                "u": .array([.document(["$replaceWith": .document(content)])]),
                "upsert": .bool(true),
            ]
            do throws(StorageFailure) {
                _ = try change(
                    ["update": .string(Self.collection), "updates": .array([.document(statement)])], at: target)
                return true
            } catch  where error.serverCode == Self.conversionFailure {
                return nil
            }
        }
    }

    /// - Returns: number of matching documents (0 or 1), and number of changed ones.
    func updateOne(
        _ id: String, _ update: BSONDocument, at target: MongoTarget, within limit: Int64? = nil
    ) throws(StorageFailure) -> (matched: Int64, modified: Int64) {
        try landing(at: target, within: limit) { (target, deadline) throws(StorageFailure) in
            let statement: BSONDocument = [
                "q": .document(Self.inTime(["_id": .string(id)], deadline)), "u": .document(update),
            ]
            let reply = try change(
                ["update": .string(Self.collection), "updates": .array([.document(statement)])], at: target)
            if reply["n"]?.integer == 1 { return (1, reply["nModified"]?.integer ?? 0) }
            return try user(id) == nil ? (0, 0) : nil
        }
    }

    /// Changes a document and returns its previous state; `nil` if there is none.
    func findAndUpdate(
        _ id: String, _ update: BSONDocument, at target: MongoTarget, within limit: Int64? = nil
    ) throws(StorageFailure) -> BSONDocument? {
        try landing(at: target, within: limit) { (target, deadline) throws(StorageFailure) in
            let command: BSONDocument = [
                "findAndModify": .string(Self.collection),
                "query": .document(Self.inTime(["_id": .string(id)], deadline)), "update": .document(update),
            ]
            if let document = try change(command, at: target)["value"]?.document { return .some(document) }
            return try user(id) == nil ? .some(nil) : nil
        }
    }

    /// Deletes a user without friends. The operation that deletes also checks for friends: nobody can be linked in
    /// between.
    func deleteLonely(
        _ id: String, at target: MongoTarget, within limit: Int64? = nil
    ) throws(StorageFailure) -> UserStore.Deletion {
        try landing(at: target, within: limit) { (target, deadline) throws(StorageFailure) in
            let isLonely: BSONDocument = ["_id": .string(id), "friends.0": .document(["$exists": .bool(false)])]
            let statement: BSONDocument = ["q": .document(Self.inTime(isLonely, deadline)), "limit": .int32(1)]
            let reply = try change(
                ["delete": .string(Self.collection), "deletes": .array([.document(statement)])], at: target)
            if reply["n"]?.integer == 1 { return .deleted }
            guard let user = try user(id) else { return .notFound }
            return user.friends.isEmpty ? nil : .hasFriends
        }
    }

    private static func inTime(_ filter: BSONDocument, _ deadline: Int64) -> BSONDocument {
        filter.appending("$expr", .document(["$lt": .array([.string("$$NOW"), .date(deadline)])]))
    }

    /// Carries out a write that must not land after the rest of the call's time.
    ///
    /// - Parameters:
    ///   - limit: milliseconds; by default what is left of the call's time.
    ///   - attempt: gets a server and the deadline as that server's clock shows it. Returns `nil` if nothing was
    ///   changed, and the reason may be that it was late: then the server is asked for its time, and it is tried again.
    /// - Throws: also if it was late and no time is left; then nothing was changed.
    private func landing<Value>(
        at first: MongoTarget, within limit: Int64?,
        _ attempt: (MongoTarget, _ deadline: Int64) throws(StorageFailure) -> Value?
    ) throws(StorageFailure) -> Value {
        var target = first
        while true {
            do throws(StorageFailure) {
                let deadline = target.time + (limit ?? call.landingMilliseconds)
                call.willLand(at: target.id, by: deadline)
                if let value = try attempt(target, deadline) { return value }
                guard call.isTimeLeft else { throw .cameTooLate }
                target = try asked(target)
            } catch {
                guard error.isRefusedBySecondary, call.isTimeLeft else { throw error }
                target = try self.target()
            }
        }
    }

    /// Sends a write. It is not repeated.
    private func change(_ command: BSONDocument, at target: MongoTarget) throws(StorageFailure) -> BSONDocument {
        do {
            let reply = try run(command, at: target)
            call.wrote(reply)
            return reply
        } catch {
            let isCertain =
                error.kind == .duplicate || error.isRefusedBySecondary || error.serverCode == Self.conversionFailure
            throw isCertain ? error : error.ofUnknownOutcome
        }
    }

    /// Runs a command that writes, unchanged, in a transaction if there is a session. The command is not repeated, and
    /// the caller interprets its failure.
    func run(
        _ command: BSONDocument, at target: MongoTarget? = nil, in session: MongoSession? = nil
    ) throws(StorageFailure) -> BSONDocument {
        var (command, options) = (limited(command), BSONDocument())
        // A transaction's write concern is sent when it ends.
        if session == nil { command.append("writeConcern", .document(Self.majority)) }
        if let target { options.append("serverId", .int32(Int32(bitPattern: target.id))) }
        let (commandPointer, optionsPointer) = (command.allocated(), options.allocated())
        defer {
            bson_destroy(commandPointer)
            bson_destroy(optionsPointer)
        }
        try session?.append(to: optionsPointer)
        let reply = try reply {
            mongoc_client_write_command_with_opts(pointer, database, commandPointer, optionsPointer, $0, $1)
        }
        // A statement may have failed although the command succeeded.
        if let failure = StorageFailure(writeErrorsIn: reply) { throw failure }
        return reply
    }

    /// Cached data must not be rolled back.
    private static let majority: BSONDocument = [
        "w": .string("majority"), "wtimeout": .int64(MongoCall.serverMilliseconds),
    ]
}

extension StorageFailure {
    /// The write was carried out after its deadline: nothing was changed.
    static let cameTooLate = StorageFailure(
        kind: .unavailable, evidence: .answered, detail: "the write came too late and changed nothing")
}
