import IPCWire
import NIOCore
import Synchronization

/// A value that was answered from cache, with the data that decided its freshness.
final class ServedValue: Sendable {
    /// `nil`: a negative result.
    let value: ByteBuffer?
    let slots: [UInt32]
    let asOf: LogPosition
    let epoch: Epoch
    let table: TagTable

    init(value: ByteBuffer?, slots: [UInt32], asOf: LogPosition, epoch: Epoch, table: TagTable) {
        self.value = value
        self.slots = slots
        self.asOf = asOf
        self.epoch = epoch
        self.table = table
    }
}

/// Compares a sample of the cache hits with the database (docs/cache.md, "The auditor").
///
/// A sampled value is loaded again in the background. If the database has another one, somebody has written, and the
/// invalidation has to follow within the bounds of docs/consistency.md. So the auditor waits: as soon as the one rule
/// gives the served value up (a slot or the epoch moved, or the table is not believed), the difference is superseded. If
/// the rule still calls it fresh after all those bounds, it is loaded once more, because a write may have been taken
/// back; if it differs still, it is stale. One audit runs at a time, and after it the auditor
/// rests for nine times as long as the database took; samples that come meanwhile are dropped.
final class Auditor: Sendable {
    typealias Loader = @Sendable () async throws -> ByteBuffer?

    /// Longer than the sum of all bounds of docs/consistency.md: 2 s for a write, 1.5 s until it is acknowledged, 5 s
    /// if its writer dies then, and the time of a heartbeat.
    static let patienceNanoseconds: UInt64 = 10_000_000_000
    /// Interval at which the rule is evaluated meanwhile.
    static let stepNanoseconds: UInt64 = 1_000_000_000
    /// The rest takes this many times as long as the load before it: audits may take a tenth of one connection.
    static let restFactor: UInt64 = 9

    private enum Verdict { case same, superseded, stale }

    private struct State {
        var figures = AuditStatistics()
        var work: Task<Void, Never>?
        var isOver = false
    }

    private let state = Mutex(State())
    /// Number of the hits in L2 up to the next sample; below 1 while a thread chooses the next.
    private let rest: Atomic<Int>
    private let sampling: Sampling
    private let l1: L1Cache
    private let clock: WorkerClock
    private let found: (@Sendable (_ key: CacheKey) -> Void)?

    init(
        sampling: Sampling, l1: L1Cache, clock: WorkerClock, found: (@Sendable (_ key: CacheKey) -> Void)?
    ) {
        self.sampling = sampling
        self.l1 = l1
        self.clock = clock
        self.found = found
        rest = Atomic(sampling.nextGap())
    }

    var statistics: AuditStatistics { state.withLock { $0.figures } }

    /// Counts a hit in L2, of which some become samples.
    func countHit(_ hit: Hit, of key: CacheKey, load: @escaping Loader) {
        guard takeSample(), let served = l1.served(hit, for: key) else { return }
        audit(served, of: key, load: load)
    }

    /// Counts a hit in L2.
    ///
    /// - Returns: whether it is a sample.
    func takeSample() -> Bool {
        guard rest.subtract(1, ordering: .relaxed).newValue == 0 else { return false }
        rest.store(sampling.nextGap(), ordering: .relaxed)
        return true
    }

    /// Whether the next hit in L2 is a sample.
    var isSampleNext: Bool { rest.load(ordering: .relaxed) == 1 }

    /// Loads the value again in the background, unless an audit is under way.
    func audit(_ served: ServedValue, of key: CacheKey, load: @escaping Loader) {
        state.withLock { state in
            guard state.work == nil, !state.isOver else { return }
            state.work = Task(priority: .utility) { [self] in
                await audit(served, key, load)
                self.state.withLock { $0.work = nil }
            }
        }
    }

    private func audit(_ served: ServedValue, _ key: CacheKey, _ load: Loader) async {
        var loadNanoseconds: UInt64 = 0
        let verdict = await verdict(on: served) {
            let begin = clock.now()
            defer { loadNanoseconds = min(clock.now() - begin, Self.patienceNanoseconds) }
            return try await load()
        }
        count(verdict, on: key)
        guard loadNanoseconds > 0 else { return }
        // The sleep only ends early if the worker does.
        try? await clock.sleep(clock.now() + Self.restFactor * loadNanoseconds)
    }

    /// Ends the audits; the one under way ends without a verdict.
    func end() {
        let work = state.withLock { state in
            state.isOver = true
            return state.work
        }
        work?.cancel()
    }

    private func count(_ verdict: Verdict?, on key: CacheKey) {
        state.withLock { state in
            switch verdict {
            case .same: state.figures.sampled += 1
            case .superseded:
                state.figures.sampled += 1
                state.figures.superseded += 1
            case .stale:
                state.figures.sampled += 1
                state.figures.stale += 1
            case nil: break
            }
        }
        if verdict == .stale { found?(key) }
    }

    /// `nil`: the database did not answer, so there is no verdict.
    private func verdict(on served: ServedValue, load: () async throws -> ByteBuffer?) async -> Verdict? {
        do {
            if try await load() == served.value { return .same }
            let deadline = clock.now() + Self.patienceNanoseconds
            while l1.isFresh(served) {
                let now = clock.now()
                guard now < deadline else {
                    let isStale = try await load() != served.value
                    return isStale && l1.isFresh(served) ? .stale : .superseded
                }
                try await clock.sleep(min(deadline, now + Self.stepNanoseconds))
            }
            return .superseded
        } catch {
            return nil
        }
    }
}

/// Selects one in N at varying intervals: a client with a rhythm must not always or never be selected.
struct Sampling: Sendable {
    private let oneIn: UInt64
    private let random: @Sendable (ClosedRange<UInt64>) -> UInt64

    /// - Returns: `nil` for 0: no samples.
    init?(oneIn: Int, random: @escaping @Sendable (ClosedRange<UInt64>) -> UInt64) {
        guard oneIn > 0 else { return nil }
        self.oneIn = UInt64(min(oneIn, 1 << 40))
        self.random = random
    }

    /// Number of hits to the next sample: between a half and three halves of the average.
    func nextGap() -> Int { Int(random((oneIn + 1) / 2...oneIn + oneIn / 2)) }
}
