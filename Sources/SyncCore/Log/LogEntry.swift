import IPCWire
import NIOCore

/// One entry of the invalidation log.
package struct LogEntry: Sendable, Hashable {
    package var position: LogPosition
    package var body: LogEntryBody

    package init(position: LogPosition, body: LogEntryBody) {
        self.position = position
        self.body = body
    }

    var applied: AppliedEntry { AppliedEntry(position: position, nonce: body.nonce) }
}

/// The content of an entry without its position: the part that its writer chooses.
package struct LogEntryBody: Sendable, Hashable {
    /// The syncd that appended the entry: random, one per process.
    package var origin: UInt64
    /// Random, one per append: `(origin, nonce)` names this append among all.
    package var nonce: UInt64
    /// The channel of the event that was published together with the entry, directly after it.
    package var eventChannel: ByteBuffer?
    package var tags: [ByteBuffer]
    /// When the database had applied the write, and everything before it; `nil`: unknown.
    package var operationTime: OperationTime?
    /// The writer's wall clock when it sent the append, in ms since 1970; `nil`: unknown.
    package var sentAt: UInt64?

    package init(
        origin: UInt64, nonce: UInt64, eventChannel: ByteBuffer?, tags: [ByteBuffer],
        operationTime: OperationTime? = nil
    ) {
        self.origin = origin
        self.nonce = nonce
        self.eventChannel = eventChannel
        self.tags = tags
        self.operationTime = operationTime
    }

    /// Maximum number of tags of an entry: the greatest `tags-per-invalidation` that can be set.
    package static let maximumTags = 4096
    /// Maximum number of bytes of tags and channel together.
    package static let maximumBytes = 1 << 20

    /// The first bytes of an entry's last element if that is no tag but a note of its writer. Older versions take a note
    /// for one more tag, which is harmless.
    package static let notePrefix: [UInt8] = [0xff, UInt8(ascii: "@")]

    /// Whether a note can follow the tags: older versions read no more elements.
    package var hasRoomForNote: Bool { tags.count < Self.maximumTags }

    /// Whether a syncd may have appended such an entry. Others are not read either, because their writer is unknown.
    package var isAppendable: Bool {
        (1...Self.maximumTags).contains(tags.count) && bytes <= Self.maximumBytes
            && tags.last?.readableBytesView.starts(with: Self.notePrefix) != true
    }

    private var bytes: Int { tags.reduce(eventChannel?.readableBytes ?? 0) { $0 + $1.readableBytes } }

    /// Approximate memory of the entry, in bytes: its bytes, and a buffer for each tag.
    var memoryBytes: Int { 128 + bytes + tags.count * 48 }
}
