/// A path with its variable parts replaced, as a label of metrics.
enum RoutePattern: Int, CaseIterable, Sendable {
    case health
    case status
    case metrics
    case users
    case paginatedUsers
    case statistics
    case user
    case link
    case unlink
    case graph
    case page
    case host
    case events
    case openAPI
    /// An unknown path, or unparsable input.
    case other

    var label: String {
        switch self {
        case .health: "/"
        case .status: "/api/status"
        case .metrics: "/metrics"
        case .users: "/api/users"
        case .paginatedUsers: "/api/users/paginated/list"
        case .statistics: "/api/users/stats/overview"
        case .user: "/api/users/:id"
        case .link: "/api/users/:id/link"
        case .unlink: "/api/users/:id/unlink"
        case .graph: "/api/graph"
        case .page: "/ui"
        case .host: "/ui/host"
        case .events: "/api/events"
        case .openAPI: "/openapi.json"
        case .other: "other"
        }
    }
}

extension Route {
    var pattern: RoutePattern {
        switch self {
        case .health: .health
        case .status: .status
        case .metrics: .metrics
        case .users: .users
        case .paginatedUsers: .paginatedUsers
        case .statistics: .statistics
        case .user: .user
        case .link: .link
        case .unlink: .unlink
        case .graph: .graph
        case .page: .page
        case .host: .host
        case .events: .events
        case .openAPI: .openAPI
        }
    }
}
