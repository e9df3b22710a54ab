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
            let all = try await place.store.users(into: [String]()) { names, user in names.append(user.username) }
            #expect(all == order)
            for limit in 1...6 {
                var names: [String] = []
                for page in 1...6 {
                    let part = try await place.store.page(PageRequest(page: page, limit: limit))
                    #expect(part.total == 5 && part.users.count <= limit)
                    names += part.users.map(\.username)
                }
                #expect(names == order, "\(limit) on a page")
            }
            let far = try await place.store.page(PageRequest(page: PageRequest.maximumPage, limit: 1000))
            #expect(far.users == [] && far.total == 5)
            try await place.store.makeIndex()
            try await place.store.makeIndex()
            #expect(try await place.store.page(PageRequest(page: 1, limit: 10)).users.map(\.username) == order)
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
                try await place.store.page(PageRequest(page: 1, limit: 10), search: search).users.map(\.username)
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
            let page = try await place.store.page(PageRequest(page: 2, limit: 1), search: "che")
            #expect(page.users.map(\.username) == ["Bert"] && page.total == 2)
        }
    }

    @Test func `friends on other pages come with the page`() async throws {
        try await Self.with { place in
            try await place.insert(
                .named("a", hobbies: ["x"], friends: ["b", "gone"], createdAt: 1),
                .named("b", hobbies: ["x", "y"], friends: ["a"], createdAt: 2))
            let (page, elsewhere) = try await place.store.pageWithFriends(PageRequest(page: 1, limit: 1))
            #expect(page.users.map(\.id) == ["a"] && page.total == 2)
            #expect(elsewhere.map(\.id) == ["b"] && elsewhere.map(\.hobbies) == [["x", "y"]])
            let (whole, none) = try await place.store.pageWithFriends(PageRequest(page: 1, limit: 2))
            #expect(whole.users.count == 2 && none == [])
        }
    }

    @Test func `statistics need hobbies and friends`() async throws {
        try await Self.with { place in
            try await place.insert(.named("a", hobbies: ["x"], friends: ["b"]), .named("b", friends: ["a"]))
            let profiles = try await place.store.profiles(into: [User]()) { users, user in users.append(user) }
            #expect(Set(profiles.map(\.id)) == ["a", "b"])
            #expect(profiles.flatMap(\.hobbies) == ["x"] && profiles.flatMap(\.friends).sorted() == ["a", "b"])
        }
    }

    @Test func `a reader that has enough ends the reading`() async throws {
        try await Self.with { place in
            try await place.insert(.named("a"), .named("b"), .named("c"))
            let enough = StorageFailure(kind: .tooLarge, detail: "enough")
            await #expect(throws: enough) {
                try await place.store.users(into: 0) { count, _ throws(StorageFailure) in
                    count += 1
                    if count == 2 { throw enough }
                }
            }
            #expect(try await place.store.user("a") != nil, "the connection is of use")
        }
    }

    @Test func `one document that somebody else made does not spoil a list`() async throws {
        try await Self.with { place in
            try await place.insert(.named("a", createdAt: 5))
            try await place.command(["insert": "users", "documents": [["_id": "odd", "age": "old"], ["_id": 7]]])
            let names = try await place.store.users(into: [String]()) { ids, user in ids.append(user.id) }
            #expect(names == ["odd", "a"], "one without an id as text is not shown")
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
