import IPCWire
import NIOCore

/// A file of the journal directory, as syncd finds it.
package struct JournalFile: Sendable, Hashable {
    /// The meaning of a file: that of one of the three kinds of names, or another one.
    package enum Kind: String, Sendable, Hashable {
        case intent
        case orphan
        case pending
        /// "Replace the incarnation": stands for pending invalidations that are too many to name.
        case marker
        /// A foreign or unreadable file, to be left alone and reported.
        case foreign

        package init(_ kind: JournalFileName.Kind) {
            switch kind {
            case .intent: self = .intent
            case .orphan: self = .orphan
            case .pending: self = .pending
            }
        }
    }

    /// The name inside the directory. In a directory that was replaced, the directory's number and a slash precede it.
    package var name: String
    /// The meaning of the file.
    package var kind: Kind
    /// The owner; empty for markers and foreign files.
    package var owner: String
    /// Only for intents: whether the owner lives, and so will commit or rename it.
    package var isOwnerAlive: Bool
    /// The tags; `nil` if the file is incomplete, unreadable or was not read.
    package var tags: [ByteBuffer]?
    /// A number that differs after every change of the file, and for every other file of the same name.
    package var version: UInt64 = 0
    /// Whether the content was read.
    package var isRead = false
}

extension JournalFile {
    /// The action that a file requires of syncd.
    package enum Demand: Sendable {
        /// Append the tags.
        case pending
        /// Append the tags now, and again until the write cannot happen any more.
        case orphan
        /// Append the tags if the owner, which lives, does not act for long.
        case living
        /// Only delete the file: its database write had not begun.
        case incomplete
        /// Replace the incarnation.
        case marker
    }

    /// `nil`: to be left alone, like foreign files.
    package var demand: Demand? {
        switch kind {
        case .intent where isOwnerAlive: .living
        // A file that was not read this time is known already.
        case .intent: isRead && tags == nil ? .incomplete : .orphan
        case .orphan: .orphan
        case .pending: .pending
        case .marker: .marker
        case .foreign: nil
        }
    }
}
