import IPCWire
import NIOCore

/// A change of a document, as a change stream of MongoDB reports it.
public struct DocumentChange: Sendable, Hashable {
    /// The collection.
    public var collection: String
    /// The document's `_id` as text; `nil`: it has another type. A write of the application must not have all tags
    /// of such a change, which would count as covered by it.
    public var key: String?
    /// Names of the top-level fields that were set or removed; `nil`: all of them, or unknown.
    public var changedFields: Set<String>?
    /// When the database applied it (`clusterTime`).
    public var time: OperationTime

    /// A change of one document.
    public init(collection: String, key: String?, changedFields: Set<String>? = nil, time: OperationTime) {
        self.collection = collection
        self.key = key
        self.changedFields = changedFields
        self.time = time
    }
}

/// Changes in the order in which the database applied them.
public struct ChangeBatch: Sendable {
    /// Empty while nothing changes.
    public var changes: [DocumentChange]
    /// The source continues from here, also when nothing has changed for long (`postBatchResumeToken`). 1 B to 16 KiB.
    public var token: ByteBuffer
    /// Time from the last of the changes until now; zero if there is none.
    public var lag: Duration
    /// Something has happened that is no change of documents, such as a collection that was dropped or renamed: everything
    /// is to be invalidated, and the source to be opened anew.
    public var isEnd: Bool

    /// A batch with its token.
    public init(changes: [DocumentChange], token: ByteBuffer, lag: Duration = .zero, isEnd: Bool = false) {
        self.changes = changes
        self.token = token
        self.lag = lag
        self.isEnd = isEnd
    }
}

/// Why a source of changes does not continue. The text is for the log.
public enum ChangeSourceFailure: Error, Sendable, Hashable {
    /// For now: a lost connection, a change of the primary.
    case interrupted(String)
    /// The database does not have the changes behind this token any more.
    case historyLost(String)
    /// The database has no changes to offer: a standalone server, a missing privilege.
    case unavailable(String)
}

/// A database whose changes can be followed.
public protocol ChangeSource: Sendable {
    /// Opens the changes behind a token, or from now on (`nil`).
    ///
    /// - Returns: the changes, and a token that stands before the first of them.
    func open(after token: ByteBuffer?) async throws(ChangeSourceFailure) -> (ChangeCursor, token: ByteBuffer)
}

/// The changes of an open source. One task uses it.
public struct ChangeCursor: Sendable {
    /// The next batch; an empty one when nothing has changed for half a second or so.
    public var next: @Sendable () async throws(ChangeSourceFailure) -> ChangeBatch
    /// Ends it. Called once.
    public var close: @Sendable () async -> Void

    /// The changes of a source that these functions read.
    public init(
        next: @escaping @Sendable () async throws(ChangeSourceFailure) -> ChangeBatch,
        close: @escaping @Sendable () async -> Void
    ) {
        self.next = next
        self.close = close
    }
}
