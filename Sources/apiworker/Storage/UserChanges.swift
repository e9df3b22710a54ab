import CMongoC
import Glibc
import IPC
import NIOCore
import NIOPosix

/// The change stream of the collection (https://www.mongodb.com/docs/manual/changeStreams/), for the change feed
/// (docs/change-feed.md).
///
/// The cursor is read by plain commands. libmongoc's own change stream returns one change at a time and does not say where
/// a batch ends: to know that nothing more has come, it waits for the server, and the change before it would have to wait,
/// too.
struct UserChanges: ChangeSource {
    private let pool: MongoClientPool
    /// A change is waited for on this thread.
    private let thread: NIOThreadPool

    init(pool: MongoClientPool) {
        self.pool = pool
        thread = NIOThreadPool(numberOfThreads: 1)
        thread.start()
    }

    /// The feed's name: that of the database, and of the collection.
    var name: String {
        let characters = (pool.database + "." + MongoClient.collection).utf8.prefix(64).map { byte -> Character in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: Character(UnicodeScalar(byte))
            default: "_"
            }
        }
        return String(characters)
    }

    func open(after token: ByteBuffer?) async throws(ChangeSourceFailure) -> (ChangeCursor, token: ByteBuffer) {
        let cursor = try await onThread { () throws(StorageFailure) in try UserChangeCursor(pool: pool, after: token) }
        let reading = ChangeCursor(
            next: { () async throws(ChangeSourceFailure) in
                // Changes that follow at once are read together: each reading costs a round trip.
                try? await Task.sleep(nanoseconds: Self.pauseNanoseconds)
                return try await onThread { () throws(StorageFailure) in try cursor.next() }
            },
            close: { _ = try? await onThread { () throws(StorageFailure) in cursor.close() } })
        return (reading, cursor.token)
    }

    private static let pauseNanoseconds: UInt64 = 5_000_000

    private func onThread<Value: Sendable>(
        _ body: @escaping @Sendable () throws(StorageFailure) -> Value
    ) async throws(ChangeSourceFailure) -> Value {
        do {
            return try await thread.runIfActive { try body() }
        } catch let failure as StorageFailure {
            throw ChangeSourceFailure(failure)
        } catch {
            throw .interrupted("\(error)")
        }
    }
}

/// An open change stream: a client of the pool, its session and its cursor.
///
/// Unchecked: it is used on one thread, one call after the other.
private final class UserChangeCursor: @unchecked Sendable {
    private let pool: MongoClientPool
    private let client: MongoClient
    private let session: MongoSession
    private let target: MongoTarget
    private var cursor: Int64 = 0
    private var isClosed = false
    /// Behind everything that was read.
    private(set) var token = ByteBuffer()

    /// Maximum time of the server for a reading without changes, in milliseconds.
    private static let waitMilliseconds: Int64 = 500
    /// Changes of one reading: small ones.
    private static let batchSize: Int32 = 1000

    init(pool: MongoClientPool, after token: ByteBuffer?) throws(StorageFailure) {
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

    deinit { close() }

    private func open(after token: ByteBuffer?) throws(StorageFailure) {
        let position: BSONDocument = token.map { ["resumeAfter": .verbatim(Array(buffer: $0))] } ?? [:]
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
        guard self.token.readableBytes > 0 else { throw .noChangeStreams }
    }

    /// The changes since the last reading, or those of the next half second.
    func next() throws(StorageFailure) -> ChangeBatch {
        let command: BSONDocument = [
            "getMore": .int64(cursor), "collection": .string(MongoClient.collection),
            "batchSize": .int32(Self.batchSize), "maxTimeMS": .int64(Self.waitMilliseconds),
        ]
        var batch = ChangeBatch(changes: [], token: token)
        var newest: Int64?
        try run(command) { change in
            newest = BSONElements.first("wallTime", in: change)?.date ?? newest
            let type = BSONElements.first("operationType", in: change)?.text.map { String(decoding: $0, as: UTF8.self) }
            switch type {
            case "insert", "update", "replace", "delete":
                if let known = Self.change(change) { batch.changes.append(known) }
            case "drop", "rename", "dropDatabase", "invalidate": batch.isEnd = true
            default: break
            }
        }
        if let newest { batch.lag = .milliseconds(max(0, WallClock.milliseconds - newest)) }
        if cursor == 0 { batch.isEnd = true }
        batch.token = token
        return batch
    }

    private static func change(_ bytes: UnsafeRawBufferPointer) -> DocumentChange? {
        guard let time = BSONElements.first("clusterTime", in: bytes)?.timestamp else { return nil }
        var key: String?
        BSONElements.first("documentKey", in: bytes)?.withDocument { document in
            key = BSONElements.first("_id", in: document)?.text.map { String(decoding: $0, as: UTF8.self) }
        }
        return DocumentChange(collection: MongoClient.collection, key: key, time: time)
    }

    /// Runs a command of the cursor, and takes its id and token.
    private func run(_ command: BSONDocument, each: (UnsafeRawBufferPointer) -> Void) throws(StorageFailure) {
        let options = (["serverId": .int32(Int32(bitPattern: target.id))] as BSONDocument).allocated()
        let command = command.allocated()
        defer {
            bson_destroy(command)
            bson_destroy(options)
        }
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
                token = ByteBuffer(bytes: bytes)
            } else if element.isNamed("nextBatch") {
                element.array?.forEach { $0.withDocument(each) }
            }
        }
    }

    /// Gives the client back. The server ends the cursor with its session, or after ten minutes.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        if cursor != 0 {
            _ = try? run(
                ["killCursors": .string(MongoClient.collection), "cursors": .array([.int64(cursor)])]) { _ in }
        }
        pool.giveBack(client)
    }
}

extension ChangeSourceFailure {
    init(_ failure: StorageFailure) {
        if failure.isHistoryLost {
            self = .historyLost(failure.detail)
        } else if failure.isWithoutChangeStreams {
            self = .unavailable(failure.detail)
        } else {
            self = .interrupted(failure.detail)
        }
    }
}
