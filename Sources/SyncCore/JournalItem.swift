import NIOCore

/// One file of the journal directory that asks for something.
package struct JournalItem: Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        /// An invalidation that nobody has committed.
        case owed
        /// A write that may still reach the database: renamed by its owner, or left behind by a dead one.
        case orphan
        /// A write of a living owner, which may hang between database and invalidation.
        case living
        /// Left behind by an owner that died while it wrote it: its database write had not begun.
        case incomplete
        /// "Replace the incarnation": stands for more owed invalidations than can be named.
        case marker
    }

    /// The name inside the directory; of a directory that was replaced, with its number and a slash before it.
    package var name: String
    package var kind: Kind
    /// Empty where the file cannot be read: then everything is invalidated.
    package var tags: [ByteBuffer]
    /// Whether the content was looked at: ``Brain/wantsJournalFile(_:isLiving:version:now:)``.
    package var isRead: Bool
    /// Another one for every other content of a file of this name.
    package var version: UInt64

    /// What identifies a file wherever its directory is moved to: an owner never uses a name twice.
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
