import TestSupport
import Testing

@testable import apiworker

/// docs/http-api.md, "Endpoints": the graph.
@Suite struct GraphTests {
    private static func page(
        _ users: [User], elsewhere: [User] = [], includesConnections: Bool = true, limit: Int = 100
    ) -> String {
        var graph = GraphPage(includesConnections: includesConnections)
        for user in users { user.asStored { graph.add($0) } }
        for user in elsewhere { user.asStored { graph.addElsewhere($0) } }
        let pagination = Pagination(page: PageRequest(page: 1, limit: limit), total: users.count + elsewhere.count)
        return json { graph.write(to: &$0, pagination) }
    }

    private static func items(_ name: String, _ graph: String) throws -> [JSONValue] {
        guard case .array(let items)? = try JSONValue.parse(graph)[name] else { return [] }
        return items
    }

    private static func scores(_ graph: String) throws -> [JSONValue?] {
        try items("nodes", graph).map { $0["data"]?["popularityScore"] }
    }

    private static func edges(_ graph: String) throws -> [[String: String]] {
        try items("edges", graph).map { edge in
            guard case .object(let members) = edge else { return [:] }
            return members.reduce(into: [:]) { if case .string(let text) = $1.value { $0[$1.name] = text } }
        }
    }

    @Test func `friends, and half a point for each shared hobby`() throws {
        let a = User.named("a", hobbies: ["x", "y", "z"], friends: ["b", "c", "d"])
        let b = User.named("b", hobbies: ["y", "x", "w"], friends: ["a"])
        let c = User.named("c", hobbies: ["v"], friends: ["a"])
        let graph = Self.page([a, b, c, User.named("e", hobbies: ["x"])])
        #expect(
            try Self.scores(graph) == [4, 2, 1, 0].map(JSONValue.number),
            "a: one friend is gone, two hobbies are shared")
    }

    @Test func `friends on other pages count`() throws {
        let a = User.named("a", hobbies: ["x"], friends: ["b"])
        let graph = Self.page([a], elsewhere: [User.named("b", hobbies: ["x", "y"])])
        #expect(try Self.scores(graph) == [.number(1.5)])
        #expect(try Self.edges(graph) == [["id": "e-a-b", "source": "a", "target": "b"]])
    }

    @Test func `an edge comes from who is first on the page`() throws {
        let users = [
            User.named("c", friends: ["a", "b"]), User.named("a", friends: ["b", "c"]),
            User.named("b", friends: ["c", "elsewhere", "a"]),
        ]
        let edges = try Self.edges(Self.page(users))
        #expect(edges.compactMap { $0["id"] } == ["e-c-a", "e-c-b", "e-a-b", "e-b-elsewhere"])
        #expect(edges.allSatisfy { $0["id"] == "e-\($0["source"] ?? "")-\($0["target"] ?? "")" })
    }

    @Test func `a friendship that is stored twice is one edge`() throws {
        let users = [User.named("a", friends: ["b", "x", "b", "x"]), User.named("b", friends: ["a", "a"])]
        #expect(try Self.edges(Self.page(users)).compactMap { $0["id"] } == ["e-a-b", "e-a-x"])
    }

    @Test func `nobody is their own friend`() throws {
        #expect(try Self.edges(Self.page([User.named("a", friends: ["a"])])) == [])
    }

    @Test func `without connections the score is the number of friends`() throws {
        let a = User.named("a", hobbies: ["x"], friends: ["b"]), b = User.named("b", hobbies: ["x"], friends: ["a"])
        let graph = Self.page([a, b], includesConnections: false)
        #expect(try Self.scores(graph) == [.number(1), .number(1)])
        #expect(try Self.edges(graph) == [])
    }

    @Test func `above 5 is high`() throws {
        let friends = (0..<5).map { "f\($0)" }
        let five = User.named("five", hobbies: ["x"], friends: friends)
        let more = User.named("more", hobbies: ["y"], friends: friends)
        let graph = Self.page([five, more], elsewhere: [User.named("f0", hobbies: ["y"])])
        #expect(try Self.scores(graph) == [.number(5), .number(5.5)])
        #expect(
            try Self.items("nodes", graph).map { $0["type"] } == [.string("lowScoreNode"), .string("highScoreNode")])
    }

    @Test func `a page, word for word`() {
        let graph = Self.page(
            [User.named("Ada", id: "a", age: 36, hobbies: ["m"], friends: ["b"])],
            elsewhere: [User.named("Bob", id: "b", hobbies: ["m"])], limit: 1)
        #expect(
            graph
                == #"{"nodes":[{"id":"a","type":"lowScoreNode","data":{"label":"Ada","age":36,"hobbies":["m"],"popularityScore":1.5},"position":{"x":1,"y":2.5}}],"edges":[{"id":"e-a-b","source":"a","target":"b"}],"pagination":{"page":1,"limit":1,"total":2,"totalPages":2,"hasMore":true}}"#
        )
        #expect(
            Self.page([])
                == #"{"nodes":[],"edges":[],"pagination":{"page":1,"limit":100,"total":0,"totalPages":0,"hasMore":false}}"#
        )
    }

    @Test func `a hobby that is named twice is shared once`() throws {
        let a = User.named("a", hobbies: ["x", "y", "x"], friends: ["b", "b"])
        let b = User.named("b", hobbies: ["x", "x"], friends: ["a"])
        #expect(try Self.scores(Self.page([a, b])) == [.number(3), .number(1.5)])
    }

    @Test func `hobbies that only look alike are not shared`() throws {
        let a = User.named("a", hobbies: ["caf\u{e9}"], friends: ["b"])
        let b = User.named("b", hobbies: ["cafe\u{301}"], friends: ["a"])
        #expect(try Self.scores(Self.page([a, b])) == [.number(1), .number(1)])
    }
}
