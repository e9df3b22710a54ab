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

    var kind: Kind
    /// A write may have happened, or happen yet. Otherwise nothing was changed, for sure.
    var isDoubtful = false
    /// What it says about the database.
    var outcome = Availability.Outcome.failed
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
