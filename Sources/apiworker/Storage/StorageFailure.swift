/// The reason why an operation on the database has no result.
struct StorageFailure: Error, Sendable, Equatable {
    /// The kind of failure, as reported to a client.
    enum Kind: String, Sendable {
        /// The database is unreachable, or does not answer in time.
        case unavailable
        /// A unique index has that value already.
        case duplicate
        /// The result is larger than the maximum response.
        case tooLarge
        /// The results that are being made take too much memory.
        case busy
        /// The database answered with an error.
        case rejected
    }

    /// The conclusion of an operation about the reachability of the database.
    enum Evidence: Sendable {
        /// The database answered, possibly with an error.
        case answered
        /// There was no answer within the patience of a request.
        case silent
        /// The database is reachable, but not with this worker's configuration, which has to be corrected.
        case unusable
        /// No conclusion: the database was not asked, or a connection was closed, which another one may not be.
        case none
    }

    var kind: Kind
    /// The outcome is unknown: the write may have happened, or may still happen. Otherwise nothing was changed, for
    /// sure.
    var isOutcomeUnknown = false
    var evidence = Evidence.none
    /// The server says that the transaction it belongs to may be repeated.
    var isTransactionLost = false
    /// The server's error code, if the server refused.
    var serverCode: Int32?
    /// The operation was not done, for a reason that may be gone now: a connection was lost, or the server is not the
    /// primary any more.
    var mayPassByItself = false
    /// Each server of the URL is of another replica set than the URL's, or of none.
    var isOfAnotherSet = false
    /// A change stream: the server does not have the changes behind the token any more.
    var isHistoryLost = false
    /// The end of the write, if its outcome is unknown.
    var settlement: Settlement?
    /// Details for the log: the driver's information about servers and connections, else only codes. Other texts may
    /// quote user data. No secrets.
    var detail: String

    /// The same failure with additional details.
    func naming(_ more: String) -> StorageFailure {
        var failure = self
        if !more.isEmpty { failure.detail += "; " + more }
        return failure
    }

    /// The same failure of a change stream whose token the server does not accept.
    var ofLostHistory: StorageFailure {
        var failure = self
        failure.isHistoryLost = true
        return failure
    }

    /// The same failure of a write that may have reached the database.
    var ofUnknownOutcome: StorageFailure {
        var failure = self
        failure.isOutcomeUnknown = true
        return failure
    }
}

extension StorageFailure {
    static let tooLarge = StorageFailure(
        kind: .tooLarge, evidence: .answered, detail: "more than an answer may hold")
    static let busy = StorageFailure(
        kind: .busy, evidence: .answered, detail: "long responses take too much memory at this moment")
}
