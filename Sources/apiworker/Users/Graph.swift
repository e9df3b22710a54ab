/// A page of users as nodes, with the edges of those users: first the users of the page are added, then their friends on
/// other pages.
struct GraphPage {
    private struct Node {
        /// A copy: the driver takes the bytes back.
        var document: [UInt8]
        var id: Int
        var friends: [Int]
    }

    private let includesConnections: Bool
    private var nodes: [Node] = []
    private let ids = TextNumbers(), hobbies = TextNumbers()
    /// By the number of the id: the numbers of that user's hobbies, in ascending order.
    private var hobbiesOfUser: [[Int]] = []
    private var documentBytes = 0

    /// A node with a greater score is a high score node.
    private static let highScore = 5.0

    init(includesConnections: Bool) { self.includesConnections = includesConnections }

    /// Memory in use, in bytes.
    var byteCount: Int { documentBytes + ids.byteCount + hobbies.byteCount }

    /// Adds a user of the page.
    mutating func add(_ user: StoredUser) {
        documentBytes += user.document.count
        var node = Node(document: Array(user.document), id: nodes.count, friends: [])
        if includesConnections {
            node.id = addHobbies(of: user)
            node.friends = user.friends.map(ids.number)
        }
        nodes.append(node)
    }

    /// Ids of friends that are on other pages.
    var friendsElsewhere: [String] {
        let here = Set(nodes.map(\.id))
        return ids.texts.indices.filter { !here.contains($0) }.map { String(decoding: ids.texts[$0], as: UTF8.self) }
    }

    /// Adds a friend that is on another page.
    mutating func addElsewhere(_ friend: StoredUser) {
        documentBytes += friend.document.count
        _ = addHobbies(of: friend)
    }

    /// - Returns: the number of the user's id.
    private mutating func addHobbies(of user: StoredUser) -> Int {
        let id = ids.number(of: user.id)
        while hobbiesOfUser.count <= id { hobbiesOfUser.append([]) }
        hobbiesOfUser[id] = user.hobbies.map(hobbies.number).sorted()
        return id
    }

    /// Writes the page, or the beginning of one that is longer than `limit` bytes.
    func write(to writer: inout JSONWriter, _ pagination: Pagination, limit: Int = .max) {
        writer.object { writer in
            writer.name("nodes")
            writer.array { writer in
                for node in nodes where writer.byteCount <= limit { write(node, to: &writer) }
            }
            writer.name("edges")
            writer.array { writer in
                if includesConnections { writeEdges(to: &writer, limit) }
            }
            writer.name("pagination")
            pagination.write(to: &writer)
        }
    }

    private func write(_ node: Node, to writer: inout JSONWriter) {
        node.document.withUnsafeBytes { document in
            guard let user = StoredUser(document) else { return }
            let score = Double(user.friends.count) + 0.5 * Double(sharedHobbies(node))
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
    }

    /// Number of hobbies that a user shares with each friend, in total.
    private func sharedHobbies(_ node: Node) -> Int {
        node.friends.reduce(0) { sum, friend in
            guard friend < hobbiesOfUser.count else { return sum }
            return sum + Self.commonCount(hobbiesOfUser[node.id][...], hobbiesOfUser[friend][...])
        }
    }

    /// Number of different numbers that are in both lists.
    private static func commonCount(_ one: ArraySlice<Int>, _ other: ArraySlice<Int>) -> Int {
        var (one, other, count, last) = (one, other, 0, -1)
        while let first = one.first, let second = other.first {
            if first == second, first != last { (count, last) = (count + 1, first) }
            if first <= second { one.removeFirst() }
            if second <= first { other.removeFirst() }
        }
        return count
    }

    /// Writes each friendship once: its source is the user that comes first on the page.
    private func writeEdges(to writer: inout JSONWriter, _ limit: Int) {
        var isDone = [Bool](repeating: false, count: ids.texts.count)
        var id: [UInt8] = []
        for node in nodes {
            let source = ids.texts[node.id]
            isDone[node.id] = true
            for friend in node.friends where !isDone[friend] && writer.byteCount <= limit {
                let target = ids.texts[friend]
                id.removeAll(keepingCapacity: true)
                id += "e-".utf8
                id += source
                id += "-".utf8
                id += target
                writer.object { writer in
                    id.withUnsafeBytes { writer.field("id", $0) }
                    writer.field("source", source)
                    writer.field("target", target)
                }
            }
        }
    }
}
