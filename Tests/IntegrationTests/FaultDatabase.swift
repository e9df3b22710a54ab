import Synchronization
import TestSupport

/// The MongoDB of a ``FaultStage``: one server, or a replica set of three members, one of them delayed.
final class FaultDatabase: Sendable {
    enum Kind: String, Sendable, CaseIterable {
        case standalone, setOfOne, setOfThree
    }

    let kind: Kind
    let servers: [MongoServer]
    private let set: MongoReplicaSet?
    private let isDelayedHidden: Bool
    let name = MongoServer.newDatabaseName()
    /// When each server was stopped, by its port.
    private let stopped = Mutex<[Int: ContinuousClock.Instant]>([:])

    private init(_ kind: Kind, _ servers: [MongoServer], _ set: MongoReplicaSet?, isDelayedHidden: Bool) {
        self.kind = kind
        self.servers = servers
        self.set = set
        self.isDelayedHidden = isDelayedHidden
    }

    static func start(_ kind: Kind, _ chance: Chance) async throws -> FaultDatabase {
        switch kind {
        case .standalone: return FaultDatabase(kind, [try await MongoServer(.standalone)], nil, isDelayedHidden: false)
        case .setOfOne: return FaultDatabase(kind, [try await MongoServer()], nil, isDelayedHidden: false)
        case .setOfThree:
            let isHidden = chance.bool()
            let set = try await MongoReplicaSet(delay: chance.number(2...4), isHidden: isHidden)
            return FaultDatabase(kind, set.members, set, isDelayedHidden: isHidden)
        }
    }

    var log: String { servers.map { String($0.log.suffix(5000)) }.joined() }

    /// For DB_URL of a worker behind this proxy.
    func url(_ proxy: MongoProxy) -> String {
        switch kind {
        case .standalone: proxy.url(database: name)
        case .setOfOne: proxy.url(database: name) + "?replicaSet=\(MongoServer.replicaSet)"
        case .setOfThree: proxy.url(database: name, hidden: isDelayedHidden ? 1 : 0)
        }
    }

    /// For DB_URL of a worker that knows the delayed member only, in the form that names no replica set.
    func urlOfDelayed(_ proxy: MongoProxy) -> String { proxy.url(database: name, member: servers.count - 1) }

    private func primary() async throws -> MongoServer {
        if let set { return try await set.primary() }
        return servers[0]
    }

    /// A name can be taken by one user only, as where somebody has made such an index.
    func makeNamesUnique() async throws {
        try await primary().command(
            [
                "createIndexes": "users",
                "indexes": [["key": ["username": 1], "name": "username_1", "unique": true]],
            ], database: name)
    }

    /// All users as they are committed; throws if nobody can tell.
    ///
    /// A primary that was just elected may not know yet what is committed. It knows it as soon as a write of its own
    /// is.
    func users() async throws -> [BSONDocument] {
        let connection = try await primary().connect()
        var find: BSONDocument = ["find": "users", "batchSize": 1000, "singleBatch": true]
        if kind != .standalone {
            try await connection.command(
                [
                    "update": "barrier", "writeConcern": ["w": "majority", "wtimeout": 5000],
                    "updates": [["q": ["_id": 0], "u": ["$inc": ["n": 1]], "upsert": true]],
                ], database: name)
            find["readConcern"] = ["level": "majority"]
        }
        let answer = try await connection.command(find, database: name)
        return answer["cursor"]?.document?["firstBatch"]?.array?.compactMap(\.document) ?? []
    }

    /// Writes a round of a register; throws if it may not have happened.
    func writeDirectly(_ id: String, round: Int) async throws {
        let position: BSONDocument = ["x": .int32(Int32(round)), "y": 0]
        let reply = try await primary().connect().command(
            [
                "update": "users", "writeConcern": ["w": "majority", "wtimeout": 5000], "maxTimeMS": 5000,
                "updates": [["q": ["_id": .string(id)], "u": ["$set": ["position": .document(position)]]]],
            ], database: name, within: .seconds(8))
        guard reply["writeConcernError"] == nil, reply["n"]?.number == 1 else {
            throw TestFailure("not committed: \(reply)")
        }
    }

    // MARK: Faults

    /// Maximum time for which a member may be stopped and resumed without consequences: others don't stand for election
    /// yet. Answers of a deposed primary in its first milliseconds are not promised (docs/consistency.md).
    private static let longestStop = MongoReplicaSet.electionTimeout / 2

    func pause(_ server: MongoServer) async {
        let mayBeDeposed = if kind == .setOfThree { await server.isPrimary } else { false }
        if mayBeDeposed { stopped.withLock { $0[server.portNumber] = .now } }
        server.pause()
    }

    /// Lets it go on; a primary that was away for too long is killed instead, and comes back as another process.
    func resume(_ server: MongoServer) async throws {
        let since = stopped.withLock { $0.removeValue(forKey: server.portNumber) }
        if let since, .now - since > Self.longestStop {
            try await server.startMember()
        } else {
            server.resume()
        }
    }

    func stepDown(for seconds: Int) async throws {
        _ = try? await primary().command(["replSetStepDown": .int32(Int32(seconds)), "force": true])
    }
}
