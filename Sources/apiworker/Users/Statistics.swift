/// Figures about all users.
struct Statistics: Sendable {
    private let userCount: Int
    /// Entries in all `friends`; each friendship has two.
    private let friendCount: Int
    private let hobbyCounts: [String: Int]

    private static let topCount = 5

    init(users: [User]) {
        userCount = users.count
        friendCount = users.reduce(0) { $0 + $1.friends.count }
        var counts: [String: Int] = [:]
        for user in users {
            for hobby in Set(user.hobbies) { counts[hobby, default: 0] += 1 }
        }
        hobbyCounts = counts
    }

    /// Friends per user, with two decimals.
    private var average: String {
        guard userCount > 0 else { return "0.00" }
        let hundredths = (friendCount * 100 * 2 + userCount) / (userCount * 2)
        let decimals = String(hundredths % 100)
        return "\(hundredths / 100)." + (decimals.count < 2 ? "0" : "") + decimals
    }

    func write(to writer: inout JSONWriter) {
        let top = hobbyCounts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(Self.topCount)
        writer.object { writer in
            writer.field("totalUsers", userCount)
            writer.field("totalConnections", friendCount / 2)
            writer.field("avgConnections", average)
            writer.field("totalHobbies", hobbyCounts.count)
            writer.name("topHobbies")
            writer.array { writer in
                for (hobby, count) in top {
                    writer.object { writer in
                        writer.field("hobby", hobby)
                        writer.field("count", count)
                    }
                }
            }
        }
    }
}
