import CMongoC
import NIOPosix
import Synchronization

/// Opens change streams of the collection (https://www.mongodb.com/docs/manual/changeStreams/).
///
/// The cursor is read by plain commands. libmongoc's own change stream returns one change at a time and does not say where
/// a batch ends: to know that nothing more has come, it waits for the server, and the change before would have to wait, too.
struct ChangeStreams: Sendable {
    private let pool: MongoClientPool
    /// Changes are waited for on this thread.
    private let thread: NIOThreadPool
    private let lastPool: LastNumber

    /// The number of the pool with which a stream was opened last.
    private final class LastNumber: Sendable {
        private let number: Atomic<Int>

        init(_ number: Int) { self.number = Atomic(number) }

        /// Returns whether it has changed.
        func exchange(_ new: Int) -> Bool { number.exchange(new, ordering: .relaxed) != new }
    }

    init(pool: MongoClientPool) {
        self.pool = pool
        lastPool = LastNumber(pool.number)
        thread = NIOThreadPool(numberOfThreads: 1)
        thread.start()
    }

    /// The database and the collection.
    var name: String { pool.database + "." + MongoClient.collection }

    /// Opens the changes behind a token; `nil`: from now on.
    func open(after token: [UInt8]?) async throws(StorageFailure) -> ChangeStream {
        try await onThread { [pool, lastPool] () throws(StorageFailure) in
            let stream = try ChangeStream(pool: pool, after: token)
            // As a standalone server, a member takes writes that no token stands behind.
            guard lastPool.exchange(pool.number), token != nil else { return stream }
            stream.close()
            throw StorageFailure(kind: .rejected, detail: "MongoDB was not in its replica set meanwhile").ofLostHistory
        }
    }

    /// The changes since the last reading, or those of the next half second.
    func next(of stream: ChangeStream) async throws(StorageFailure) -> StoredChanges {
        try await onThread { () throws(StorageFailure) in try stream.next() }
    }

    func close(_ stream: ChangeStream) async { try? await onThread { () throws(StorageFailure) in stream.close() } }

    private func onThread<Value: Sendable>(
        _ body: @escaping @Sendable () throws(StorageFailure) -> Value
    ) async throws(StorageFailure) -> Value {
        do {
            return try await thread.runIfActive { try body() }
        } catch {
            throw error as? StorageFailure ?? .tooLate
        }
    }
}

/// Changes of documents, in the order of the log of operations.
struct StoredChanges: Sendable {
    /// The id of a user, if it is a text, and the time of the change.
    var changes: [(id: String?, time: MongoTime)] = []
    /// Continues behind them.
    var token: [UInt8]
    /// The server's wall clock at the newest one: milliseconds since 1970.
    var newest: Int64?
    /// The collection was dropped or renamed.
    var isEnd = false
}

/// An open change stream: a client of the pool, its session and its cursor.
// Unchecked: it is used on one thread, one call after the other.
final class ChangeStream: @unchecked Sendable {
    private let pool: MongoClientPool
    private let client: MongoClient
    /// `nil`: it is closed. It ends before the client is given back, to which it belongs.
    private var session: MongoSession?
    private let target: MongoTarget
    private var cursor: Int64 = 0
    /// Behind everything that was read.
    private(set) var token: [UInt8] = []

    /// Maximum time of the server for a reading without changes, in milliseconds.
    private static let waitMilliseconds: Int64 = 500
    /// Changes of one reading: small ones.
    private static let batchSize: Int32 = 1000

    fileprivate init(pool: MongoClientPool, after token: [UInt8]?) throws(StorageFailure) {
        self.pool = pool
        let client = try pool.lend(for: MongoCall(now: .now()))
        self.client = client
        do throws(StorageFailure) {
            target = try client.target()
            guard target.kind == .replicated else { throw .noChangeStreams }
            session = try MongoSession(client)
        } catch {
            pool.giveBack(client)
            throw error
        }
        do throws(StorageFailure) {
            try open(after: token)
        } catch {
            close()
            throw error.isRefusal && token != nil ? error.ofLostHistory : error
        }
    }

    deinit { close(atServer: false) }

    private func open(after token: [UInt8]?) throws(StorageFailure) {
        let position: BSONDocument = token.map { ["resumeAfter": .verbatim($0)] } ?? [:]
        let fields: BSONDocument = [
            "operationType": .int32(1), "documentKey": .int32(1), "clusterTime": .int32(1), "wallTime": .int32(1),
        ]
        let command: BSONDocument = [
            "aggregate": .string(MongoClient.collection),
            "pipeline": .array([
                .document(["$changeStream": .document(position)]), .document(["$project": .document(fields)]),
            ]),
            // Changes come with the first reading.
            "cursor": .document(["batchSize": .int32(0)]),
            "maxTimeMS": .int64(MongoCall.serverMilliseconds),
        ]
        try run(command) { _ in }
        guard !self.token.isEmpty else { throw .noChangeStreams }
    }

    /// - Throws: the server that is read is no primary any more. It would go on answering, and may get no changes itself.
    fileprivate func next() throws(StorageFailure) -> StoredChanges {
        try client.check(target)
        let command: BSONDocument = [
            "getMore": .int64(cursor), "collection": .string(MongoClient.collection),
            "batchSize": .int32(Self.batchSize), "maxTimeMS": .int64(Self.waitMilliseconds),
        ]
        var batch = StoredChanges(token: token)
        try run(command) { change in
            batch.newest = BSONElements.first("wallTime", in: change)?.date
            let type = BSONElements.first("operationType", in: change)?.text.map { String(decoding: $0, as: UTF8.self) }
            switch type {
            case "insert", "update", "replace", "delete":
                guard let known = Self.change(change) else { break }
                batch.changes.append(known)
                // Before MongoDB 6.0 there are whole seconds only.
                batch.newest = batch.newest ?? Int64(known.time.seconds) * 1000
            case "drop", "rename", "dropDatabase", "invalidate": batch.isEnd = true
            default: break
            }
        }
        if cursor == 0 { batch.isEnd = true }
        batch.token = token
        return batch
    }

    private static func change(_ bytes: UnsafeRawBufferPointer) -> (id: String?, time: MongoTime)? {
        guard let time = BSONElements.first("clusterTime", in: bytes)?.timestamp else { return nil }
        var key: String?
        BSONElements.first("documentKey", in: bytes)?.withDocument { document in
            key = BSONElements.first("_id", in: document)?.text.map { String(decoding: $0, as: UTF8.self) }
        }
        return (key, time)
    }

    /// Runs a command of the cursor, and takes its id and token.
    private func run(_ command: BSONDocument, each: (UnsafeRawBufferPointer) -> Void) throws(StorageFailure) {
        let options = (["serverId": .int32(Int32(bitPattern: target.id))] as BSONDocument).allocated()
        let command = command.allocated()
        defer {
            bson_destroy(command)
            bson_destroy(options)
        }
        guard let session else { throw .tooLate }
        try session.append(to: options)
        try BSONDocument.withReplyMemory { reply throws(StorageFailure) in
            defer { bson_destroy(reply) }
            var error = bson_error_t()
            guard
                mongoc_client_read_write_command_with_opts(
                    client.pointer, client.database, command, nil, options, reply, &error)
            else { throw StorageFailure(error, reply: BSONDocument(reply) ?? [:]) }
            guard let bytes = BSONDocument.bytes(reply) else { return }
            take(bytes, each: each)
        }
    }

    private func take(_ reply: UnsafeRawBufferPointer, each: (UnsafeRawBufferPointer) -> Void) {
        guard let fields = BSONElements.first("cursor", in: reply)?.document else { return }
        for element in fields {
            if element.isNamed("id") {
                cursor = element.integer64 ?? 0
            } else if element.isNamed("postBatchResumeToken"), let bytes = element.documentBytes {
                token = bytes
            } else if element.isNamed("nextBatch") {
                element.array?.forEach { $0.withDocument(each) }
            }
        }
    }

    /// Gives the client back. The server ends the cursor with its session, or after ten minutes.
    ///
    /// - Parameter isAtServer: whether the server is told. That takes a round trip.
    fileprivate func close(atServer isAtServer: Bool = true) {
        guard session != nil else { return }
        if cursor != 0, isAtServer {
            _ = try? run(
                ["killCursors": .string(MongoClient.collection), "cursors": .array([.int64(cursor)])]) { _ in }
        }
        session = nil
        pool.giveBack(client)
    }
}
