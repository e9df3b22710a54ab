import IPCWire
import NIOCore

/// The latest writes whose invalidations are in the log: which changes that a feed reports need none.
///
/// A change is covered by an entry of the log that has all of its tags and is not older. When that entry was appended, the
/// database had applied the change, so that no value which was read afterwards lacks it. All tags have to be in one entry:
/// in a sharded cluster, times of two documents say nothing about the order in which they were written.
struct CoveredWrites {
    private struct Write {
        var time: OperationTime
        var tags: [ByteBuffer]
    }

    /// The latest write of each tag. When `recent` is full, it takes the place of `older`.
    private var recent: [ByteBuffer: Write] = [:]
    private var older: [ByteBuffer: Write] = [:]
    /// Tags in each of the two: more than are written until a change has come. Beyond, a change counts as uncovered, and a
    /// needless invalidation follows.
    static let maximumTags = 32_768

    /// An entry of the log was applied.
    mutating func applied(_ body: LogEntryBody) {
        guard let time = body.operationTime else { return }
        let tags = body.tags.map(\.compacted)
        for tag in tags where latest(tag).map({ $0.time < time }) ?? true {
            recent[tag] = Write(time: time, tags: tags)
        }
        guard recent.count > Self.maximumTags else { return }
        older = recent
        recent = [:]
    }

    private func latest(_ tag: ByteBuffer) -> Write? { recent[tag] ?? older[tag] }

    func covers(_ change: FeedChange) -> Bool {
        change.tags.contains { tag in
            guard let write = latest(tag) else { return false }
            if breaks(.echoOfAnyTime) { return true }
            return write.time >= change.time && change.tags.allSatisfy(write.tags.contains)
        }
    }
}
