import NIOCore

/// The users in MongoDB. Reads use the primary; every operation takes 2 s at most.
struct UserStore: Sendable {
    let operations: MongoOperations

    /// Lists are ordered by creation, oldest first; `_id` decides between equal times. There is an index for it.
    private static let order: BSONDocument = ["createdAt": .int32(1), "_id": .int32(1)]
    /// Maximum number of ids in one query: far from its limit of 16 MiB.
    private static let idsPerQuery = 10_000
    /// Maximum number of different hobbies in statistics.
    private static let maximumHobbies = 1_000_000
    /// Maximum length of a body, and of what is kept while one is made, in bytes: a worker's memory is bounded, also with
    /// millions of stored users.
    var maximumBytes = 64 << 20
    /// Memory of all bodies that are being made, together.
    var memory = BodyMemory(limit: 256 << 20)
    /// Called with each body of many users, on the thread that made it: no other one has to be woken up for what takes
    /// time.
    var bodyMade: @Sendable (ByteBuffer) -> Void = { _ in }

    /// The body with all users, in order.
    func users() async throws(StorageFailure) -> ByteBuffer {
        try await operations.run { client throws(StorageFailure) in
            let share = memory.share()
            var writer = JSONWriter()
            writer.beginArray()
            try client.find([:], ["sort": .document(Self.order)]) { user throws(StorageFailure) in
                user.write(to: &writer)
                try check(writer.byteCount, share)
            }
            writer.endArray()
            return finished(writer)
        }
    }

    func statistics() async throws(StorageFailure) -> ByteBuffer {
        try await operations.run { client throws(StorageFailure) in
            let share = memory.share()
            var statistics = Statistics()
            let fields: BSONDocument = ["hobbies": .int32(1), "friends": .int32(1)]
            try client.find([:], ["projection": .document(fields)]) { user throws(StorageFailure) in
                statistics.add(user)
                try check(statistics.byteCount, share)
                guard statistics.hobbyCount <= Self.maximumHobbies else { throw .tooLarge }
            }
            var writer = JSONWriter()
            statistics.write(to: &writer)
            return finished(writer)
        }
    }

    /// The body with one user; `nil`: there is none.
    func userBody(_ id: String) async throws(StorageFailure) -> ByteBuffer? {
        try await operations.run { client throws(StorageFailure) in
            let share = memory.share()
            var writer = JSONWriter()
            try client.find(id) { $0.write(to: &writer) }
            try check(writer.byteCount, share)
            return writer.byteCount > 0 ? finished(writer) : nil
        }
    }

    /// The body with a page of the list.
    ///
    /// - Parameter search: part of a name or of a hobby, in any case. `nil` or empty: all users.
    func list(_ request: PageRequest, search: String? = nil) async throws(StorageFailure) -> ByteBuffer {
        let filter = Self.filter(search)
        return try await operations.run { client throws(StorageFailure) in
            let share = memory.share()
            var writer = JSONWriter()
            var total = 0
            writer.beginObject()
            writer.name("users")
            writer.beginArray()
            if let filter {
                total = try client.page(request, filter, order: Self.order) { user throws(StorageFailure) in
                    user.write(to: &writer)
                    try check(writer.byteCount, share)
                }
            }
            writer.endArray()
            writer.name("pagination")
            Pagination(page: request, total: total).write(to: &writer)
            writer.endObject()
            return finished(writer)
        }
    }

    /// The body with a page of the graph.
    func graph(_ request: PageRequest, includesConnections: Bool) async throws(StorageFailure) -> ByteBuffer {
        try await operations.run { client throws(StorageFailure) in
            let share = memory.share()
            var graph = GraphPage(includesConnections: includesConnections)
            let total = try client.page(request, [:], order: Self.order) { user throws(StorageFailure) in
                graph.add(user)
                try check(graph.byteCount, share)
            }
            // Scores need the hobbies of friends on other pages.
            let elsewhere = graph.friendsElsewhere
            for start in stride(from: 0, to: elsewhere.count, by: Self.idsPerQuery) {
                let ids = elsewhere[start..<min(start + Self.idsPerQuery, elsewhere.count)]
                try client.find(
                    ["_id": .document(["$in": .strings(Array(ids))])],
                    ["projection": .document(["hobbies": .int32(1)])]
                ) { friend throws(StorageFailure) in
                    graph.addElsewhere(friend)
                    try check(graph.byteCount, share)
                }
            }
            var writer = JSONWriter()
            graph.write(to: &writer, Pagination(page: request, total: total), limit: maximumBytes)
            try check(writer.byteCount, share)
            try share.hold(graph.byteCount + writer.byteCount)
            return finished(writer)
        }
    }

    private func finished(_ writer: borrowing JSONWriter) -> ByteBuffer {
        let body = writer.buffer
        bodyMade(body)
        return body
    }

    /// - Parameter byteCount: what an operation holds now.
    private func check(_ byteCount: Int, _ share: BodyMemory.Share) throws(StorageFailure) {
        guard byteCount <= maximumBytes else { throw .tooLarge }
        try share.hold(byteCount)
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
        try find(id) { user = User($0) }
        return user
    }

    fileprivate func find(_ id: String, _ found: (StoredUser) -> Void) throws(StorageFailure) {
        try find(["_id": .string(id)], ["limit": .int32(1)]) { user throws(StorageFailure) in found(user) }
    }

    /// Reads the users of a page. Users whose id is no text are on no page, and do not count.
    ///
    /// - Returns: the total number of users.
    fileprivate func page(
        _ request: PageRequest, _ filter: BSONDocument, order: BSONDocument,
        each: (StoredUser) throws(StorageFailure) -> Void
    ) throws(StorageFailure) -> Int {
        let users = filter.appending("_id", .document(["$type": .string("string")]))
        // The server reads each document that it skips if there is such a condition. In a long list it is asked before,
        // by the index, whether there are others at all.
        let others: BSONDocument = ["_id": .document(["$not": .document(["$gte": .string("")])])]
        let mayHaveOthers = request.skipped < 1000 ? true : try find(others, ["limit": .int32(1)]) { _ in } > 0
        let options: BSONDocument = [
            "sort": .document(order), "skip": .int64(Int64(request.skipped)), "limit": .int64(Int64(request.limit)),
        ]
        let found = try find(mayHaveOthers ? users : filter, options, each: each)
        let end = request.skipped + found
        // Others may write in between: an empty page is the last, and a page is within the total.
        if found == request.limit { return max(end, try count(users)) }
        return found > 0 || request.skipped == 0 ? end : min(end, try count(users))
    }
}
