import IPC

/// The event that is published after a write (docs/http-api.md, "Events").
enum UserEvent: Sendable, Equatable {
    case created(id: String)
    case updated(id: String)
    case deleted(id: String)
    case linked(id: String, friend: String)
    case unlinked(id: String, friend: String)

    /// The channels of all events; every worker subscribes to them.
    static let channels = ["user:created", "user:updated", "user:deleted", "users:linked", "users:unlinked"]

    private var channel: String {
        switch self {
        case .created: "user:created"
        case .updated: "user:updated"
        case .deleted: "user:deleted"
        case .linked: "users:linked"
        case .unlinked: "users:unlinked"
        }
    }

    private var ids: (user: String, friend: String?) {
        switch self {
        case .created(let id), .updated(let id), .deleted(let id): (id, nil)
        case .linked(let id, let friend), .unlinked(let id, let friend): (id, friend)
        }
    }

    /// The event in its wire format.
    ///
    /// - Parameter now: milliseconds since 1970.
    func event(atMilliseconds now: Int64) -> Event {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("userId", ids.user)
            if let friend = ids.friend { writer.field("friendId", friend) }
            writer.field("timestamp", Int(now))
        }
        return Event(channel: channel, payload: writer.buffer)
    }
}
