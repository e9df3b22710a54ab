import HTTPTypes

/// What a path means.
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

    /// Segments are compared as they are: no path of this API needs percent encoding. One slash at the end is
    /// allowed, as the service that this one replaces allowed it.
    init?(path: String) {
        guard path.utf8.first == UInt8(ascii: "/") else { return nil }
        var segments = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        if segments.last == "" { segments.removeLast() }
        switch segments.count {
        case 0: self = .health
        case 1 where segments == ["ui"]: self = .page
        case 2 where segments == ["ui", "host"]: self = .host
        case 1 where segments == ["metrics"]: self = .metrics
        case 2 where segments == ["api", "status"]: self = .status
        case 2 where segments == ["api", "users"]: self = .users
        case 2 where segments == ["api", "graph"]: self = .graph
        case 2 where segments == ["api", "events"]: self = .events
        case 3 where segments[..<2] == ["api", "users"]: self = .user(id: String(segments[2]))
        case 4 where segments == ["api", "users", "paginated", "list"]: self = .paginatedUsers
        case 4 where segments == ["api", "users", "stats", "overview"]: self = .statistics
        case 4 where segments[..<2] == ["api", "users"] && segments[3] == "link":
            self = .link(id: String(segments[2]))
        case 4 where segments[..<2] == ["api", "users"] && segments[3] == "unlink":
            self = .unlink(id: String(segments[2]))
        default: return nil
        }
    }

    /// What can be done there; wherever GET is, HEAD and OPTIONS are, too.
    private var methods: [HTTPRequest.Method] {
        switch self {
        case .health, .status, .metrics, .paginatedUsers, .statistics, .graph, .page, .host, .events: [.get]
        case .users: [.get, .post]
        case .user: [.get, .put, .delete]
        case .link: [.post]
        case .unlink: [.delete]
        }
    }

    /// Also HEAD wherever GET is.
    func allows(_ method: HTTPRequest.Method) -> Bool {
        methods.contains(method == .head ? .get : method)
    }

    /// The value of `Allow`.
    var allowed: String {
        let head = methods.contains(.get) ? [HTTPRequest.Method.head] : []
        return (methods + head + [.options]).map(\.rawValue).joined(separator: ", ")
    }
}
