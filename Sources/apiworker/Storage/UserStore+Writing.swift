extension UserStore {
    func insert(_ user: User, time: WriteTime? = nil) async throws(StorageFailure) {
        try await operations.run(time: time) { client throws(StorageFailure) in
            try client.insert(user.document, at: try client.beginWriting())
        }
    }

    /// The outcome of a change.
    enum Update: Sendable {
        case changed(User)
        /// The user has these values already.
        case unchanged(User)
        case notFound
    }

    func update(
        _ id: String, _ change: UserChange, time: WriteTime? = nil
    ) async throws(StorageFailure) -> Update {
        try await operations.run(time: time) { client throws(StorageFailure) in
            guard !change.isEmpty else { return try client.user(id).map(Update.unchanged) ?? .notFound }
            let document = try client.findAndUpdate(
                id, ["$set": .document(change.fields)], at: try client.beginWriting())
            guard let before = document.flatMap(User.init) else { return .notFound }
            let after = change.applied(to: before)
            // Compared byte for byte: two spellings of one letter are equal to Swift, and not to clients.
            return after.document.encoded() == before.document.encoded() ? .unchanged(before) : .changed(after)
        }
    }

    /// The outcome of a deletion.
    enum Deletion: Sendable {
        case deleted
        case hasFriends
        case notFound
    }

    func delete(_ id: String, time: WriteTime? = nil) async throws(StorageFailure) -> Deletion {
        try await operations.run(time: time) { client throws(StorageFailure) in
            try client.deleteLonely(id, at: try client.beginWriting())
        }
    }
}
