/// Statistics of all users, collected one user after the other.
struct Statistics: Sendable {
    private var userCount = 0
    /// Entries in all `friends`; each friendship has two.
    private var friendCount = 0
    private var hobbyCounts: [ExactText: Int] = [:]

    private static let topCount = 5

    /// Adds one user. Only hobbies and friends are used.
    mutating func add(_ user: User) {
        userCount += 1
        friendCount += user.friends.count
        for hobby in Set(user.hobbies.map(ExactText.init)) { hobbyCounts[hobby, default: 0] += 1 }
    }

    /// Number of different hobbies so far, which determines the memory.
    var hobbyCount: Int { hobbyCounts.count }

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
                        writer.field("hobby", hobby.text)
                        writer.field("count", count)
                    }
                }
            }
        }
    }
}
