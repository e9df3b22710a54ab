import Logging
import NIOPosix
import Synchronization
import TestSupport

@testable import apiworker

/// A store for one URL, and what it logs.
final class StorePlace: Sendable {
    let store: UserStore
    let log = CapturedLog()

    init(url: String) throws {
        let log = log
        let pool = try MongoClientPool(try MongoURI(url))
        store = UserStore(
            operations: MongoOperations(
                pool: pool, eventLoop: MultiThreadedEventLoopGroup.singleton.any(),
                logger: Logger(label: "test") { _ in log }))
    }

    /// The failure of an operation, or `nil`.
    static func failure(of body: () async throws(StorageFailure) -> Void) async -> StorageFailure? {
        do {
            try await body()
            return nil
        } catch {
            return error
        }
    }
}

/// Keeps log lines with their details.
final class CapturedLog: LogHandler, Sendable {
    private let kept = Mutex<[String]>([])

    var lines: [String] { kept.withLock { $0 } }

    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        let details = (event.metadata ?? [:]).map { "\($0.key)=\($0.value)" }.sorted().joined(separator: " ")
        kept.withLock { $0.append("\(event.message) \(details)") }
    }
}

extension UserStore {
    /// The user with that id, as it is stored.
    func user(_ id: String) async throws(StorageFailure) -> User? {
        try await operations.run { client throws(StorageFailure) in try client.user(id) }
    }
}
