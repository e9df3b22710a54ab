import Foundation
import Synchronization

/// A mongod of a test: a replica set of one node, or a standalone server, with a separate port and directory.
///
/// Its start takes a second or two. Tests that don't harm the server use ``shared()``, each with a separate database.
package final class MongoServer: Sendable {
    /// The kind of a server.
    package enum Kind: Sendable, Hashable, CaseIterable {
        case replicaSet
        /// Without transactions.
        case standalone
    }

    package let kind: Kind
    private let arguments: [String]
    private let environment: [String: String]
    private let port: ReservedPort
    private let directory: TemporaryDirectory
    private let process: Mutex<ChildProcess>

    /// The name of every set.
    package static let replicaSet = "rs0"

    /// Starts a server and waits until it accepts writes.
    ///
    /// - Parameters:
    ///   - arguments: further ones for mongod.
    ///   - environment: of mongod.
    package convenience init(
        _ kind: Kind = .replicaSet, arguments: [String] = [], environment: [String: String] = [:]
    ) async throws {
        try self.init(launching: kind, arguments, environment)
        try await waitUntilWritable(isNew: kind == .replicaSet)
    }

    /// Starts a server without waiting.
    package init(launching kind: Kind, _ arguments: [String] = [], _ environment: [String: String] = [:]) throws {
        self.kind = kind
        self.arguments = arguments
        self.environment = environment
        port = try ReservedPort()
        directory = try TemporaryDirectory()
        process = Mutex(try Self.launch(kind, port: port, directory: directory, arguments, environment))
    }

    /// Starts a replica set. The first member becomes its primary; members of `delays` are hidden, and that many seconds
    /// late.
    package static func members(_ count: Int, delays: [Int: Int] = [:]) async throws -> [MongoServer] {
        let members = try (0..<count).map { _ in try MongoServer(launching: .replicaSet) }
        let settings = members.enumerated().map { index, member -> BSONValue in
            let host = BSONValue.string("127.0.0.1:\(member.portNumber)")
            guard let delay = delays[index] else {
                return ["_id": .int32(Int32(index)), "host": host, "priority": .int32(index == 0 ? 2 : 1)]
            }
            return [
                "_id": .int32(Int32(index)), "host": host, "priority": 0, "hidden": true,
                "secondaryDelaySecs": .int32(Int32(delay)),
            ]
        }
        for member in members { try await member.waitUntilItAnswers() }
        try await members[0].command(["replSetInitiate": ["_id": .string(replicaSet), "members": .array(settings)]])
        try await members[0].waitUntilWritable(isNew: false)
        for member in members.dropFirst() { try await member.wait(until: "SECONDARY") { $0["myState"]?.number == 2 } }
        return members
    }

    private static func launch(
        _ kind: Kind, port: ReservedPort, directory: TemporaryDirectory, _ arguments: [String],
        _ environment: [String: String]
    ) throws -> ChildProcess {
        try ChildProcess(
            try Executables.mongod(),
            [
                "--port", "\(port.number)", "--bind_ip", "127.0.0.1", "--dbpath", directory.path,
                "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--quiet",
                "--setParameter", "enableTestCommands=1", "--setParameter", "diagnosticDataCollectionEnabled=false",
            ] + (kind == .replicaSet ? ["--replSet", replicaSet, "--oplogSize", "16"] : []) + arguments,
            environment: environment)
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
    /// The log, for failure messages.
    package var log: String { child.transcript }

    /// The value of DB_URL.
    package func url(database: String) -> String {
        "mongodb://127.0.0.1:\(port.number)/\(database)" + (kind == .replicaSet ? "?replicaSet=\(Self.replicaSet)" : "")
    }

    /// The value of DB_URL with this server and no other, in any state.
    package func directURL(database: String) -> String { "mongodb://127.0.0.1:\(port.number)/\(database)" }

    /// A name that no other test uses.
    package static func newDatabaseName() -> String { "test_" + String(UInt64.random(in: 0...UInt64.max), radix: 36) }

    // MARK: Talking to it

    package func connect() throws -> MongoConnection { try MongoConnection(port: port.number) }

    /// Runs one command over a separate connection.
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

    /// Waits until it answers, whether it accepts writes or not.
    package func waitUntilItAnswers() async throws {
        let deadline = PatientClock.now + .seconds(60)
        while (try? await command(["hello": 1])) == nil {
            guard PatientClock.now < deadline else { throw TestFailure("mongod does not answer\n\(log)") }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Waits until a member's view of its replica set fulfils a condition.
    package func wait(
        until what: String, within limit: Duration = .seconds(60), _ condition: (BSONDocument) -> Bool
    ) async throws {
        let deadline = PatientClock.now + limit
        while PatientClock.now < deadline {
            if let status = try? await command(["replSetGetStatus": 1]), condition(status) { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw TestFailure("mongod does not become \(what)\n\(log)")
    }

    private func waitUntilWritable(isNew: Bool, within limit: Duration = .seconds(60)) async throws {
        let deadline = PatientClock.now + limit
        var isInitiated = !isNew
        let member: BSONValue = ["_id": 0, "host": .string("127.0.0.1:\(port.number)")]
        while PatientClock.now < deadline {
            if let exit = child.exit { throw TestFailure("mongod ended (\(exit))\n\(log)") }
            if let connection = try? connect() {
                if !isInitiated {
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

    /// Starts it again on the same port with its data, and waits until it accepts writes.
    package func start() async throws {
        try launchAgain()
        try await waitUntilWritable(isNew: false)
    }

    /// Starts it again on the same port with its data, as a standalone server until the next start.
    package func startStandalone() async throws {
        try launchAgain(as: .standalone)
        try await waitUntilWritable(isNew: false)
    }

    /// Starts a member again that may become a secondary, and waits until it answers.
    package func startMember() async throws {
        try launchAgain()
        try await waitUntilItAnswers()
    }

    private func launchAgain(as kind: Kind? = nil) throws {
        try process.withLock { process in
            process.kill()
            process = try Self.launch(kind ?? self.kind, port: port, directory: directory, arguments, environment)
        }
    }

    /// Ends it; also done when this object is released.
    package func stop() { child.kill() }
}
