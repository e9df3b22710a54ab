/// Why an operation on the database has no result.
struct StorageFailure: Error, Sendable, Equatable {
    /// What a client is told about it.
    enum Kind: String, Sendable {
        /// The database can't be reached, or doesn't do it in time.
        case unavailable
        /// A unique index has that value already.
        case duplicate
        /// More than one answer may hold.
        case tooLarge
        /// The database answered, but not with what was asked for.
        case rejected
    }

    /// What an operation says about whether the database can be reached.
    enum Evidence: Sendable {
        /// It answered, be it with an error.
        case answered
        /// There was no answer for as long as one waits.
        case silent
        /// It is there, but not in the way in which this worker was told to use it: what is wrong has to be put right.
        case unusable
        /// Nothing: it was not asked, or a connection was closed, which another one may not be.
        case none
    }

    var kind: Kind
    /// A write may have happened, or happen yet. Otherwise nothing was changed, for sure.
    var isOutcomeUnknown = false
    var evidence = Evidence.none
    /// The server says that the transaction it belongs to may be tried again.
    var isTransactionLost = false
    /// Code of the server, if it is the server that refuses.
    var serverCode: Int32?
    /// What was asked for was not done, for a reason that may be gone now: a connection was lost, or the server is not
    /// the primary any more.
    var mayPassByItself = false
    /// When it is doubtful: its end.
    var settlement: Settlement?
    /// For the log: what the driver knows about servers and connections, else only codes: other texts may quote what a
    /// user sent. No secrets.
    var detail: String

    /// The same failure with more to say.
    func naming(_ more: String) -> StorageFailure {
        var failure = self
        if !more.isEmpty { failure.detail += "; " + more }
        return failure
    }

    /// The same failure of a write that may have reached the database.
    var doubtful: StorageFailure {
        var failure = self
        failure.isOutcomeUnknown = true
        return failure
    }
}
