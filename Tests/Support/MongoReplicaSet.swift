/// A replica set of three real members. The third one is a delayed member: it votes, holds the state of some seconds
/// ago, and never becomes the primary.
package final class MongoReplicaSet: Sendable {
    package let members: [MongoServer]

    /// A member that has not heard of a primary for this long stands for election.
    package static let electionTimeout = Duration.seconds(2)

    /// Starts the members and waits until one accepts writes.
    ///
    /// - Parameters:
    ///   - delay: of the third member, in seconds.
    ///   - isHidden: whether the set keeps the third member from drivers.
    package init(delay: Int, isHidden: Bool) async throws {
        members = try (0..<3).map { _ in try MongoServer(launching: .replicaSet) }
        for member in members { try await member.waitUntilItAnswers() }
        let configuration = members.enumerated().map { number, member -> BSONValue in
            var document: BSONDocument = [
                "_id": .int32(Int32(number)), "host": .string("127.0.0.1:\(member.portNumber)"),
            ]
            if number == members.count - 1 {
                document["priority"] = 0
                document["secondaryDelaySecs"] = .int64(Int64(delay))
                document["hidden"] = .bool(isHidden)
            }
            return .document(document)
        }
        let timeout = Int32(Self.electionTimeout.components.seconds * 1000)
        try await members[0].command([
            "replSetInitiate": [
                "_id": .string(MongoServer.replicaSet), "members": .array(configuration),
                "settings": ["electionTimeoutMillis": .int32(timeout), "heartbeatIntervalMillis": 500],
            ]
        ])
        _ = try await primary(within: .seconds(60))
    }

    package var delayed: MongoServer { members[members.count - 1] }

    /// The logs of all members, for failure messages.
    package var log: String { members.map(\.log).joined() }

    /// The member that accepts writes.
    package func primary(within limit: Duration = .seconds(30)) async throws -> MongoServer {
        let deadline = PatientClock.now + limit
        while PatientClock.now < deadline {
            for member in members where await member.isPrimary { return member }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw TestFailure("the replica set has no primary\n\(log.suffix(20_000))")
    }
}

extension MongoServer {
    /// Whether the server reports that it accepts writes; a stopped server reports nothing.
    package var isPrimary: Bool {
        get async {
            let hello = try? await connect().command(["hello": 1], within: .milliseconds(500))
            return hello?["isWritablePrimary"]?.bool == true
        }
    }
}
