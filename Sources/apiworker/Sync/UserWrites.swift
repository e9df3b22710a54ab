import IPC

/// The database has refused a write. Its answer shows the present state, so it has a position as a write that succeeded.
struct RefusedWrite: Error {
    var failure: StorageFailure
    var position: SyncPosition
}

/// Writes, each inside the invalidation of its tags (docs/consistency.md, "Writing").
struct UserWrites: Sendable {
    let cache: SyncedCache
    let store: UserStore
    /// Milliseconds since 1970.
    var now: @Sendable () -> Int64 = { WallClock.milliseconds }

    func create(_ new: NewUser) async throws -> Written<User> {
        let user = new.user(atMilliseconds: now())
        return try await invalidating([user.id]) { time in
            try await store.insert(user, time: time)
            return .changed(user, event: event(.created(id: user.id)))
        }
    }

    /// - Returns: `nil` as the value if there is no such user.
    func update(_ id: String, _ change: UserChange) async throws -> Written<User?> {
        try await invalidating([id]) { time in
            switch try await store.update(id, change, time: time) {
            case .changed(let user): .changed(user, event: event(.updated(id: id)))
            case .unchanged(let user): .unchanged(user)
            case .notFound: .unchanged(nil)
            }
        }
    }

    func delete(_ id: String) async throws -> Written<UserStore.Deletion> {
        try await invalidating([id]) { time in
            let deletion = try await store.delete(id, time: time)
            guard case .deleted = deletion else { return .unchanged(deletion) }
            return .changed(deletion, event: event(.deleted(id: id)))
        }
    }

    /// - Returns: whether both users exist.
    func change(_ change: FriendshipChange, between id: String, and friend: String) async throws -> Written<Bool> {
        try await invalidating([id, friend]) { time in
            switch try await store.change(change, between: id, and: friend, time: time) {
            case .changed:
                .changed(
                    true,
                    event: event(change == .link ? .linked(id: id, friend: friend) : .unlinked(id: id, friend: friend)))
            case .unchanged: .unchanged(true)
            case .notFound: .unchanged(false)
            // One of the two was changed, but no friendship came or went.
            case .vanished: .changed(false, event: nil)
            }
        }
    }

    private func event(_ event: UserEvent) -> Event { event.event(atMilliseconds: now()) }

    /// Every answer of the database is followed by an invalidation, also a refusal, since it shows the present state. A
    /// request that never reached the database is not.
    private func invalidating<Value: Sendable>(
        _ ids: [String], write: @Sendable (WriteTime) async throws -> WriteResult<Value>
    ) async throws -> Written<Value> {
        let time = WriteTime()
        let written: Written<Result<Value, StorageFailure>> = try await cache.writing(CacheTag.writing(ids)) {
            do {
                switch try await write(time) {
                case .changed(let value, let event, _):
                    return .changed(.success(value), event: event, at: time.value.map(OperationTime.init))
                case .unchanged(let value): return .unchanged(.success(value))
                case .rejected(let error): return .rejected(error)
                }
            } catch let failure as StorageFailure where failure.isOutcomeUnknown {
                guard let settlement = failure.settlement else { throw failure }
                throw UnknownOutcome(failure) { await settlement.wait() }
            } catch let failure as StorageFailure {
                return failure.evidence == .answered ? .unchanged(.failure(failure)) : .rejected(failure)
            }
        }
        switch written.value {
        case .success(let value): return Written(value: value, position: written.position)
        case .failure(let failure): throw RefusedWrite(failure: failure, position: written.position)
        }
    }
}
