/// A page of users as nodes, with the edges of those users: first the users of the page are added, then their friends on
/// other pages.
struct GraphPage: ~Copyable {
    private struct Node {
        /// Number of the user's id.
        var id: Int
        /// Numbers of the ids, in `friends`.
        var friends: Range<Int>
        /// Number of entries in the user's list of friends.
        var friendCount: Int
        /// Members of the node's object in `members`: before its type, before its score, and the rest.
        var beforeType: Range<Int>, beforeScore: Range<Int>, rest: Range<Int>
    }

    private let includesConnections: Bool
    private var nodes: [Node] = []
    private let ids = TextNumbers(), hobbies = TextNumbers()
    private var friends: [Int] = []
    private var hobbyNumbers: [Int] = []
    /// By the number of the id: that user's hobbies in `hobbyNumbers`, in ascending order.
    private var hobbiesOfUser: [Range<Int>] = []
    /// Nodes without their scores, which depend on users that come later.
    private var members = JSONWriter()

    /// A node with a greater score is a high score node.
    private static let highScore = 5.0

    init(includesConnections: Bool) { self.includesConnections = includesConnections }

    /// Memory in use, in bytes.
    var byteCount: Int {
        members.byteCount + ids.byteCount + hobbies.byteCount
            + (friends.count + hobbyNumbers.count) * MemoryLayout<Int>.size
    }

    /// Adds a user of the page.
    mutating func add(_ user: StoredUser) {
        let (id, start) = (includesConnections ? addHobbies(of: user) : nodes.count, friends.count)
        if includesConnections {
            for friend in user.friends { friends.append(ids.number(of: friend)) }
        }
        nodes.append(
            Node(
                id: id, friends: start..<friends.count, friendCount: user.friends.count,
                beforeType: written { $0.field("id", user.id) },
                beforeScore: written { members in
                    members.name("data")
                    members.beginObject()
                    members.field("label", user.username)
                    members.field("age", user.age)
                    members.field("hobbies", user.hobbies)
                },
                rest: written { members in
                    members.name("position")
                    user.position.write(to: &members)
                }))
    }

    /// The place of what `content` writes, in `members`.
    private mutating func written(_ content: (inout JSONWriter) -> Void) -> Range<Int> {
        let start = members.byteCount
        members.beginMembers()
        content(&members)
        return start..<members.byteCount
    }

    /// Ids of friends that are on other pages.
    var friendsElsewhere: [String] {
        var isHere = [Bool](repeating: false, count: ids.texts.count)
        if includesConnections { for node in nodes { isHere[node.id] = true } }
        return ids.texts.indices.filter { !isHere[$0] }.map { String(decoding: ids.texts[$0], as: UTF8.self) }
    }

    /// Adds a friend that is on another page.
    mutating func addElsewhere(_ friend: StoredUser) { _ = addHobbies(of: friend) }

    /// - Returns: the number of the user's id.
    private mutating func addHobbies(of user: StoredUser) -> Int {
        let id = ids.number(of: user.id)
        while hobbiesOfUser.count <= id { hobbiesOfUser.append(0..<0) }
        let start = hobbyNumbers.count
        for hobby in user.hobbies { hobbyNumbers.append(hobbies.number(of: hobby)) }
        hobbyNumbers[start...].sort()
        hobbiesOfUser[id] = start..<hobbyNumbers.count
        return id
    }

    /// Writes the page, or the beginning of one that is longer than `limit` bytes.
    func write(to writer: inout JSONWriter, _ pagination: Pagination, limit: Int = .max) {
        writer.beginObject()
        writer.name("nodes")
        writer.beginArray()
        for node in nodes where writer.byteCount <= limit { write(node, to: &writer) }
        writer.endArray()
        writer.name("edges")
        writer.beginArray()
        if includesConnections { writeEdges(to: &writer, limit) }
        writer.endArray()
        writer.name("pagination")
        pagination.write(to: &writer)
        writer.endObject()
    }

    private func write(_ node: Node, to writer: inout JSONWriter) {
        let score = Double(node.friendCount) + 0.5 * Double(sharedHobbies(node))
        func take(_ place: Range<Int>) { writer.members(UnsafeRawBufferPointer(rebasing: members.bytes[place])) }
        writer.beginObject()
        take(node.beforeType)
        writer.field("type", score > Self.highScore ? "highScoreNode" : "lowScoreNode")
        take(node.beforeScore)
        writer.field("popularityScore", score)
        writer.endObject()
        take(node.rest)
        writer.endObject()
    }

    /// Number of hobbies that a user shares with each friend, in total.
    private func sharedHobbies(_ node: Node) -> Int {
        friends[node.friends].reduce(0) { sum, friend in
            guard friend < hobbiesOfUser.count else { return sum }
            return sum + commonCount(hobbiesOfUser[node.id], hobbiesOfUser[friend])
        }
    }

    /// Number of different hobbies that are in both lists.
    private func commonCount(_ one: Range<Int>, _ other: Range<Int>) -> Int {
        var (first, second, count, last) = (one.lowerBound, other.lowerBound, 0, -1)
        while first < one.upperBound, second < other.upperBound {
            let (hobby, otherHobby) = (hobbyNumbers[first], hobbyNumbers[second])
            if hobby == otherHobby, hobby != last { (count, last) = (count + 1, hobby) }
            if hobby <= otherHobby { first += 1 }
            if otherHobby <= hobby { second += 1 }
        }
        return count
    }

    /// Writes each friendship once: its source is the user that comes first on the page.
    private func writeEdges(to writer: inout JSONWriter, _ limit: Int) {
        var isDone = [Bool](repeating: false, count: ids.texts.count)
        // Another program may have stored a friend twice.
        var lastSource = [Int](repeating: -1, count: ids.texts.count)
        for node in nodes {
            let source = ids.texts[node.id]
            isDone[node.id] = true
            for friend in friends[node.friends] where !isDone[friend] && lastSource[friend] != node.id {
                guard writer.byteCount <= limit else { return }
                lastSource[friend] = node.id
                let target = ids.texts[friend]
                writer.beginObject()
                writer.name("id")
                writer.text { writer in
                    writer.part("e-")
                    writer.part(source)
                    writer.part("-")
                    writer.part(target)
                }
                writer.field("source", source)
                writer.field("target", target)
                writer.endObject()
            }
        }
    }
}
