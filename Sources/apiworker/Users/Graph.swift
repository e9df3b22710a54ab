/// A page of users as nodes, with the edges of those users.
struct GraphPage: Sendable {
    private let users: [User]
    private let pagination: Pagination
    private let includesConnections: Bool
    /// Hobbies of every user whom an edge can reach.
    private let hobbies: [String: Set<ExactText>]

    /// A node with a greater score is a high score node.
    private static let highScore = 5.0

    /// - Parameters:
    ///   - users: the page, in its order.
    ///   - friendsElsewhere: friends of theirs that are on other pages.
    init(users: [User], friendsElsewhere: [User], pagination: Pagination, includesConnections: Bool) {
        self.users = users
        self.pagination = pagination
        self.includesConnections = includesConnections
        hobbies = Dictionary((users + friendsElsewhere).map { ($0.id, Self.hobbies(of: $0)) }) { first, _ in first }
    }

    private static func hobbies(of user: User) -> Set<ExactText> { Set(user.hobbies.map(ExactText.init)) }

    /// Number of friends, and half a point for each hobby shared with each of them.
    func score(_ user: User) -> Double {
        guard includesConnections else { return Double(user.friends.count) }
        let own = Self.hobbies(of: user)
        let shared = user.friends.reduce(0) { $0 + (hobbies[$1].map { own.intersection($0).count } ?? 0) }
        return Double(user.friends.count) + 0.5 * Double(shared)
    }

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.name("nodes")
            writer.array { writer in
                for user in users { write(user, to: &writer) }
            }
            writer.name("edges")
            writer.array { writer in
                if includesConnections { writeEdges(to: &writer) }
            }
            writer.name("pagination")
            pagination.write(to: &writer)
        }
    }

    private func write(_ user: User, to writer: inout JSONWriter) {
        let score = score(user)
        writer.object { writer in
            writer.field("id", user.id)
            writer.field("type", score > Self.highScore ? "highScoreNode" : "lowScoreNode")
            writer.name("data")
            writer.object { writer in
                writer.field("label", user.username)
                writer.field("age", user.age)
                writer.field("hobbies", user.hobbies)
                writer.field("popularityScore", score)
            }
            writer.name("position")
            user.position.write(to: &writer)
        }
    }

    /// Writes each friendship once: its source is the user that comes first on the page.
    private func writeEdges(to writer: inout JSONWriter) {
        var done: Set<String> = []
        for user in users {
            for friend in user.friends where !done.contains(friend) && friend != user.id {
                writer.object { writer in
                    writer.field("id", "e-\(user.id)-\(friend)")
                    writer.field("source", user.id)
                    writer.field("target", friend)
                }
            }
            done.insert(user.id)
        }
    }
}
