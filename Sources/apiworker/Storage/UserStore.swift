import NIOCore

/// The users in MongoDB. Reads use the primary; every operation takes 2 s at most.
struct UserStore: Sendable {
    let operations: MongoOperations

    /// Lists are ordered by creation, oldest first; `_id` decides between equal times. There is an index for it.
    private static let order: BSONDocument = ["createdAt": .int32(1), "_id": .int32(1)]
    /// Maximum number of ids in one query: far from its limit of 16 MiB.
    private static let idsPerQuery = 10_000

    /// Passes all users to `body`, in order.
    func users<Result: Sendable>(
        into initial: Result, _ add: @escaping @Sendable (inout Result, User) throws(StorageFailure) -> Void
    ) async throws(StorageFailure) -> Result {
        try await operations.run { client throws(StorageFailure) in
            var result = initial
            try client.find([:], ["sort": .document(Self.order)]) { document throws(StorageFailure) in
                if let user = User(document) { try add(&result, user) }
            }
            return result
        }
    }

    /// Passes the data for statistics of all users: hobbies and friends.
    func profiles<Result: Sendable>(
        into initial: Result, _ add: @escaping @Sendable (inout Result, User) throws(StorageFailure) -> Void
    ) async throws(StorageFailure) -> Result {
        try await operations.run { client throws(StorageFailure) in
            var result = initial
            let fields: BSONDocument = ["hobbies": .int32(1), "friends": .int32(1)]
            try client.find([:], ["projection": .document(fields)]) { document throws(StorageFailure) in
                if let user = User(document) { try add(&result, user) }
            }
            return result
        }
    }

    func user(_ id: String) async throws(StorageFailure) -> User? {
        try await operations.run { client throws(StorageFailure) in try client.user(id) }
    }

    /// A part of a list, and the total number of users.
    struct Page: Sendable {
        var users: [User]
        var total: Int
    }

    /// - Parameter search: part of a name or of a hobby, in any case. `nil` or empty: all users.
    func page(_ request: PageRequest, search: String? = nil) async throws(StorageFailure) -> Page {
        guard let filter = Self.filter(search) else { return Page(users: [], total: 0) }
        return try await operations.run { client throws(StorageFailure) in
            try client.page(request, filter, order: Self.order)
        }
    }

    /// A page, and the hobbies of friends on other pages, which scores need.
    func pageWithFriends(
        _ request: PageRequest
    ) async throws(StorageFailure) -> (page: Page, friendsElsewhere: [User]) {
        try await operations.run { client throws(StorageFailure) in
            let page = try client.page(request, [:], order: Self.order)
            let here = Set(page.users.map(\.id))
            let elsewhere = Array(Set(page.users.flatMap(\.friends)).subtracting(here))
            var friends: [User] = []
            for start in stride(from: 0, to: elsewhere.count, by: Self.idsPerQuery) {
                let ids = elsewhere[start..<min(start + Self.idsPerQuery, elsewhere.count)]
                try client.find(
                    ["_id": .document(["$in": .strings(Array(ids))])],
                    ["projection": .document(["hobbies": .int32(1)])]
                ) { document throws(StorageFailure) in
                    if let friend = User(document) { friends.append(friend) }
                }
            }
            return (page, friends)
        }
    }

    /// The filter of a search; `nil` if nothing can match.
    private static func filter(_ search: String?) -> BSONDocument? {
        guard let search, !search.isEmpty else { return [:] }
        guard let pattern = SearchPattern.matching(search) else { return nil }
        let match = BSONValue.regularExpression(pattern)
        return ["$or": .array([.document(["username": match]), .document(["hobbies": match])])]
    }

    /// Returns when the database has answered, or throws.
    func probe() async throws(StorageFailure) {
        try await operations.run(isProbe: true) { client throws(StorageFailure) in _ = try client.user("") }
    }

    /// Creates the index of lists, if it is missing. May take longer than other operations. In that case the call fails
    /// while the server continues, and the next call finds the index.
    func makeIndex() async throws(StorageFailure) {
        try await operations.run { client throws(StorageFailure) in
            _ = try client.run([
                "createIndexes": .string(MongoClient.collection),
                "indexes": .array([
                    .document(["key": .document(Self.order), "name": .string("createdAt_1__id_1")])
                ]),
            ])
        }
    }
}

extension MongoClient {
    /// The user with that id.
    func user(_ id: String) throws(StorageFailure) -> User? {
        var user: User?
        try find(["_id": .string(id)], ["limit": .int32(1)]) { document throws(StorageFailure) in
            user = User(document)
        }
        return user
    }

    fileprivate func page(
        _ request: PageRequest, _ filter: BSONDocument, order: BSONDocument
    ) throws(StorageFailure) -> UserStore.Page {
        let total = try count(filter)
        guard request.skipped < total else { return UserStore.Page(users: [], total: total) }
        var users: [User] = []
        let options: BSONDocument = [
            "sort": .document(order), "skip": .int64(Int64(request.skipped)), "limit": .int64(Int64(request.limit)),
        ]
        try find(filter, options) { document throws(StorageFailure) in
            if let user = User(document) { users.append(user) }
        }
        return UserStore.Page(users: users, total: total)
    }
}
