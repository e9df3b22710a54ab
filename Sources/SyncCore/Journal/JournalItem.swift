import NIOCore

/// A file of the journal directory that requires an action.
package struct JournalItem: Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        /// An invalidation that is not in the log.
        case pending
        /// A write that may still reach the database: renamed by its owner, or left behind by a dead one.
        case orphan
        /// A write of a living owner, which may hang between database and invalidation.
        case living
        /// Left behind by an owner that died while writing it: its database write had not begun.
        case incomplete
        /// "Replace the incarnation": stands for pending invalidations that are too many to name.
        case marker
    }

    /// The name inside the directory. In a directory that was replaced, the directory's number and a slash precede it.
    package var name: String
    package var kind: Kind
    /// The tags; empty if the file cannot be read, which invalidates everything.
    package var tags: [ByteBuffer]
    /// Whether the content was read: ``SyncEngine/wantsJournalFile(_:isLiving:version:now:)``.
    package var isRead: Bool
    /// A number that differs for every other content of a file of this name.
    package var version: UInt64

    /// The part of the name that identifies a file wherever its directory is moved to: an owner never uses a name
    /// twice.
    static func identity(_ name: String) -> Substring {
        name.lastIndex(of: "/").map { name[name.index(after: $0)...] } ?? name[...]
    }

    package init(name: String, kind: Kind, tags: [ByteBuffer], isRead: Bool = true, version: UInt64 = 0) {
        self.name = name
        self.kind = kind
        self.tags = tags
        self.isRead = isRead
        self.version = version
    }
}
