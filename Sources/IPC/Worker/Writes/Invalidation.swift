import IPCWire
import NIOCore

/// How syncd answered an invalidation.
enum InvalidationAnswer: Sendable, Hashable {
    /// It is in the log, or syncd, being isolated, owes it.
    case taken
    case refused
    /// There is no answer; `wasSent` if syncd may have seen it nevertheless.
    case none(wasSent: Bool)
}

extension SyncdConnection {
    /// Has tags invalidated, and an event published with them.
    func invalidate(_ tags: [ByteBuffer], event: Event?) async -> InvalidationAnswer {
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
