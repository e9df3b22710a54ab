import IPCWire
import NIOCore
import Synchronization

/// Tags that syncd has to learn of from this process alone, since they stand in no journal that it reads: those that
/// it has not taken yet, and those of writes of unknown outcome, which are told again and again.
final class UnrecordedWrites: Sendable {
    /// Tags beyond it become one: everything.
    static let maximumTags = 4096
    /// A write of unknown outcome is told again after this long, as syncd does with those that it finds in the journal.
    static let repetitionNanoseconds: UInt64 = 5_000_000_000
    /// No write lands later than this after it failed (docs/consistency.md, "Writes that land late").
    static let landingNanoseconds: UInt64 = 120_000_000_000

    private static let everything = ByteBuffer(string: "*")

    private struct State {
        /// Tags to tell until syncd has taken them.
        var tags: Set<ByteBuffer> = []
        /// Tags to tell again, each until this time, and once after it.
        var repeated: [ByteBuffer: UInt64] = [:]
        var repeatedAt: UInt64 = 0
    }

    private let state = Mutex(State())

    /// Keeps tags until syncd has taken them.
    func add(_ added: some Sequence<ByteBuffer>) {
        state.withLock { state in
            state.tags.formUnion(added)
            if state.tags.count > Self.maximumTags { state.tags = [Self.everything] }
        }
    }

    /// Has the tags told again for as long as their write may land.
    func `repeat`(_ tags: [ByteBuffer], from now: UInt64) {
        let end = now + Self.landingNanoseconds
        state.withLock { state in
            if state.repeated.isEmpty { state.repeatedAt = now }
            for tag in tags { state.repeated[tag] = end }
            if state.repeated.count > Self.maximumTags { state.repeated = [Self.everything: end] }
        }
    }

    /// How many tags wait.
    var count: Int { state.withLock { $0.tags.count } }
    /// How many tags are told again and again.
    var repeatedCount: Int { state.withLock { $0.repeated.count } }

    /// Tells syncd what it has not taken yet and what is to be told again at `now`. What it doesn't take is kept.
    func send(over connection: SyncdConnection, now: UInt64) {
        let tags = state.withLock { state in
            defer { state.tags = [] }
            guard now >= state.repeatedAt + Self.repetitionNanoseconds else { return state.tags }
            state.repeatedAt = now
            defer { state.repeated = state.repeated.filter { $0.value > now } }
            return state.tags.union(state.repeated.keys)
        }
        var rest = Array(tags)[...]
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

/// Writes of unknown outcome whose end somebody waits for.
final class UnsettledWrites: Sendable {
    /// Further ones are not followed; the repetitions cover them.
    static let maximum = 256

    private struct State {
        var tasks: [UInt64: Task<Void, Never>] = [:]
        var nextID: UInt64 = 0
        var isEnded = false
    }

    private let state = Mutex(State())

    var count: Int { state.withLock { $0.tasks.count } }

    /// - Returns: false if there is no room.
    func follow(_ body: @escaping @Sendable () async -> Void) -> Bool {
        state.withLock { state in
            guard !state.isEnded, state.tasks.count < Self.maximum else { return false }
            state.nextID += 1
            let id = state.nextID
            state.tasks[id] = Task { [self] in
                await body()
                self.state.withLock { $0.tasks[id] = nil }
            }
            return true
        }
    }

    /// Nobody waits any more. What stands in the journal is repeated by syncd.
    func end() {
        let tasks = state.withLock { state in
            state.isEnded = true
            defer { state.tasks = [:] }
            return state.tasks
        }
        for task in tasks.values { task.cancel() }
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
