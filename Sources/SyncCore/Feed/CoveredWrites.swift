import IPCWire
import NIOCore

/// The latest writes whose invalidations are in the log: which changes that a feed reports need none.
///
/// A change is covered by an entry of the log that has all of its tags and is not older. When that entry was appended, the
/// database had applied the change, so that no value which was read afterwards lacks it. All tags have to be in one entry:
/// in a sharded cluster, times of two documents say nothing about the order in which they were written.
struct CoveredWrites {
    /// An entry of the log, shared by its tags.
    final class Write: Sendable {
        let time: OperationTime
        let tags: Set<ByteBuffer>

        /// `nil`: the time of the write is unknown.
        init?(_ body: LogEntryBody) {
            guard let time = body.operationTime else { return nil }
            self.time = time
            tags = Set(body.tags.map(\.compacted))
        }

        func covers(_ change: FeedChange) -> Bool {
            if breaks(.echoOfAnyTime) { return change.tags.contains(where: tags.contains) }
            return time >= change.time && change.tags.allSatisfy(tags.contains)
        }
    }

    /// The latest write of each tag. When `recent` is full, it takes the place of `older`.
    private var recent: [ByteBuffer: Write] = [:]
    private var older: [ByteBuffer: Write] = [:]
    /// Memory of the entries since then, in bytes.
    private var bytes = 0
    /// Tags in each of the two: more than are written until a change has come. Beyond, a change counts as uncovered, and a
    /// needless invalidation follows.
    static let maximumTags = 32_768
    /// Memory of the entries in each of the two, in bytes.
    static let maximumBytes = 16 << 20
    /// Entries that are looked at for one change: its own write is among the latest of its tags.
    private static let entriesPerChange = 8

    mutating func add(_ write: Write, bytes: Int) {
        for tag in write.tags where latest(tag).map({ $0.time < write.time }) ?? true { recent[tag] = write }
        self.bytes += bytes
        guard recent.count > Self.maximumTags || self.bytes > Self.maximumBytes else { return }
        older = recent
        (recent, self.bytes) = ([:], 0)
    }

    private func latest(_ tag: ByteBuffer) -> Write? { recent[tag] ?? older[tag] }

    func covers(_ change: FeedChange) -> Bool {
        var seen: [Write] = []
        for tag in change.tags {
            guard let write = latest(tag), !seen.contains(where: { $0 === write }) else { continue }
            if write.covers(change) { return true }
            seen.append(write)
            if seen.count == Self.entriesPerChange { return false }
        }
        return false
    }
}
