import IPCWire
import Synchronization

/// Tags that only this process can send to syncd, since they are in no journal that syncd reads: those that syncd has
/// not accepted yet, and those of writes of unknown outcome, which are sent again and again.
final class UnjournaledWrites: Sendable {
    /// More tags than this become one: everything.
    static let maximumTags = 4096
    /// Interval for the tags of a write of unknown outcome, the same as syncd's for those in the journal.
    static let repetitionNanoseconds: UInt64 = 5_000_000_000
    /// No write lands later than this after it failed (docs/consistency.md, "Writes that land late").
    static let landingNanoseconds: UInt64 = 120_000_000_000

    private struct State {
        /// Tags to send until syncd has accepted them.
        var tags: Set<CacheTag> = []
        /// Tags to send again until a time, and once after it.
        var repeated: [Repetition: (tags: [CacheTag], end: BootTime)] = [:]
        var repeatedTags = 0
        var repeatedAt: BootTime = 0
        var lastNumber: UInt64 = 0
    }

    /// A write whose tags are sent to syncd again and again.
    struct Repetition: Sendable, Hashable { fileprivate var number: UInt64 }

    private let state = Mutex(State())

    /// Stores tags until syncd has accepted them.
    func add(_ added: some Sequence<CacheTag>) {
        state.withLock { state in
            state.tags.formUnion(added)
            if state.tags.count > Self.maximumTags { state.tags = [.everything] }
        }
    }

    /// Sends the tags again and again as long as their write may land.
    func `repeat`(_ tags: [CacheTag], from now: BootTime) -> Repetition {
        state.withLock { state in
            if state.repeated.isEmpty { state.repeatedAt = now }
            state.lastNumber += 1
            let repetition = Repetition(number: state.lastNumber)
            let end = now + Self.landingNanoseconds
            state.repeated[repetition] = (tags, end)
            state.repeatedTags += tags.count
            if state.repeatedTags > Self.maximumTags {
                // The number is not in use, so this repetition is never stopped: it stands for all of them, this one
                // included.
                state.repeated = [Repetition(number: 0): ([.everything], end)]
                state.repeatedTags = 1
            }
            return repetition
        }
    }

    /// The write of these tags has ended, and they were sent since.
    func stop(_ repetition: Repetition) {
        state.withLock { state in
            guard let removed = state.repeated.removeValue(forKey: repetition) else { return }
            state.repeatedTags -= removed.tags.count
        }
    }

    /// Number of waiting tags.
    var count: Int { state.withLock { $0.tags.count } }
    /// Number of tags that are sent again and again.
    var repeatedCount: Int { state.withLock { $0.repeatedTags } }

    /// Sends the tags that syncd has not accepted yet, and those to repeat at `now`. Tags that syncd doesn't accept are
    /// kept.
    func send(over connection: SyncdConnection, now: BootTime) {
        let tags = state.withLock { state in
            defer { state.tags = [] }
            guard now >= state.repeatedAt + Self.repetitionNanoseconds else { return state.tags }
            state.repeatedAt = now
            let told = state.tags.union(state.repeated.values.flatMap(\.tags))
            state.repeated = state.repeated.filter { $0.value.end > now }
            state.repeatedTags = state.repeated.values.reduce(0) { $0 + $1.tags.count }
            return told
        }
        var rest = Array(tags)[...]
        let limit = WireLimits().tagsPerInvalidation
        while !rest.isEmpty {
            let part = Array(rest.prefix(limit))
            rest = rest.dropFirst(limit)
            Task {
                if await !connection.invalidate(part, event: nil).isTaken { add(part) }
            }
        }
    }
}
