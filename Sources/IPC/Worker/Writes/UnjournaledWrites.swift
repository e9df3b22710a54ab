import IPCWire
import NIOCore
import Synchronization

/// Tags that syncd has to learn of from this process alone, since they stand in no journal that it reads: those that
/// it has not taken yet, and those of writes of unknown outcome, which are told again and again.
final class UnjournaledWrites: Sendable {
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
        /// Tags to tell again until a time, and once after it.
        var repeated: [Repetition: (tags: [ByteBuffer], end: UInt64)] = [:]
        var repeatedTags = 0
        var repeatedAt: UInt64 = 0
        var lastNumber: UInt64 = 0
    }

    /// A write whose tags are sent to syncd again and again.
    struct Repetition: Sendable, Hashable { fileprivate var number: UInt64 }

    private let state = Mutex(State())

    /// Keeps tags until syncd has taken them.
    func add(_ added: some Sequence<ByteBuffer>) {
        state.withLock { state in
            state.tags.formUnion(added)
            if state.tags.count > Self.maximumTags { state.tags = [Self.everything] }
        }
    }

    /// Has the tags told again for as long as their write may land.
    func `repeat`(_ tags: [ByteBuffer], from now: UInt64) -> Repetition {
        state.withLock { state in
            if state.repeated.isEmpty { state.repeatedAt = now }
            state.lastNumber += 1
            let repetition = Repetition(number: state.lastNumber)
            let end = now + Self.landingNanoseconds
            state.repeated[repetition] = (tags, end)
            state.repeatedTags += tags.count
            if state.repeatedTags > Self.maximumTags {
                // Under a number that nobody stops: it stands for all of them, this one included.
                state.repeated = [Repetition(number: 0): ([Self.everything], end)]
                state.repeatedTags = 1
            }
            return repetition
        }
    }

    /// The write of these tags has ended, and they were told since.
    func stop(_ repetition: Repetition) {
        state.withLock { state in
            guard let removed = state.repeated.removeValue(forKey: repetition) else { return }
            state.repeatedTags -= removed.tags.count
        }
    }

    /// How many tags wait.
    var count: Int { state.withLock { $0.tags.count } }
    /// How many tags are told again and again.
    var repeatedCount: Int { state.withLock { $0.repeatedTags } }

    /// Tells syncd what it has not taken yet and what is to be told again at `now`. What it doesn't take is kept.
    func send(over connection: SyncdConnection, now: UInt64) {
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
                if await connection.invalidate(part, event: nil) != .taken { add(part) }
            }
        }
    }
}
