import IPCWire
import NIOCore

/// syncd's answer to an invalidation.
enum InvalidationAnswer: Sendable, Hashable {
    /// The invalidation is in the log at this position; `nil`: it is pending in an isolated syncd.
    case taken(LogPosition?)
    case refused
    /// There is no answer; `wasSent` if syncd may have received the request nevertheless.
    case none(wasSent: Bool)

    var isTaken: Bool { if case .taken = self { true } else { false } }
}

extension SyncdConnection {
    /// Invalidates tags, and publishes an event with them.
    ///
    /// - Parameter time: when the database has applied the write. For a syncd that knows of change feeds only.
    func invalidate(_ tags: [CacheTag], event: Event?, at time: OperationTime? = nil) async -> InvalidationAnswer {
        let tags = tags.map(\.bytes)
        let bytes = tags.reduce(event?.payload.readableBytes ?? 0) { $0 + $1.readableBytes }
        let request = Request.invalidate(tags: tags, event: event, at: time)
        switch await self.request(request, cost: RequestCost(bytes: bytes, isUrgent: true)) {
        case .success(.integer(let position)): return .taken(UInt64(exactly: position).map { LogPosition($0) })
        case .success(.simpleString(let text)) where text == ByteBuffer(string: "DEFERRED"): return .taken(nil)
        case .success(.error): return .refused
        case .success:
            close()
            return .none(wasSent: true)
        case .failure(let failure): return .none(wasSent: !failure.wasNeverSent)
        }
    }
}
