import NIOCore

/// Key, tags and time to live of each cached response.
enum CacheEntry: Sendable, Equatable {
    case users
    case graph(PageRequest, includesConnections: Bool)
    case statistics
    case user(id: String)

    var key: ByteBuffer {
        switch self {
        case .users: ByteBuffer(string: "users:all")
        case .graph(let request, let includesConnections):
            ByteBuffer(string: "graph:\(request.page):\(request.limit):\(includesConnections)")
        case .statistics: ByteBuffer(string: "stats:overview")
        case .user(let id): CacheTag.user(id)
        }
    }

    var tags: [ByteBuffer] {
        switch self {
        case .users, .graph, .statistics: [CacheTag.users]
        case .user(let id): [CacheTag.user(id)]
        }
    }

    var timeToLive: Duration {
        switch self {
        case .users, .statistics, .user: .seconds(300)
        case .graph: .seconds(120)
        }
    }
}

/// The tags that writes invalidate.
enum CacheTag {
    /// The tag of everything that depends on more than one user.
    static let users = ByteBuffer(string: "users")

    /// The tag of one user. The cache entry of that user has the same name.
    static func user(_ id: String) -> ByteBuffer { ByteBuffer(string: "user:\(id)") }

    /// The tags of a write that changes these users.
    static func writing(_ ids: [String]) -> [ByteBuffer] { [users] + ids.map(user) }
}
