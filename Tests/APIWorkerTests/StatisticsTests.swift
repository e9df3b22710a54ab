import TestSupport
import Testing

@testable import apiworker

/// docs/http-api.md, "Endpoints": the statistics.
@Suite struct StatisticsTests {
    private static func text(_ users: [User]) -> String {
        var statistics = Statistics()
        for user in users { user.asStored { statistics.add($0) } }
        return json(statistics.write)
    }

    @Test func `nobody`() {
        #expect(
            Self.text([])
                == #"{"totalUsers":0,"totalConnections":0,"avgConnections":"0.00","totalHobbies":0,"topHobbies":[]}"#)
    }

    @Test func `a friendship counts once, and the average twice`() {
        let users = [
            User.named("a", hobbies: ["x", "y"], friends: ["b", "c"]), User.named("b", hobbies: ["y"], friends: ["a"]),
            User.named("c", friends: ["a"]),
        ]
        #expect(
            Self.text(users)
                == #"{"totalUsers":3,"totalConnections":2,"avgConnections":"1.33","totalHobbies":2,"topHobbies":[{"hobby":"y","count":2},{"hobby":"x","count":1}]}"#
        )
    }

    @Test(
        arguments: [
            ([0], "0.00"), ([1, 1], "1.00"), ([2, 0, 0], "0.67"), ([1, 1, 0], "0.67"),
            ([1, 0, 0, 0, 0, 0, 0, 0], "0.13"),
            ([1] + [Int](repeating: 0, count: 19), "0.05"), ([1] + [Int](repeating: 0, count: 249), "0.00"),
            ([12], "12.00"), ([1] + [Int](repeating: 0, count: 199), "0.01"),
        ] as [([Int], String)])
    func `the average is a text with two decimals`(friends: [Int], average: String) throws {
        let users = friends.map { User.named("u", friends: (0..<$0).map(String.init)) }
        #expect(try JSONValue.parse(Self.text(users))["avgConnections"] == .string(average))
    }

    @Test func `five hobbies, by count and then by name`() throws {
        let users = [
            User.named("a", hobbies: ["go", "b", "a", "z", "e", "d", "c"]),
            User.named("b", hobbies: ["z", "c", "Zebra"]),
            User.named("c", hobbies: ["z"]),
        ]
        var statistics = Statistics()
        for user in users { user.asStored { statistics.add($0) } }
        #expect(statistics.hobbyCount == 8)
        guard case .array(let top)? = try JSONValue.parse(json(statistics.write))["topHobbies"] else {
            throw TestFailure("no hobbies")
        }
        #expect(top.map { $0["hobby"] } == ["z", "c", "Zebra", "a", "b"].map(JSONValue.string))
        #expect(top.map { $0["count"] } == [3, 2, 1, 1, 1].map(JSONValue.number))
    }

    @Test func `a hobby that a user has twice counts once`() {
        #expect(Self.text([User.named("a", hobbies: ["x", "x"])]).contains(#"{"hobby":"x","count":1}"#))
    }

    @Test func `two spellings that look alike are two hobbies`() {
        var statistics = Statistics()
        User.named("a", hobbies: ["caf\u{e9}", "cafe\u{301}"]).asStored { statistics.add($0) }
        #expect(statistics.hobbyCount == 2)
    }
}
