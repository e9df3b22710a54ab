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
        /// Nothing: it was not asked, or a connection was closed, which another one may not be.
        case none
    }

    var kind: Kind
    /// A write may have happened, or happen yet. Otherwise nothing was changed, for sure.
    var isDoubtful = false
    var evidence = Evidence.none
    /// The server says that the transaction it belongs to may be tried again.
    var isTransactionLost = false
    /// For the log: domain and code of the driver, never its text, which may quote what a user sent.
    var detail: String

    /// The same failure of a write that may have reached the database.
    var doubtful: StorageFailure {
        var failure = self
        failure.isDoubtful = true
        return failure
    }
}
