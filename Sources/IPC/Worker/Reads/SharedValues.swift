import IPCWire
import NIOCore
import Synchronization

/// The reading side of the value arena (docs/consistency.md, "Reading", step 2).
///
/// A value is copied out of shared memory: neither syncd nor the socket has a part in it. A value that
/// is read a second time gets into L1.
final class SharedValues: Sendable {
    private struct State {
        var source: (arena: ValueArena, table: TagTable)?
        /// Hashes of keys that were asked for, each in the place of an earlier one.
        var seen = [UInt32](repeating: 0, count: SharedValues.seenKeys)

        /// Whether the key was asked for before.
        mutating func hasSeen(_ hash: UInt64) -> Bool {
            let (place, print) = (Int(hash % UInt64(seenKeys)), UInt32(truncatingIfNeeded: hash >> 32))
            if seen[place] == print { return true }
            seen[place] = print
            return false
        }
    }

    private static let seenKeys = 4096

    private let state = Mutex(State())
    private let hitCount = Atomic(0)
    private let l1: L1Cache
    private let auditor: Auditor?
    private let now: @Sendable () -> BootTime

    init(l1: L1Cache, auditor: Auditor?, now: @escaping @Sendable () -> BootTime) {
        self.l1 = l1
        self.auditor = auditor
        self.now = now
    }

    /// Sets the arena, and the table that judges its values; `nil` if there is none.
    func use(_ source: (arena: ValueArena, table: TagTable)?) { state.withLock { $0.source = source } }

    /// Number of reads that were answered from it.
    var hits: Int { hitCount.load(ordering: .relaxed) }

    /// A value that is fresh at this moment.
    ///
    /// - Parameters:
    ///   - lifetimeMilliseconds: the time to live that the caller would give it.
    ///   - load: for the auditor.
    func value(
        for key: CacheKey, lifetimeMilliseconds: @autoclosure () -> UInt64, load: @escaping Auditor.Loader
    ) -> CachedValue? {
        let hash = TagHash.key(key.bytes)
        let (source, isSecond) = state.withLock { state in
            (state.source, state.source != nil && l1.hasRoom && state.hasSeen(hash))
        }
        guard let (arena, table) = source else { return nil }
        let isSample = auditor?.isSampleNext ?? false
        let hit = arena.hit(
            for: key.bytes, hash: hash, keepsSlots: isSecond || isSample, by: table, clock: now)
        guard let hit else { return nil }
        hitCount.add(1, ordering: .relaxed)
        if isSecond { l1.insert(hit, for: key, judgedBy: table, lifetimeMilliseconds: lifetimeMilliseconds()) }
        if let auditor, auditor.takeSample(), isSample {
            let served = ServedValue(
                value: hit.value, slots: hit.slots, asOf: hit.asOf, epoch: hit.epoch, table: table)
            auditor.audit(served, of: key, load: load)
        }
        return CachedValue(value: hit.value, source: .l2)
    }
}
