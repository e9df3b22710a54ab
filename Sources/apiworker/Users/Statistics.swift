/// Statistics of all users, collected one user after the other.
struct Statistics {
    private var userCount = 0
    /// Entries in all `friends`; each friendship has two.
    private var friendCount = 0
    private let hobbies = TextNumbers()
    /// By the number of the hobby: how many users have it, and the last of them.
    private var counts: [(users: Int, last: Int)] = []

    private static let topCount = 5

    /// Adds one user. Only hobbies and friends are used.
    mutating func add(_ user: StoredUser) {
        userCount += 1
        friendCount += user.friends.count
        for hobby in user.hobbies {
            let number = hobbies.number(of: hobby)
            if number == counts.count { counts.append((0, 0)) }
            // A hobby that a user has twice counts once.
            if counts[number].last < userCount { counts[number] = (counts[number].users + 1, userCount) }
        }
    }

    /// Number of different hobbies so far.
    var hobbyCount: Int { counts.count }

    /// Memory in use, in bytes.
    var byteCount: Int { hobbies.byteCount }

    /// Friends per user, with two decimals.
    private var average: String {
        guard userCount > 0 else { return "0.00" }
        let hundredths = (friendCount * 100 * 2 + userCount) / (userCount * 2)
        let decimals = String(hundredths % 100)
        return "\(hundredths / 100)." + (decimals.count < 2 ? "0" : "") + decimals
    }

    /// The numbers of the hobbies that most users have, by count and then by name.
    private var top: [Int] {
        func precedes(_ one: Int, _ other: Int) -> Bool {
            guard counts[one].users == counts[other].users else { return counts[one].users > counts[other].users }
            return hobbies.texts[one].lexicographicallyPrecedes(hobbies.texts[other])
        }
        return counts.indices.reduce(into: []) { top, number in
            let place = top.firstIndex { precedes(number, $0) } ?? top.endIndex
            if place < Self.topCount { top.insert(number, at: place) }
            if top.count > Self.topCount { top.removeLast() }
        }
    }

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("totalUsers", userCount)
            writer.field("totalConnections", friendCount / 2)
            writer.field("avgConnections", average)
            writer.field("totalHobbies", hobbyCount)
            writer.name("topHobbies")
            writer.array { writer in
                for hobby in top {
                    writer.object { writer in
                        writer.field("hobby", hobbies.texts[hobby])
                        writer.field("count", counts[hobby].users)
                    }
                }
            }
        }
    }
}
