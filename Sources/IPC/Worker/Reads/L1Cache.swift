import IPCWire
import NIOCore
import Sieve
import Synchronization

/// A value in this process's memory, with the data that decide its freshness. An object, so that a hit copies one
/// reference.
final class L1Entry: Sendable {
    /// `nil`: a negative result.
    let value: ByteBuffer?
    /// The slots of the declared tags, of `=` and the key, and of `*`.
    let slots: [UInt32]
    let asOf: LogPosition
    let epoch: Epoch
    /// CLOCK_BOOTTIME in ns at which the entry expires; later it is used in grace only.
    let deadline: BootTime
    /// CLOCK_BOOTTIME in ns; the value was loaded no earlier.
    let loadedAt: BootTime
    /// CLOCK_BOOTTIME in ns; a hit from then on starts an early refresh.
    let refreshAt: BootTime

    init(
        value: ByteBuffer?, slots: [UInt32], asOf: LogPosition, epoch: Epoch, deadline: BootTime, loadedAt: BootTime,
        refreshAt: BootTime
    ) {
        self.value = value
        self.slots = slots
        self.asOf = asOf
        self.epoch = epoch
        self.deadline = deadline
        self.loadedAt = loadedAt
        self.refreshAt = refreshAt
    }
}

/// A hit in L1.
package struct L1Hit: Sendable {
    /// `nil`: a negative result.
    package var value: ByteBuffer?
    /// `nil` for nearly all hits.
    var duty: L1Duty?
}

/// The work that comes with a hit. An object, so that a hit is returned in registers.
final class L1Duty: Sendable {
    /// The sample for the auditor.
    let sample: ServedValue?
    /// Whether to get a successor, for one hit near the end of an entry.
    let isRefreshDue: Bool

    init(sample: ServedValue?, isRefreshDue: Bool) {
        self.sample = sample
        self.isRefreshDue = isRefreshDue
    }
}

/// The cache in this process's memory (docs/consistency.md, "Reading", step 1).
///
/// L1 stores values as long as there is room, and trusts none of them by itself: every hit is judged by the tag table
/// at that moment. So no invalidation has to arrive in time, and without a table L1 is off.
package final class L1Cache: Sendable {
    private struct State {
        var table: TagTable?
        var entries: SieveCache<ByteBuffer, L1Entry>
        var hits = 0
        var misses = 0
        /// The number of the hit that is the next sample; 0: none.
        var sampledHit = 0
        /// Keys for which an early refresh is under way or has just ended, and its start.
        var refreshing: [CacheKey: BootTime] = [:]
    }

    /// Cost of an entry in addition to its bytes: its places in the table and in the queue at their usual load,
    /// and the headers of three allocations.
    static let overheadBytes = 392
    /// Entries that are visited in one step when stale ones are freed: about 100 µs.
    static let sweepStep = 1024

    private let state: Mutex<State>
    private let now: @Sendable () -> BootTime
    private let sampling: Sampling?
    /// Time for which an entry is kept past its deadline.
    private let graceNanoseconds: UInt64
    private let refreshPercent: UInt64
    /// Whether it stores anything at all.
    let hasRoom: Bool

    init(
        byteBudget: Int, sampling: Sampling? = nil, graceNanoseconds: UInt64 = 0,
        refreshPercent: Int = 0, now: @escaping @Sendable () -> BootTime
    ) {
        self.graceNanoseconds = graceNanoseconds
        self.refreshPercent = UInt64(max(0, min(refreshPercent, 90)))
        hasRoom = byteBudget > 0
        var state = State(entries: SieveCache(byteBudget: byteBudget))
        if let sampling { state.sampledHit = sampling.nextGap() }
        self.state = Mutex(state)
        self.sampling = sampling
        self.now = now
    }

    /// A cache without the additional features of docs/cache.md.
    package convenience init(byteBudget: Int, now: @escaping @Sendable () -> BootTime) {
        self.init(byteBudget: byteBudget, sampling: nil, now: now)
    }

    /// Sets the table by which entries are judged; `nil` if there is none. Stored entries have slots of the previous
    /// table and are removed.
    package func use(_ table: TagTable?) {
        state.withLock { state in
            state.table = table
            state.entries.removeAll()
        }
    }

    /// A value that is fresh at this moment.
    ///
    /// A hit with `isRefreshDue` holds a place among the early refreshes until ``refreshEnded(of:)``: whoever gets it has to
    /// start one.
    package func value(for key: CacheKey) -> L1Hit? { value(for: key, mayRefresh: true) }

    /// The same, for a caller that starts no early refresh.
    func valueWithoutRefresh(for key: CacheKey) -> ByteBuffer?? { value(for: key, mayRefresh: false).map(\.value) }

    /// The same, but `nil` also for negative results, for the hit that is the next sample, and where an early refresh is
    /// due. Only a value is counted.
    func valueWithoutWork(for key: CacheKey) -> ByteBuffer? {
        withEntry(for: key) { entry, table, state in
            guard let value = entry.value, state.hits &+ 1 != state.sampledHit,
                timeIfFresh(entry, until: min(entry.deadline, entry.refreshAt), by: table) != nil
            else { return nil }
            state.hits &+= 1
            return value
        }
    }

    @inline(__always)
    private func value(for key: CacheKey, mayRefresh: Bool) -> L1Hit? {
        withEntry(for: key, countsMiss: true) { entry, table, state in
            guard let time = timeIfFresh(entry, until: entry.deadline, by: table) else { return nil }
            state.hits &+= 1
            let isSample = state.hits == state.sampledHit
            let isRefreshDue = mayRefresh && time >= entry.refreshAt
            guard isSample || isRefreshDue else { return L1Hit(value: entry.value, duty: nil) }
            return L1Hit(value: entry.value, duty: takeDuty(key, entry, table, isSample, isRefreshDue, time, &state))
        }
    }

    /// Looks up an entry, with the table to judge it by.
    ///
    /// - Parameter countsMiss: whether `nil` of `body` is a miss, as the lack of an entry.
    @inline(__always)
    private func withEntry<Result: Sendable>(
        for key: CacheKey, countsMiss: Bool = false, _ body: (L1Entry, TagTable, inout State) -> Result?
    ) -> Result? {
        state.withLock { state in
            // Unmanaged: the state keeps both while it is locked. Counting their references would cost a seventh of a hit.
            if let entry = state.entries.value(for: key.bytes, hash: key.hash).map(Unmanaged.passUnretained),
                let table = state.table.map(Unmanaged.passUnretained),
                let result = table._withUnsafeGuaranteedRef({ table in
                    entry._withUnsafeGuaranteedRef { body($0, table, &state) }
                })
            {
                return result
            }
            if countsMiss { state.misses &+= 1 }
            return nil
        }
    }

    @inline(never)
    private func takeDuty(
        _ key: CacheKey, _ entry: L1Entry, _ table: TagTable, _ isSample: Bool, _ isRefreshDue: Bool, _ now: BootTime,
        _ state: inout State
    ) -> L1Duty {
        L1Duty(
            sample: isSample ? takeSample(entry, table, &state) : nil,
            isRefreshDue: isRefreshDue && takeRefresh(key, now, &state))
    }

    private func takeRefresh(_ key: CacheKey, _ now: BootTime, _ state: inout State) -> Bool {
        // A load that never ends must not keep its place.
        if state.refreshing[key] != nil || state.refreshing.count >= EarlyRefresh.limit {
            state.refreshing = state.refreshing.filter {
                now < $0.value.saturatingAdd(EarlyRefresh.longestNanoseconds)
            }
        }
        guard state.refreshing[key] == nil, state.refreshing.count < EarlyRefresh.limit else { return false }
        state.refreshing[CacheKey(compacting: key)] = now
        return true
    }

    /// Number of keys whose attempt runs, or whose pause after it lasts. Tests wait for it.
    var refreshCount: Int { state.withLock { $0.refreshing.count } }

    /// Another hit may ask for a refresh of this key.
    func refreshEnded(of key: CacheKey) { state.withLock { $0.refreshing[key] = nil } }

    private func takeSample(_ entry: L1Entry, _ table: TagTable, _ state: inout State) -> ServedValue? {
        guard let sampling else { return nil }
        state.sampledHit &+= sampling.nextGap()
        return ServedValue(
            value: entry.value, slots: entry.slots, asOf: entry.asOf, epoch: entry.epoch, table: table)
    }

    /// A value that may be served although its load failed: that of an entry in its time to live or in grace, if it is
    /// fresh by the one rule at this moment.
    func graceValue(for key: CacheKey) -> CachedValue? {
        withEntry(for: key) { entry, table, _ in
            let deadline = entry.deadline.saturatingAdd(graceNanoseconds)
            guard let time = timeIfFresh(entry, until: deadline, by: table) else { return nil }
            guard time >= entry.deadline else { return CachedValue(value: entry.value, source: .l1) }
            let age = Duration.nanoseconds(Int64(clamping: time - min(time, entry.loadedAt)))
            return CachedValue(value: entry.value, source: .stale, age: age)
        }
    }

    /// Stores a value that was loaded just now.
    package func insert(_ hit: Hit, for key: CacheKey) { insert(hit, for: key, lifetimeMilliseconds: nil) }

    /// Stores a value, if there is a table that gives it slots.
    ///
    /// - Parameter lifetimeMilliseconds: its time to live at the beginning; `nil`: it was loaded just now.
    func insert(_ hit: Hit, for key: CacheKey, lifetimeMilliseconds: UInt64?) {
        let key = CacheKey(compacting: key)
        let value = hit.value?.compacted
        let deadline = now().saturatingAdd(hit.ttlMilliseconds.saturatingMultiply(1_000_000))
        let lifetime = max(lifetimeMilliseconds ?? 0, hit.ttlMilliseconds).saturatingMultiply(1_000_000)
        let refreshAt = refreshPercent > 0 ? deadline.saturatingSubtract(lifetime / 100 * refreshPercent) : .max
        state.withLock { state in
            guard let table = state.table else { return }
            let entry = L1Entry(
                value: value, slots: table.slots(key: key.bytes, tags: hit.tags), asOf: hit.asOf, epoch: hit.epoch,
                deadline: deadline, loadedAt: deadline.saturatingSubtract(lifetime), refreshAt: refreshAt)
            insert(entry, key, &state)
        }
    }

    /// Stores a value out of shared memory, if `table`, whose slots it has, is still the one to judge by.
    ///
    /// - Parameter lifetimeMilliseconds: its time to live at the beginning.
    func insert(_ hit: ArenaHit, for key: CacheKey, judgedBy table: TagTable, lifetimeMilliseconds: UInt64) {
        let key = CacheKey(compacting: key)
        let lifetime = lifetimeMilliseconds.saturatingMultiply(1_000_000)
        let refreshAt = refreshPercent > 0 ? hit.deadline.saturatingSubtract(lifetime / 100 * refreshPercent) : .max
        let entry = L1Entry(
            value: hit.value, slots: hit.slots, asOf: hit.asOf, epoch: hit.epoch, deadline: hit.deadline,
            loadedAt: hit.deadline.saturatingSubtract(lifetime), refreshAt: refreshAt)
        state.withLock { state in
            guard state.table === table else { return }
            insert(entry, key, &state)
        }
    }

    private func insert(_ entry: L1Entry, _ key: CacheKey, _ state: inout State) {
        let cost =
            Self.overheadBytes + key.bytes.storageCapacity + (entry.value?.storageCapacity ?? 0)
            + 4 * entry.slots.count
        state.entries.insert(key.bytes, entry, bytes: cost, hash: key.hash)
    }

    /// Whether a value that was just received is fresh at this moment. Always false without a table.
    func isFresh(_ hit: Hit, for key: CacheKey) -> Bool {
        guard let table = state.withLock({ $0.table }) else { return false }
        return table.verdict(
            slots: table.slots(key: key.bytes, tags: hit.tags), asOf: hit.asOf, epoch: hit.epoch, deadline: .max,
            clock: now
        ).isFresh
    }

    /// A hit of syncd as a sample for the auditor; `nil` without a table to judge it by.
    func served(_ hit: Hit, for key: CacheKey) -> ServedValue? {
        guard let table = state.withLock({ $0.table }) else { return nil }
        return ServedValue(
            value: hit.value, slots: table.slots(key: key.bytes, tags: hit.tags), asOf: hit.asOf, epoch: hit.epoch,
            table: table)
    }

    /// Whether a served value is still fresh by the one rule.
    func isFresh(_ served: ServedValue) -> Bool {
        guard state.withLock({ $0.table === served.table }) else { return false }
        return served.table.verdict(
            slots: served.slots, asOf: served.asOf, epoch: served.epoch, deadline: .max, clock: now
        ).isFresh
    }

    /// Remaining time to live of an entry, in milliseconds, without applying the one rule.
    func remainingMilliseconds(of key: CacheKey) -> UInt64 {
        let now = now()
        return state.withLock { state in
            guard let entry = state.entries.peek(key.bytes, hash: key.hash), entry.deadline > now else { return 0 }
            return (entry.deadline - now) / 1_000_000
        }
    }

    /// The table to judge by.
    var table: TagTable? { state.withLock { $0.table } }

    /// Whether there is a table to judge by.
    var isUsable: Bool { table != nil }

    /// Frees entries that can never be fresh again, visiting ``sweepStep`` places from `start` on.
    ///
    /// - Returns: the start of the next step, `nil` at the end.
    func sweep(from start: Int) -> Int? {
        state.withLock { state in
            guard let table = state.table else { return nil }
            let epoch = table.epoch
            let now = now()
            return state.entries.sweep(from: start, limit: Self.sweepStep) { _, entry in
                entry.epoch != epoch || entry.deadline.saturatingAdd(graceNanoseconds) <= now
                    || entry.slots.contains { table.slot($0) > entry.asOf }
            }
        }
    }

    var statistics: L1Statistics {
        state.withLock { state in
            L1Statistics(
                hits: state.hits, misses: state.misses, entries: state.entries.count, bytes: state.entries.bytes)
        }
    }

    /// The time of the verdict, if the entry is fresh.
    @inline(__always)
    private func timeIfFresh(_ entry: L1Entry, until deadline: BootTime, by table: TagTable) -> BootTime? {
        table.timeIfFresh(slots: entry.slots, asOf: entry.asOf, epoch: entry.epoch, deadline: deadline, clock: now)
    }
}

extension UInt64 {
    fileprivate func saturatingMultiply(_ factor: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: factor)
        return overflow ? .max : product
    }
}
