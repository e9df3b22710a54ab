import Glibc

/// The kind of change of a friendship.
enum FriendshipChange: Sendable {
    case link
    case unlink

    fileprivate var operators: (own: String, inverse: String) {
        switch self {
        case .link: ("$addToSet", "$pull")
        case .unlink: ("$pull", "$addToSet")
        }
    }
}

extension UserStore {
    /// The outcome of a change of a friendship.
    enum Friendship: Sendable, Equatable {
        case changed
        /// The friendship had this state already.
        case unchanged
        /// One of the two does not exist.
        case notFound
        /// One of the two was deleted meanwhile; the other one was changed.
        case vanished
    }

    /// Changes both users or neither: in a transaction, or on a server without transactions in two steps, the first of
    /// which is undone if the second fails.
    func change(
        _ change: FriendshipChange, between first: String, and second: String, time: WriteTime? = nil
    ) async throws(StorageFailure) -> Friendship {
        try await operations.run(time: time) { client throws(StorageFailure) in
            let target = try client.beginWriting()
            let step = FriendshipStep(client: client, target: target, change: change, first: first, second: second)
            switch target.kind {
            case .replicated:
                let outcome = try step.inTransaction()
                // One time says nothing about the second document then.
                if target.isSharded { client.call.forgetTime() }
                return outcome
            case .standalone: return try step.inOrder()
            }
        }
    }
}

/// One change of a friendship, on one client.
private struct FriendshipStep {
    let client: MongoClient
    let target: MongoTarget
    let change: FriendshipChange
    let first: String
    let second: String

    /// Two links to one user conflict and are repeated after up to this time, in µs.
    private static let maximumPause: UInt32 = 10_000

    // MARK: With a transaction

    func inTransaction() throws(StorageFailure) -> UserStore.Friendship {
        let session = try MongoSession(client)
        while true {
            do {
                return try attempt(in: session)
            } catch {
                guard error.isTransactionLost, client.call.isTimeLeft else { throw error }
                usleep(UInt32.random(in: 500...Self.maximumPause))
            }
        }
    }

    private func attempt(in session: MongoSession) throws(StorageFailure) -> UserStore.Friendship {
        try session.begin(maxCommitTimeMilliseconds: client.call.serverMilliseconds)
        let result: (matched: Int64, modified: Int64)
        do {
            result = try updateBoth(in: session)
        } catch {
            // Without a commit nothing happened.
            session.abort()
            throw error
        }
        guard result.matched == 2 else {
            session.abort()
            return .notFound
        }
        // Also if it changed nothing: what it found may be on this server only, and be rolled back. The server ends such
        // a commit when a majority has what was found.
        let end = try commit(session)
        return result.modified > 0 ? end : .unchanged
    }

    /// A commit has no deadline. So a commit without an answer is repeated until the server reports its outcome, also
    /// after the request has ended. A first commit that is still on its way then finds the transaction ended.
    private func commit(_ session: MongoSession) throws(StorageFailure) -> UserStore.Friendship {
        var repeating: Repetitions.Turn?
        while true {
            switch session.commit() {
            case .committed: return .changed
            case .lost(let failure): throw failure
            case .unknown(let failure):
                if client.call.isTimeLeft {
                    usleep(Self.maximumPause)
                    continue
                }
                repeating = repeating ?? client.repetitions.turn()
                // Without a turn the server ends the transaction: docs/consistency.md, "Writes that land late".
                guard let repeating, repeating.pause() else { throw failure.ofUnknownOutcome }
            }
        }
    }

    /// Updates both users by one command.
    private func updateBoth(in session: MongoSession) throws(StorageFailure) -> (matched: Int64, modified: Int64) {
        let statements = [(first, second), (second, first)].map { user, friend -> BSONValue in
            .document([
                "q": .document(["_id": .string(user)]),
                "u": .document([change.operators.own: .document(["friends": .string(friend)])]),
            ])
        }
        let reply = try client.run(
            ["update": .string(MongoClient.collection), "updates": .array(statements)], in: session)
        return (reply["n"]?.integer ?? 0, reply["nModified"]?.integer ?? 0)
    }

    // MARK: Without

    func inOrder() throws(StorageFailure) -> UserStore.Friendship {
        guard try client.user(first) != nil, try client.user(second) != nil else { return .notFound }
        let (own, inverse) = change.operators
        let one = try update(first, own, second)
        guard one.matched == 1 else { return .notFound }
        let other: (matched: Int64, modified: Int64)
        do {
            other = try update(second, own, first)
        } catch {
            guard one.modified > 0 else { throw error }
            // The request gets the failure, whether this succeeds or not. Others may have seen the half meanwhile.
            takeBack(inverse)
            throw error.ofUnknownOutcome
        }
        if other.matched == 1 { return one.modified + other.modified > 0 ? .changed : .unchanged }
        // A user who was deleted meanwhile must not remain a friend.
        guard change == .link, one.modified > 0 else { return .vanished }
        do {
            _ = try update(first, inverse, second)
        } catch {
            takeBack(inverse)
            throw error
        }
        return .vanished
    }

    /// Undoes the first half, and repeats that like a commit until the server has answered. The server is asked for its
    /// time, because the known time may be the cause of the failure.
    private func takeBack(_ inverse: String) {
        var repeating: Repetitions.Turn?
        while true {
            do {
                let target = try client.asked(client.target())
                _ = try client.updateOne(first, [inverse: .document(["friends": .string(second)])], at: target)
                return
            } catch {
                repeating = repeating ?? client.repetitions.turn()
                guard let repeating, repeating.pause() else { return }
            }
        }
    }

    private func update(
        _ user: String, _ operation: String, _ friend: String
    ) throws(StorageFailure) -> (matched: Int64, modified: Int64) {
        try client.updateOne(user, [operation: .document(["friends": .string(friend)])], at: target)
    }
}
