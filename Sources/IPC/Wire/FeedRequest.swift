import NIOCore

/// A request about a change feed (docs/change-feed.md).
package enum FeedRequest: Sendable, Hashable {
    /// `FEED CLAIM`: asks for the role of the one client that reads the changes of a database.
    case claim(name: ByteBuffer)
    /// `FEED SAVE`: changes, and the token behind the last of them.
    case save(FeedSave)
    /// `FEED RESET`: the history before this token is unknown. Everything is invalidated once.
    case reset(name: ByteBuffer, token: ByteBuffer)
    /// `FEED LEAVE`: the client gives the role back.
    case leave(name: ByteBuffer)
}

/// Changes that a client has read from the database.
package struct FeedSave: Sendable, Hashable {
    /// The name of the feed.
    package var name: ByteBuffer
    /// The database continues behind the last change from here, in its own form.
    package var token: ByteBuffer
    /// How late the newest change is, in ms; 0 if there is none.
    package var lagMilliseconds: UInt64
    /// In the order of the database.
    package var changes: [FeedChange]

    /// Changes with the token behind them.
    package init(name: ByteBuffer, token: ByteBuffer, lagMilliseconds: UInt64, changes: [FeedChange]) {
        self.name = name
        self.token = token
        self.lagMilliseconds = lagMilliseconds
        self.changes = changes
    }
}

/// One change of a document.
package struct FeedChange: Sendable, Hashable {
    /// Where it happened, for people.
    package var collection: ByteBuffer
    /// When it happened.
    package var time: OperationTime
    /// The tags of the document before and after: at least one.
    package var tags: [ByteBuffer]

    /// A change of a document with these tags.
    package init(collection: ByteBuffer, time: OperationTime, tags: [ByteBuffer]) {
        self.collection = collection
        self.time = time
        self.tags = tags
    }
}

/// The answer to `FEED CLAIM`.
package enum FeedRole: Sendable, Hashable {
    /// The client has the role, and continues behind this token; `nil`: nothing is known of the changes so far.
    case tail(token: ByteBuffer?)
    /// Another client has it. Ask again in a second.
    case wait
}
