import IPCWire
import NIOCore
import Synchronization

/// Tags that should have been invalidated while there was neither syncd nor a journal to write them into. Their
/// writes were acknowledged after a trust window; syncd still has to learn of them, and does so when it is back.
final class UnrecordedWrites: Sendable {
    /// Tags beyond it become one: everything.
    static let maximumTags = 4096

    private static let everything: Set<ByteBuffer> = [ByteBuffer(string: "*")]

    private let tags = Mutex<Set<ByteBuffer>>([])

    /// Keeps tags until syncd has taken them.
    func add(_ added: some Sequence<ByteBuffer>) {
        tags.withLock { tags in
            tags.formUnion(added)
            if tags.count > Self.maximumTags { tags = Self.everything }
        }
    }

    /// How many tags wait.
    var count: Int { tags.withLock { $0.count } }

    /// Tells syncd. What it doesn't take is kept.
    func send(over connection: SyncdConnection) {
        var rest = tags.withLock { tags in
            defer { tags = [] }
            return Array(tags)
        }[...]
        let limit = WireLimits().tagsPerInvalidation
        while !rest.isEmpty {
            let part = Array(rest.prefix(limit))
            rest = rest.dropFirst(limit)
            Task {
                if await connection.invalidate(part, event: nil) != .taken { add(part) }
            }
        }
    }
}

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
