import Foundation
import TestSupport
import Testing

/// The change feed while the replica set changes its primary.
@Suite(.tags(.servers), .processes) struct ChangeFeedFailoverTests {
    /// A program that says nothing to syncd, and repeats a write until a majority has it.
    private struct Writer {
        let set: MongoReplicaSet
        let database: String

        func write(_ id: String, age: Int) async throws {
            let command: BSONDocument = [
                "update": "users", "writeConcern": ["w": "majority", "wtimeout": 2000],
                "updates": [["q": ["_id": .string(id)], "u": ["$set": ["age": .int32(Int32(age))]]]],
            ]
            try await eventually("a write of \(id) is acknowledged", details: { set.log }) {
                let primary = try await set.primary()
                let reply = try? await primary.connect().command(command, database: database)
                return reply?["n"]?.number == 1 && reply?["writeConcernError"] == nil
            }
        }
    }

    @Test(arguments: Home.allCases) func `the primary steps down and is killed: nothing is lost`(home: Home)
        async throws
    {
        let set = try await MongoReplicaSet(delay: 1, isHidden: true)
        let host = try await TestHost.start(workers: 2, home: home, mongo: try await set.primary())
        let writer = Writer(set: set, database: host.database)
        let connections = try await host.connectToEach()
        var ids: [String] = []
        for number in 0..<8 { ids.append(try await TestHost.createUser(connections[0], "u\(number)")) }
        for round in 1...4 {
            for connection in connections {
                for id in ids { _ = try await connection.get("/api/users/\(id)") }
            }
            let primary = try await set.primary()
            try await writer.write(ids[0], age: round)
            if round % 2 == 0 {
                primary.kill()
            } else {
                _ = try? await primary.command(["replSetStepDown": 5, "force": true])
            }
            for id in ids.dropFirst() { try await writer.write(id, age: round) }
            for (number, connection) in connections.enumerated() {
                for id in ids {
                    try await eventually(
                        "worker \(number) sees write \(round) of \(id)", within: .seconds(15),
                        details: { host.transcript }
                    ) {
                        // A read during an election may fail with 503.
                        try await connection.get("/api/users/\(id)").json["age"].number == Double(round)
                    }
                }
            }
            if round % 2 == 0 { try await primary.startMember() }
        }
        let feed = try await #require(host.syncd).connect().command("STATUS", "feeds")["feeds"]?.elements?.first
        #expect(feed?["resets"]?.number == 1, "the stream was continued each time")
    }
}
