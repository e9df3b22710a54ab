import CMongoC

/// A client of the pool, lent to one operation on one thread. `maxTimeMS` of its commands is the rest of the call's
/// time.
struct MongoClient {
    /// The only collection of the program.
    static let collection = "users"

    let pointer: OpaquePointer
    let pool: DriverPool
    let database: String
    let call: MongoCall
    let repetitions: Repetitions
    var clocks: ServerClocks { pool.clocks }

    /// Makes sure that there is a server to write to, and that the request still waits. Until this returns, nothing was
    /// changed, for sure.
    func beginWriting() throws(StorageFailure) -> MongoTarget {
        let target = try target()
        try call.beginWriting()
        return target
    }

    // MARK: For all operations

    func limited(_ options: BSONDocument) -> BSONDocument {
        options.appending("maxTimeMS", .int64(call.serverMilliseconds))
    }

    /// The server's reply.
    func reply(
        _ body: (OpaquePointer, UnsafeMutablePointer<bson_error_t>) -> Bool
    ) throws(StorageFailure) -> BSONDocument {
        let (isDone, reply, error) = BSONDocument.reply(body)
        guard isDone else {
            let failure = StorageFailure(error, reply: reply)
            if failure.evidence == .answered { call.heard() }
            throw failure
        }
        call.heard()
        return reply
    }
}
