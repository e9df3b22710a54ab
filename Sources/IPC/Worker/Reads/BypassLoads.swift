import DequeModule
import NIOCore
import Synchronization

/// Reads of the database without a lease (docs/consistency.md, "Reading", step 5).
///
/// Nothing tells when the value of such a load becomes stale. So a request may only share one that begins after the
/// request did: those that arrive while a load of their key runs share the next one. Loads at once are bounded; the
/// others wait in the order of their arrival.
final class BypassLoads: Sendable {
    typealias Loader = @Sendable () async throws -> ByteBuffer?
    private typealias Outcome = Result<ByteBuffer?, any Error>

    private final class Load: Sendable {
        let shared = SharedTask<Outcome>()
        let loader: Loader

        init(_ loader: @escaping Loader) { self.loader = loader }
    }

    private struct Place {
        var current: Load
        var hasBegun = false
        /// The load for requests that came after `current` had begun.
        var next: Load?
    }

    private struct State {
        var places: [CacheKey: Place] = [:]
        var running = 0
        /// Keys whose `current` has not begun.
        var queue: Deque<CacheKey> = []
    }

    private let state = Mutex(State())
    private let limit: Int
    private let executor: (any TaskExecutor)?

    /// At most `limit` loads run at once, and at least one.
    init(limit: Int, executor: (any TaskExecutor)? = nil) {
        self.limit = max(1, limit)
        self.executor = executor
    }

    /// A value that was read after this call began.
    func value(for key: CacheKey, load loader: @escaping Loader) async throws -> ByteBuffer? {
        let load = state.withLock { Self.place(key, loader, in: &$0) }
        beginLoads()
        return try await load.shared.value().get()
    }

    /// Number of running loads.
    var runningCount: Int { state.withLock { $0.running } }

    /// Number of callers that wait for a load, begun or not.
    var waitingCount: Int {
        state.withLock { state in
            state.places.values.reduce(0) {
                $0 + $1.current.shared.interestedCount + ($1.next?.shared.interestedCount ?? 0)
            }
        }
    }

    private static func place(_ key: CacheKey, _ loader: @escaping Loader, in state: inout State) -> Load {
        guard var place = state.places[key] else {
            let load = Load(loader)
            state.places[key] = Place(current: load)
            state.queue.append(key)
            return load
        }
        if !place.hasBegun || breaks(.bypassLoadJoinedLate), place.current.shared.join() { return place.current }
        if let next = place.next, next.shared.join() { return next }
        let load = Load(loader)
        place.next = load
        state.places[key] = place
        return load
    }

    private func beginLoads() {
        while let (key, load) = state.withLock({ takeFirst(&$0) }) {
            load.shared.begin(on: executor) { [self] in
                let outcome: Outcome
                do { outcome = .success(try await load.loader()) } catch { outcome = .failure(error) }
                state.withLock { state in
                    state.running -= 1
                    Self.end(key, in: &state)
                }
                load.shared.finish(outcome)
                beginLoads()
            }
        }
    }

    /// The next load to run; `nil` if there is none or enough are running.
    private func takeFirst(_ state: inout State) -> (CacheKey, Load)? {
        while state.running < limit, let key = state.queue.popFirst() {
            guard let load = state.places[key]?.current else { continue }
            if load.shared.isAbandoned {
                Self.end(key, in: &state)
                continue
            }
            state.places[key]?.hasBegun = true
            state.running += 1
            return (key, load)
        }
        return nil
    }

    private static func end(_ key: CacheKey, in state: inout State) {
        guard let next = state.places[key]?.next else {
            state.places[key] = nil
            return
        }
        state.places[key] = Place(current: next)
        state.queue.append(key)
    }
}
