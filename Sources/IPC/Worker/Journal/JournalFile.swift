import IPCWire
import NIOCore

/// One file of the journal directory, as syncd finds it.
package struct JournalFile: Sendable, Hashable {
    /// What a file stands for: one of the three kinds of names, or something else.
    package enum Kind: String, Sendable, Hashable {
        case intent
        case orphan
        case owed
        /// "Replace the incarnation": stands for more owed invalidations than can be named.
        case marker
        /// Nothing of ours, or something that can't be read. To be left alone and reported.
        case foreign

        package init(_ kind: JournalFileName.Kind) {
            switch kind {
            case .intent: self = .intent
            case .orphan: self = .orphan
            case .owed: self = .owed
            }
        }
    }

    /// The name inside the directory; of a directory that was replaced, with its number and a slash before it.
    package var name: String
    /// What it stands for.
    package var kind: Kind
    /// Who wrote it; empty for markers and foreign files.
    package var owner: String
    /// Only of intents: whether the owner lives, and so will commit or rename it.
    package var isOwnerAlive: Bool
    /// The tags; `nil` if the file is incomplete, unreadable or was not read.
    package var tags: [ByteBuffer]?
    /// Another one after every change of the file, and for every other file of the same name.
    package var version: UInt64 = 0
    /// Whether the content was looked at.
    package var isRead = false
}

extension JournalFile {
    /// What a file asks of syncd.
    package enum Demand: Sendable {
        /// Append the tags.
        case owed
        /// Append the tags now, and again until nothing of the write can happen any more.
        case orphan
        /// Append the tags if the owner, which lives, does nothing about them for long.
        case living
        /// Nothing but to be deleted: its database write had not begun.
        case incomplete
        /// Replace the incarnation.
        case marker
    }

    /// `nil`: to be left alone, as foreign files are.
    package var demand: Demand? {
        switch kind {
        case .intent where isOwnerAlive: .living
        // One that was not read this time is known already.
        case .intent: isRead && tags == nil ? .incomplete : .orphan
        case .orphan: .orphan
        case .owed: .owed
        case .marker: .marker
        case .foreign: nil
        }
    }
}
