import NIOHTTP1

/// The endpoint that a path names.
enum Route: Sendable, Equatable {
    case health
    case status
    case metrics
    case users
    case paginatedUsers
    case statistics
    case user(id: String)
    case link(id: String)
    case unlink(id: String)
    case graph
    case page
    case host
    case events
    case openAPI

    /// Segments are compared unchanged: no path of this API needs percent encoding. One slash at the end is allowed, as
    /// in the replaced Node.js service.
    init?(path: String) {
        let isSlashed = path.utf8.count > 2 && path.utf8.last == UInt8(ascii: "/")
        let path = isSlashed ? String(path.dropLast()) : path
        if let route = Self.withoutID[path] {
            self = route
            return
        }
        guard path.hasPrefix(Self.userPrefix) else { return nil }
        let segments = path.utf8.dropFirst(Self.userPrefix.utf8.count)
            .split(separator: UInt8(ascii: "/"), maxSplits: 1, omittingEmptySubsequences: false)
        let id = String(Substring(segments[0]))
        switch segments.count > 1 ? Substring(segments[1]) : nil {
        case nil: self = .user(id: id)
        case "link": self = .link(id: id)
        case "unlink": self = .unlink(id: id)
        default: return nil
        }
    }

    /// The beginning of the path of each user.
    private static let userPrefix = "/api/users/"

    /// Constant paths, which are requested most.
    private static let withoutID: [String: Route] = [
        "/": .health, "/ui": .page, "/ui/host": .host, "/openapi.json": .openAPI, "/metrics": .metrics,
        "/api/status": .status, "/api/users": .users, "/api/graph": .graph, "/api/events": .events,
        "/api/users/paginated/list": .paginatedUsers, "/api/users/stats/overview": .statistics,
    ]

    /// The methods of an endpoint; wherever GET is, HEAD and OPTIONS are, too.
    private var methods: [HTTPMethod] {
        switch self {
        case .health, .status, .metrics, .paginatedUsers, .statistics, .graph, .page, .host, .events, .openAPI: [.GET]
        case .users: [.GET, .POST]
        case .user: [.GET, .PUT, .DELETE]
        case .link: [.POST]
        case .unlink: [.DELETE]
        }
    }

    /// Whether the method is allowed. HEAD is allowed wherever GET is.
    func allows(_ method: HTTPMethod) -> Bool {
        methods.contains(method == .HEAD ? .GET : method)
    }

    /// The value of `Allow`.
    var allowed: String {
        let head = methods.contains(.GET) ? [HTTPMethod.HEAD] : []
        return (methods + head + [.OPTIONS]).map(\.rawValue).joined(separator: ", ")
    }
}
