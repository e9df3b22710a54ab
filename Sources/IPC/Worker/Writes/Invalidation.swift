import IPCWire
import NIOCore

/// syncd's answer to an invalidation.
enum InvalidationAnswer: Sendable, Hashable {
    /// The invalidation is in the log, or pending in an isolated syncd.
    case taken
    case refused
    /// There is no answer; `wasSent` if syncd may have received the request nevertheless.
    case none(wasSent: Bool)
}

extension SyncdConnection {
    /// Invalidates tags, and publishes an event with them.
    func invalidate(_ tags: [CacheTag], event: Event?) async -> InvalidationAnswer {
        let tags = tags.map(\.bytes)
        let bytes = tags.reduce(event?.payload.readableBytes ?? 0) { $0 + $1.readableBytes }
        let request = Request.invalidate(tags: tags, event: event)
        switch await self.request(request, cost: RequestCost(bytes: bytes, isUrgent: true)) {
        case .success(.integer): return .taken
        case .success(.simpleString(let text)) where text == ByteBuffer(string: "DEFERRED"): return .taken
        case .success(.error): return .refused
        case .success:
            close()
            return .none(wasSent: true)
        case .failure(let failure): return .none(wasSent: !failure.wasNeverSent)
        }
    }
}
