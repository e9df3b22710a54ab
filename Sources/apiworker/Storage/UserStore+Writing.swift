extension UserStore {
    func insert(_ user: User) async throws(StorageFailure) {
        try await operations.run { client throws(StorageFailure) in
            _ = try client.beginWriting()
            try client.change([
                "insert": .string(MongoClient.collection), "documents": .array([.document(user.document)]),
            ])
        }
    }

    /// What a change found and made.
    enum Update: Sendable {
        case changed(User)
        /// The user has these values already.
        case unchanged(User)
        case notFound
    }

    func update(_ id: String, _ change: UserChange) async throws(StorageFailure) -> Update {
        try await operations.run { client throws(StorageFailure) in
            guard !change.isEmpty else { return try client.user(id).map(Update.unchanged) ?? .notFound }
            _ = try client.beginWriting()
            let reply = try client.change([
                "findAndModify": .string(MongoClient.collection), "query": .document(["_id": .string(id)]),
                "update": .document(["$set": .document(change.fields)]),
            ])
            // The reply has the user as it was before.
            guard let before = reply["value"]?.document.flatMap(User.init) else { return .notFound }
            let after = change.applied(to: before)
            return after == before ? .unchanged(before) : .changed(after)
        }
    }

    /// What became of a user who was to be deleted.
    enum Deletion: Sendable {
        case deleted
        case hasFriends
        case notFound
    }

    /// Whether there are friends is checked in the operation that deletes: nobody can be linked in between.
    func delete(_ id: String) async throws(StorageFailure) -> Deletion {
        try await operations.run { client throws(StorageFailure) in
            _ = try client.beginWriting()
            let isLonely: BSONDocument = ["_id": .string(id), "friends.0": .document(["$exists": .bool(false)])]
            let reply = try client.change([
                "delete": .string(MongoClient.collection),
                "deletes": .array([.document(["q": .document(isLonely), "limit": .int32(1)])]),
            ])
            if reply["n"]?.integer == 1 { return .deleted }
            return try client.user(id) == nil ? .notFound : .hasFriends
        }
    }
}

extension MongoClient {
    /// Changes something by one command that does all or nothing. A failure is doubtful, but for those that say that
    /// the statement was refused.
    @discardableResult
    func change(_ command: BSONDocument) throws(StorageFailure) -> BSONDocument {
        do {
            return try write(command)
        } catch {
            throw error.kind == .duplicate ? error : error.doubtful
        }
    }
}
