import CMongoC

/// A session of a client, for a transaction or a cursor. Belongs to the thread that has the client.
final class MongoSession {
    private let pointer: OpaquePointer
    private let call: MongoCall

    init(_ client: MongoClient) throws(StorageFailure) {
        let options = mongoc_session_opts_new()
        defer { mongoc_session_opts_destroy(options) }
        // Only a primary is used: it needs no information about earlier operations.
        mongoc_session_opts_set_causal_consistency(options, false)
        var error = bson_error_t()
        guard let pointer = mongoc_client_start_session(client.pointer, options, &error) else {
            throw StorageFailure(error, reply: [:])
        }
        self.pointer = pointer
        call = client.call
    }

    deinit { mongoc_client_session_destroy(pointer) }

    /// Makes a command part of the transaction.
    func append(to options: OpaquePointer) throws(StorageFailure) {
        var error = bson_error_t()
        guard mongoc_client_session_append(pointer, options, &error) else {
            throw StorageFailure(error, reply: [:])
        }
    }

    func begin(maxCommitTimeMilliseconds: Int64) throws(StorageFailure) {
        let options = mongoc_transaction_opts_new()
        defer { mongoc_transaction_opts_destroy(options) }
        mongoc_transaction_opts_set_max_commit_time_ms(options, maxCommitTimeMilliseconds)
        let concern = mongoc_write_concern_new()
        defer { mongoc_write_concern_destroy(concern) }
        mongoc_write_concern_set_wmajority(concern, Int32(MongoCall.serverMilliseconds))
        mongoc_transaction_opts_set_write_concern(options, concern)
        var error = bson_error_t()
        guard mongoc_client_session_start_transaction(pointer, options, &error) else {
            throw StorageFailure(error, reply: [:])
        }
    }

    /// Aborts the transaction: nothing of it happens. If the server does not receive this, it aborts by itself later.
    func abort() { mongoc_client_session_abort_transaction(pointer, nil) }

    /// The outcome of a commit.
    enum Commit {
        case committed
        /// The transaction did not happen, and may be repeated.
        case lost(StorageFailure)
        /// The transaction may have happened; the same commit may be repeated.
        case unknown(StorageFailure)
    }

    func commit() -> Commit {
        let (isDone, reply, error) = BSONDocument.reply { reply, error in
            mongoc_client_session_commit_transaction(pointer, reply, error)
        }
        guard !isDone else {
            call.wrote(reply)
            return .committed
        }
        let failure = StorageFailure(error, reply: reply)
        return failure.isTransactionLost ? .lost(failure) : .unknown(failure)
    }
}
