import Foundation
import Synchronization

/// A mongod of a test: a replica set of one node, a server by itself, or a member of a ``MongoReplicaSet``, on a port
/// of its own, with a directory of its own.
///
/// Its start takes a second or two. Tests that don't harm the server use ``shared()``, each with a database of its
/// own.
package final class MongoServer: Sendable {
    /// What it is.
    package enum Kind: Sendable, Hashable, CaseIterable {
        case replicaSet
        /// Without transactions.
        case standalone
    }

    private enum Role: Sendable {
        case alone(Kind)
        /// The set is initiated by whoever started all its members.
        case member

        var isInSet: Bool {
            switch self {
            case .alone(let kind): kind == .replicaSet
            case .member: true
            }
        }
    }

    private let role: Role
    private let port: ReservedPort
    private let directory: TemporaryDirectory
    private let process: Mutex<ChildProcess>

    /// The name of every set.
    package static let replicaSet = "rs0"

    /// Starts a server and waits until it takes writes.
    package convenience init(_ kind: Kind = .replicaSet) async throws {
        try self.init(.alone(kind))
        try await waitUntilReady(isNew: kind == .replicaSet)
    }

    /// Starts a member of a set that is not initiated yet, and waits until it answers.
    static func member() async throws -> MongoServer {
        let server = try MongoServer(.member)
        try await server.waitUntilReady(isNew: true)
        return server
    }

    private init(_ role: Role) throws {
        self.role = role
        port = try ReservedPort()
        directory = try TemporaryDirectory()
        process = Mutex(try Self.launch(role, port: port, directory: directory))
    }

    private static func launch(
        _ role: Role, port: ReservedPort, directory: TemporaryDirectory
    ) throws -> ChildProcess {
        try ChildProcess(
            try Executables.mongod(),
            [
                "--port", "\(port.number)", "--bind_ip", "127.0.0.1", "--dbpath", directory.path,
                "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--quiet",
                "--setParameter", "enableTestCommands=1", "--setParameter", "diagnosticDataCollectionEnabled=false",
            ] + (role.isInSet ? ["--replSet", replicaSet, "--oplogSize", "16"] : []))
    }

    // MARK: Shared

    private static let sharedTasks = Mutex<[Kind: Task<MongoServer, any Error>]>([:])

    /// The server that all tests of this process share. It ends with the process.
    package static func shared(_ kind: Kind = .replicaSet) async throws -> MongoServer {
        let task = sharedTasks.withLock { tasks in
            if let task = tasks[kind] { return task }
            let new = Task { try await MongoServer(kind) }
            tasks[kind] = new
            return new
        }
        return try await task.value
    }

    // MARK: Where it is

    package var portNumber: Int { port.number }
    package var child: ChildProcess { process.withLock { $0 } }
    /// What it logged, for failure messages.
    package var log: String { child.transcript }

    /// For DB_URL.
    package func url(database: String) -> String {
        "mongodb://127.0.0.1:\(port.number)/\(database)" + (role.isInSet ? "?replicaSet=\(Self.replicaSet)" : "")
    }

    /// A name that no other test uses.
    package static func newDatabaseName() -> String { "test_" + String(UInt64.random(in: 0...UInt64.max), radix: 36) }

    // MARK: Talking to it

    package func connect() throws -> MongoConnection { try MongoConnection(port: port.number) }

    /// Runs one command over a connection of its own.
    @discardableResult
    package func command(_ command: BSONDocument, database: String = "admin") async throws -> BSONDocument {
        try await connect().command(command, database: database)
    }

    /// The documents of a collection, at most 10 000.
    package func documents(_ collection: String, database: String) async throws -> [BSONDocument] {
        let answer = try await command(
            ["find": .string(collection), "batchSize": 10_000, "singleBatch": true], database: database)
        return answer["cursor"]?.document?["firstBatch"]?.array?.compactMap(\.document) ?? []
    }

    package func drop(database: String) async throws { try await command(["dropDatabase": 1], database: database) }

    /// A member of a set of several only has to answer: which of them takes writes is not its own matter.
    private func waitUntilReady(isNew: Bool, within limit: Duration = .seconds(60)) async throws {
        let deadline = PatientClock.now + limit
        var isInitiated = !isNew
        let isMember = if case .member = role { true } else { false }
        let member: BSONValue = ["_id": 0, "host": .string("127.0.0.1:\(port.number)")]
        while PatientClock.now < deadline {
            if let exit = child.exit { throw TestFailure("mongod ended (\(exit))\n\(log)") }
            if let connection = try? connect() {
                if isMember {
                    if (try? await connection.command(["ping": 1])) != nil { return }
                } else if !isInitiated {
                    let settings: BSONValue = ["_id": .string(Self.replicaSet), "members": .array([member])]
                    isInitiated = (try? await connection.command(["replSetInitiate": settings])) != nil
                }
                if let hello = try? await connection.command(["hello": 1]), hello["isWritablePrimary"]?.bool == true {
                    return
                }
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw TestFailure("mongod does not take writes\n\(log)")
    }

    // MARK: Harming it

    package func kill() { child.kill() }
    package func pause() { child.pause() }
    package func resume() { child.resume() }

    /// Starts it again on the same port with its data, and waits until it takes writes or, as a member, answers.
    package func start() async throws {
        try process.withLock { process in
            process.kill()
            process = try Self.launch(role, port: port, directory: directory)
        }
        try await waitUntilReady(isNew: false)
    }

    /// Ends it; also done when this object goes away.
    package func stop() { child.kill() }
}
