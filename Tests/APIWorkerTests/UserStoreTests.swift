import Logging
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import apiworker

/// Users in a real MongoDB: a replica set of one, and where it makes a difference also a server without transactions.
@Suite(.tags(.servers), .processes) struct UserStoreTests {
    /// A store with a separate database, which is dropped with it.
    private final class Place: Sendable {
        let server: MongoServer
        let database = MongoServer.newDatabaseName()
        let store: UserStore

        init(_ kind: MongoServer.Kind) async throws {
            server = try await MongoServer.shared(kind)
            let pool = try MongoClientPool(try MongoURI(server.url(database: database)))
            store = UserStore(
                operations: MongoOperations(
                    pool: pool, eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "test")))
        }

        /// Stores users, in this order.
        func insert(_ users: User...) async throws {
            for user in users { try await store.insert(user) }
        }

        /// The documents as they are, by id.
        func documents() async throws -> [String: TestSupport.BSONDocument] {
            try await server.documents("users", database: database).reduce(into: [:]) { documents, document in
                documents[document["_id"]?.string ?? ""] = document
            }
        }

        func friends(_ id: String) async throws -> [String]? { try await store.user(id)?.friends }

        func command(_ command: TestSupport.BSONDocument) async throws {
            try await server.command(command, database: database)
        }

        /// A page of the list.
        func page(_ number: Int, limit: Int, search: String? = nil) async throws -> (
            names: [String], total: Int, hasMore: Bool
        ) {
            let list = try JSONValue.parse(
                try await store.list(PageRequest(page: number, limit: limit), search: search))
            guard case .array(let users)? = list["users"], case .number(let total)? = list["pagination"]?["total"],
                case .bool(let hasMore)? = list["pagination"]?["hasMore"]
            else { throw TestFailure("\(list)") }
            return (users.map { $0["username"].text }, Int(total), hasMore)
        }

        /// The names in a list of all users.
        func names() async throws -> [String] {
            guard case .array(let users) = try JSONValue.parse(try await store.users()) else {
                throw TestFailure("no array")
            }
            return users.map { $0["username"].text }
        }

        func graph(_ number: Int, limit: Int) async throws -> JSONValue {
            try JSONValue.parse(
                try await store.graph(PageRequest(page: number, limit: limit), includesConnections: true))
        }
    }

    private static func with(
        _ kind: MongoServer.Kind = .replicaSet, _ body: (Place) async throws -> Void
    ) async throws {
        let place = try await Place(kind)
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(place))
        } catch {
            result = .failure(error)
        }
        try await place.server.drop(database: place.database)
        try result.get()
    }

    // MARK: Reading

    @Test func `pages are in order of creation, then of ids`() async throws {
        try await Self.with { place in
            try await place.insert(
                .named("late", id: "a", createdAt: 30), .named("second", id: "c", createdAt: 20),
                .named("first", id: "b", createdAt: 20), .named("old", id: "z", createdAt: -5),
                .named("middle", id: "d", createdAt: 25))
            let order = ["old", "first", "second", "middle", "late"]
            #expect(try await place.names() == order)
            for limit in 1...6 {
                var names: [String] = []
                for page in 1...6 {
                    let part = try await place.page(page, limit: limit)
                    #expect(part.total == 5 && part.names.count <= limit && part.hasMore == (page * limit < 5))
                    names += part.names
                }
                #expect(names == order, "\(limit) on a page")
            }
            let far = try await place.page(PageRequest.maximumPage, limit: 1000)
            #expect(far.names == [] && far.total == 5 && !far.hasMore)
            try await place.store.makeIndex()
            try await place.store.makeIndex()
            #expect(try await place.page(1, limit: 10).names == order)
        }
    }

    @Test func `a search finds what it says, literally and in any case`() async throws {
        try await Self.with { place in
            let special = (0x20...0x7e).compactMap { UnicodeScalar($0) }.filter { !$0.properties.isAlphabetic }
            let name = String(String.UnicodeScalarView(special))
            try await place.insert(
                .named("Anna", hobbies: ["chess"]), .named("Bert", hobbies: ["go", "cheese"]), .named(name),
                .named("Ängström É", hobbies: ["(a+)+$"]), .named("tab\tand\nline"))
            func found(_ search: String?) async throws -> [String] {
                try await place.page(1, limit: 10, search: search).names
            }
            #expect(try await found(nil).count == 5)
            #expect(try await found("").count == 5)
            #expect(try await found("aNN") == ["Anna"])
            #expect(try await found("CHE") == ["Anna", "Bert"])
            #expect(try await found("(A+)+$") == ["Ängström É"])
            #expect(try await found("ängström é") == ["Ängström É"])
            #expect(try await found("b\tAND\nl") == ["tab\tand\nline"])
            #expect(try await found(name) == [name], "each character stands for itself")
            for scalar in special where scalar != " " {
                let names = try await found("\(scalar)")
                #expect(Set(names).isSubset(of: [name, "Ängström É"]) && names.contains(name), "\(scalar)")
            }
            for nothing in [".*", "a|b", "^a", "\\w", "chess,go", "a\u{0}", String(repeating: ".", count: 9000)] {
                #expect(try await found(nothing) == [], "\(nothing.prefix(10))")
            }
            let page = try await place.page(2, limit: 1, search: "che")
            #expect(page.names == ["Bert"] && page.total == 2)
        }
    }

    @Test func `friends on other pages come with the page`() async throws {
        try await Self.with { place in
            try await place.insert(
                .named("a", hobbies: ["x"], friends: ["b", "gone"], createdAt: 1),
                .named("b", hobbies: ["x", "y"], friends: ["a"], createdAt: 2))
            let page = try await place.graph(1, limit: 1)
            #expect(page["pagination"]?["total"] == .number(2))
            guard case .array(let nodes)? = page["nodes"], case .array(let edges)? = page["edges"] else {
                throw TestFailure("\(page)")
            }
            #expect(nodes.map { $0["id"].text } == ["a"])
            #expect(nodes[0]["data"]?["popularityScore"] == .number(2.5), "two friends, one shared hobby")
            #expect(edges.map { $0["target"].text } == ["b", "gone"])
        }
    }

    @Test func `statistics of stored users`() async throws {
        try await Self.with { place in
            try await place.insert(.named("a", hobbies: ["x"], friends: ["b"]), .named("b", friends: ["a"]))
            #expect(
                String(buffer: try await place.store.statistics())
                    == #"{"totalUsers":2,"totalConnections":1,"avgConnections":"1.00","totalHobbies":1,"topHobbies":[{"hobby":"x","count":1}]}"#
            )
        }
    }

    /// Failures of a list of all users, a page of it, a graph without and with edges, and statistics; `nil`: a body.
    private static func failures(_ store: UserStore, limit: Int = 10) async -> [StorageFailure.Kind?] {
        let page = PageRequest(page: 1, limit: limit)
        let reads: [() async throws -> ByteBuffer] = [
            { try await store.users() }, { try await store.list(page) },
            { try await store.graph(page, includesConnections: false) },
            { try await store.graph(page, includesConnections: true) }, { try await store.statistics() },
        ]
        var kinds: [StorageFailure.Kind?] = []
        for read in reads {
            do {
                _ = try await read()
                kinds.append(nil)
            } catch {
                kinds.append((error as? StorageFailure)?.kind)
            }
        }
        return kinds
    }

    @Test func `what is too large for one answer`() async throws {
        try await Self.with { place in
            var store = place.store
            store.maximumBytes = 4000
            func set(_ friends: TestSupport.BSONValue) async throws {
                let statement: TestSupport.BSONValue = ["q": [:], "u": ["$set": ["friends": friends]]]
                try await place.command(["update": "users", "updates": [statement]])
            }
            // Each edge has the id of its source twice.
            try await place.insert(.named("a", id: String(repeating: "l", count: 250)))
            try await set(["b", "c", "d", "e"])
            #expect(await Self.failures(store) == [nil, nil, nil, nil, nil])
            try await set(["b", "c", "d", "e", "f", "g", "h", "i"])
            #expect(await Self.failures(store) == [nil, nil, nil, .tooLarge, nil], "eight edges")
            // Scores need the hobbies of friends on other pages.
            try await set(["z"])
            try await place.insert(.named("z", hobbies: (0..<50).map { "hobby \($0)" }, createdAt: 1))
            #expect(await Self.failures(store, limit: 1) == [nil, nil, nil, .tooLarge, nil])
            try await place.insert(.named("y", hobbies: (0..<50).map { "another \($0)" }))
            #expect(await Self.failures(store) == [nil, nil, nil, .tooLarge, .tooLarge], "a hundred different hobbies")
            try await place.insert(.named(String(repeating: "n", count: 4000), id: "n"))
            #expect(await Self.failures(store) == [.tooLarge, .tooLarge, .tooLarge, .tooLarge, .tooLarge])
            await #expect(throws: StorageFailure.tooLarge) { try await store.userBody("n") }
            #expect(try await place.store.user("n") != nil, "the connection is of use")
        }
    }

    @Test func `what all answers together would take too much memory for`() async throws {
        try await Self.with { place in
            var store = place.store
            store.memory = BodyMemory(limit: 2 << 20)
            for number in 0..<3 {
                try await place.insert(.named(String(repeating: "n", count: 400_000), id: "\(number)"))
            }
            #expect(await Self.failures(store) == [nil, nil, nil, nil, nil], "1.2 MB, one after the other")
            let other = store.memory.share()
            try other.hold(2 << 20)
            #expect(await Self.failures(store) == [.busy, .busy, .busy, .busy, nil])
            #expect(throws: StorageFailure.busy) { try other.hold(3 << 20) }
        }
    }

    @Test func `one document that somebody else made does not spoil a list`() async throws {
        try await Self.with { place in
            try await place.insert(.named("a", createdAt: 5))
            try await place.command(["insert": "users", "documents": [["_id": "odd", "age": "old"], ["_id": 7]]])
            #expect(try await place.names() == ["", "a"], "one without an id as text is not shown")
        }
    }

    @Test(arguments: [0, 1500])
    func `users whose id is no text are counted by nobody`(others: Int) async throws {
        try await Self.with { place in
            let names = (0..<7).map { "u\($0)" }
            for (index, name) in names.enumerated() { try await place.insert(.named(name, createdAt: Int64(index))) }
            let odd = (0..<max(others, 3)).map { number -> TestSupport.BSONValue in
                [
                    "_id": .int32(Int32(number)), "username": "u", "hobbies": ["x"],
                    "createdAt": .date(Int64(number % 7)),
                ]
            }
            try await place.command(["insert": "users", "documents": .array(odd)])
            for index in [false, true] {
                if index { try await place.store.makeIndex() }
                #expect(try await place.names() == names)
                #expect(String(buffer: try await place.store.statistics()).hasPrefix(#"{"totalUsers":7,"#))
                for limit in [1, 3, 7, 8, 1000] {
                    var found: [String] = []
                    for number in 1...8 {
                        let page = try await place.page(number, limit: limit, search: number > 4 ? "U" : nil)
                        #expect(page.total == 7 && page.hasMore == (number * limit < 7))
                        #expect(!page.names.isEmpty || !page.hasMore)
                        found += page.names
                        let graph = try await place.graph(number, limit: limit)
                        guard case .array(let nodes)? = graph["nodes"] else { throw TestFailure("\(graph)") }
                        #expect(nodes.map { $0["id"].text } == page.names)
                        #expect(graph["pagination"]?["total"] == .number(7))
                    }
                    #expect(found == names)
                }
            }
        }
    }

    @Test func `a page far down a list that has such users`() async throws {
        try await Self.with { place in
            let users = (0..<1200).flatMap { number -> [TestSupport.BSONValue] in
                let time = TestSupport.BSONValue.date(Int64(number))
                return [
                    ["_id": .string("u\(number)"), "username": .string("u\(number)"), "createdAt": time],
                    ["_id": .int32(Int32(number)), "createdAt": time],
                ]
            }
            try await place.command(["insert": "users", "documents": .array(users)])
            try await place.store.makeIndex()
            let page = try await place.page(11, limit: 100)
            #expect(page.names == (1000..<1100).map { "u\($0)" } && page.total == 1200 && page.hasMore)
            try await place.command(["delete": "users", "deletes": [["q": ["_id": ["$type": "int"]], "limit": 0]]])
            let same = try await place.page(11, limit: 100)
            #expect(same.names == page.names && same.total == 1200 && same.hasMore)
        }
    }

    // MARK: Writing

    @Test func `a user is stored as JavaScript stores it`() async throws {
        try await Self.with { place in
            let user = User.named("Ada", id: "i", age: 36, hobbies: ["maths"], createdAt: 1_763_884_800_123)
            try await place.insert(user)
            #expect(try await place.store.user("i") == user)
            #expect(try await place.store.user("nobody") == nil)
            let expected: TestSupport.BSONDocument = [
                "_id": "i", "username": "Ada", "age": 36, "hobbies": ["maths"], "friends": [],
                "createdAt": .date(1_763_884_800_123), "position": ["x": 1, "y": 2.5],
            ]
            #expect(try await place.documents() == ["i": expected])
        }
    }

    @Test func `an id or a value that is taken`() async throws {
        try await Self.with { place in
            try await place.insert(.named("a"))
            let same = await #expect(throws: StorageFailure.self) { try await place.store.insert(.named("a")) }
            #expect(same?.kind == .duplicate && same?.isOutcomeUnknown == false)
            try await place.command([
                "createIndexes": "users", "indexes": [["key": ["username": 1], "name": "u", "unique": true]],
            ])
            try await place.insert(.named("b"))
            let change = await #expect(throws: StorageFailure.self) {
                _ = try await place.store.update("b", UserChange(username: "a"))
            }
            #expect(change?.kind == .duplicate && change?.isOutcomeUnknown == false)
            #expect(try await place.store.user("b")?.username == "b")
        }
    }

    @Test func `a change sets what it names and leaves unknown fields alone`() async throws {
        try await Self.with { place in
            try await place.command([
                "insert": "users",
                "documents": [
                    [
                        "_id": "i", "username": "a", "age": 1, "hobbies": ["x"], "friends": ["f"], "more": ["deep": 1],
                        "position": ["x": 1, "y": 2], "createdAt": .date(1), "__v": 3,
                    ]
                ],
            ])
            var expected = try #require(await place.documents()["i"])
            guard case .changed(let user) = try await place.store.update("i", UserChange(age: 2, hobbies: [])) else {
                throw TestFailure("not changed")
            }
            #expect(user.age == 2 && user.hobbies == [] && user.username == "a" && user.friends == ["f"])
            (expected["age"], expected["hobbies"]) = (2, [])
            #expect(try await place.documents()["i"] == expected)
        }
    }

    @Test func `what changes nothing is said to`() async throws {
        try await Self.with { place in
            let user = User.named("caf\u{e9}", id: "i", hobbies: ["x"])
            try await place.insert(user)
            func outcome(_ id: String, _ change: UserChange) async throws -> String {
                switch try await place.store.update(id, change) {
                case .changed: "changed"
                case .unchanged(let same): same == user ? "unchanged" : "another"
                case .notFound: "not found"
                }
            }
            #expect(try await outcome("i", UserChange()) == "unchanged")
            #expect(try await outcome("i", UserChange(username: "caf\u{e9}", age: 30, hobbies: ["x"])) == "unchanged")
            #expect(try await outcome("nobody", UserChange()) == "not found")
            #expect(try await outcome("nobody", UserChange(age: 1)) == "not found")
            #expect(try await outcome("i", UserChange(username: "cafe\u{301}")) == "changed", "looks alike, is not")
            #expect(Array(try #require(await place.store.user("i")).username.utf8).count == 6)
        }
    }

    @Test(arguments: MongoServer.Kind.allCases)
    func `a link is mutual and happens once`(kind: MongoServer.Kind) async throws {
        try await Self.with(kind) { place in
            try await place.insert(.named("a"), .named("b"), .named("c"))
            #expect(try await place.store.change(.link, between: "a", and: "b") == .changed)
            #expect(try await place.store.change(.link, between: "a", and: "b") == .unchanged)
            #expect(try await place.store.change(.link, between: "b", and: "a") == .unchanged)
            #expect(try await place.store.change(.link, between: "c", and: "a") == .changed)
            #expect(try await place.friends("a") == ["b", "c"])
            #expect(try await place.friends("b") == ["a"])
            #expect(try await place.friends("c") == ["a"])
            #expect(try await place.store.change(.unlink, between: "b", and: "a") == .changed)
            #expect(try await place.store.change(.unlink, between: "a", and: "b") == .unchanged)
            #expect(try await place.store.change(.unlink, between: "b", and: "c") == .unchanged, "never were")
            #expect(try await place.friends("a") == ["c"])
            #expect(try await place.friends("b") == [])
        }
    }

    @Test(arguments: MongoServer.Kind.allCases)
    func `with somebody who is not there neither is changed`(kind: MongoServer.Kind) async throws {
        try await Self.with(kind) { place in
            try await place.insert(.named("a", friends: ["gone"]))
            for change in [FriendshipChange.link, .unlink] {
                for (one, other) in [("a", "nobody"), ("nobody", "a"), ("nobody", "no one"), ("a", "gone")] {
                    #expect(try await place.store.change(change, between: one, and: other) == .notFound)
                }
            }
            #expect(try await place.friends("a") == ["gone"])
        }
    }

    @Test(arguments: MongoServer.Kind.allCases)
    func `half a friendship becomes a whole one, or none`(kind: MongoServer.Kind) async throws {
        try await Self.with(kind) { place in
            try await place.insert(.named("a", friends: ["b"]), .named("b"))
            #expect(try await place.store.change(.link, between: "a", and: "b") == .changed)
            #expect(try await place.friends("a") == ["b"])
            #expect(try await place.friends("b") == ["a"])
            try await place.insert(.named("c", friends: ["d", "d"]), .named("d"))
            #expect(try await place.store.change(.unlink, between: "d", and: "c") == .changed)
            #expect(try await place.friends("c") == [])
        }
    }

    @Test(arguments: MongoServer.Kind.allCases)
    func `many links to one user at once`(kind: MongoServer.Kind) async throws {
        try await Self.with(kind) { place in
            try await place.insert(.named("hub"))
            let names = (0..<12).map { "f\($0)" }
            for name in names { try await place.insert(.named(name)) }
            try await withThrowingTaskGroup(of: UserStore.Friendship.self) { group in
                for name in names {
                    group.addTask { try await place.store.change(.link, between: name, and: "hub") }
                }
                for try await friendship in group { #expect(friendship == .changed) }
            }
            #expect(try await place.friends("hub")?.sorted() == names.sorted())
            for name in names { #expect(try await place.friends(name) == ["hub"]) }
        }
    }

    @Test(arguments: MongoServer.Kind.allCases)
    func `who has friends is not deleted`(kind: MongoServer.Kind) async throws {
        try await Self.with(kind) { place in
            try await place.insert(.named("a"), .named("b"))
            _ = try await place.store.change(.link, between: "a", and: "b")
            #expect(try await place.store.delete("a") == .hasFriends)
            #expect(try await place.store.user("a") != nil)
            _ = try await place.store.change(.unlink, between: "a", and: "b")
            #expect(try await place.store.delete("a") == .deleted)
            #expect(try await place.store.delete("a") == .notFound)
            #expect(try await place.documents().keys.sorted() == ["b"])
        }
    }

    @Test(arguments: MongoServer.Kind.allCases)
    func `if one of the two can't be changed, neither is`(kind: MongoServer.Kind) async throws {
        try await Self.with(kind) { place in
            try await place.insert(.named("a"), .named("b"))
            // b takes no friends.
            let rule: TestSupport.BSONValue = [
                "$or": [["_id": ["$ne": "b"]], ["friends.0": ["$exists": false]]]
            ]
            try await place.command(["collMod": "users", "validator": rule])
            for (one, other) in [("a", "b"), ("b", "a")] {
                let failure = await #expect(throws: StorageFailure.self) {
                    _ = try await place.store.change(.link, between: one, and: other)
                }
                #expect(failure?.kind == .rejected && failure?.evidence == .answered)
                #expect(failure?.isOutcomeUnknown == (kind == .standalone), "a transaction surely did not happen")
                #expect(try await place.friends("a") == [])
                #expect(try await place.friends("b") == [])
            }
        }
    }

    @Test func `a transaction that got into another's way is tried again`() async throws {
        try await Self.with { place in
            try await place.insert(.named("a"), .named("b"))
            try await place.server.command([
                "configureFailPoint": "failCommand", "mode": ["times": 3],
                "data": [
                    "failCommands": ["update"], "errorCode": 112, "errorLabels": ["TransientTransactionError"],
                    "namespace": .string("\(place.database).users"),
                ],
            ])
            #expect(try await place.store.change(.link, between: "a", and: "b") == .changed)
            #expect(try await place.friends("b") == ["a"])
        }
    }

    @Test func `a user without the field has no friends`() async throws {
        try await Self.with { place in
            try await place.command(["insert": "users", "documents": [["_id": "i"]]])
            #expect(try await place.store.delete("i") == .deleted)
        }
    }

    @Test func `nothing that a client sends is an operator`() async throws {
        try await Self.with { place in
            try await place.insert(.named("a"), .named("$set", id: "$ne"))
            #expect(try await place.store.user("$ne")?.username == "$set")
            #expect(try await place.store.user("{\"$ne\":null}") == nil)
            _ = try await place.store.update("a", UserChange(username: "$username", hobbies: ["$each", "a.b"]))
            let user = try await place.store.user("a")
            #expect(user?.username == "$username" && user?.hobbies == ["$each", "a.b"])
        }
    }
}

extension JSONValue? {
    /// A text; otherwise empty.
    fileprivate var text: String { if case .string(let text)? = self { text } else { "" } }
}
