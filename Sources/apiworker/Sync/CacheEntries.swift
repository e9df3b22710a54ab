import IPC

/// Key, tags and time to live of each cached response.
enum CacheEntry: Sendable, Equatable {
    case users
    case graph(PageRequest, includesConnections: Bool)
    case statistics
    case user(id: String)

    var key: CacheKey {
        switch self {
        case .users: Self.usersKey
        case .graph(let request, let includesConnections):
            "graph:\(request.page):\(request.limit):\(includesConnections)"
        case .statistics: Self.statisticsKey
        case .user(let id): "user:\(id)"
        }
    }

    /// Made once: most requests are for these.
    private static let usersKey: CacheKey = "users:all"
    private static let statisticsKey: CacheKey = "stats:overview"

    var tags: [CacheTag] {
        switch self {
        case .users, .graph, .statistics: [.users]
        case .user(let id): [.user(id)]
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
extension CacheTag {
    /// The tag of everything that depends on more than one user.
    static let users: CacheTag = "users"

    /// The tag of one user. The cache entry of that user has the same name.
    static func user(_ id: String) -> CacheTag { "user:\(id)" }

    /// The tags of a write that changes these users.
    static func writing(_ ids: [String]) -> [CacheTag] { [users] + ids.map(user) }
}
