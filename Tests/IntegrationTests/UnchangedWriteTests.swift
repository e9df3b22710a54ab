import Foundation
import TestSupport
import Testing

/// A write that changes nothing has read the newest state, and its answer shows it: nobody may be answered with an older
/// one afterwards, also while the write that did change something has not been invalidated yet.
@Suite(.tags(.servers), .processes) struct UnchangedWriteTests {
    @Test(arguments: Home.allCases) func `two equal writes at once: after either answer the value is read`(
        home: Home
    ) async throws {
        let host = try await TestHost.start(workers: 3, home: home)
        let connections = try await host.connectToEach()
        let id = try await TestHost.createUser(connections[0], "a")
        let path = "/api/users/\(id)"
        var stale: [String] = []
        for round in 1...150 {
            let body = #"{"age":\#(round)}"#
            // Each reader has the earlier value in its own cache.
            _ = try await connections[2].get(path)
            _ = try await connections[2].get(path)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in connections.prefix(2) {
                    group.addTask {
                        let reply = try await writer.request("PUT", path, body: body)
                        #expect(reply.status == 200, "\(reply.text)")
                    }
                }
                // As soon as one of them is answered, whichever it is.
                try await group.next()
                let read = try await connections[2].get(path)
                if read.json["age"].number != Double(round) { stale.append("\(round): \(read.text)") }
                try await group.waitForAll()
            }
        }
        #expect(stale.isEmpty, "\(stale.count) of 150: \(stale.prefix(3))\n\(host.transcript)")
    }

    @Test func `404, 409 and what was so already are invalidated, and no event is published`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let connection = try await #require(host.connectToEach().first)
        let (one, other) = (
            try await TestHost.createUser(connection, "a"), try await TestHost.createUser(connection, "b")
        )
        let friend = #"{"friendId":"\#(other)"}"#
        try await host.mongo.command(
            ["createIndexes": "users", "indexes": [["key": ["username": 1], "name": "u", "unique": true]]],
            database: host.database)
        #expect(try await connection.request("POST", "/api/users/\(one)/link", body: friend).status == 200)
        let missing = "00000000-0000-4000-8000-000000000000"
        let writes: [(String, String, String?, Int)] = [
            ("PUT", "/api/users/\(one)", #"{"age":30}"#, 200), ("PUT", "/api/users/\(missing)", #"{"age":30}"#, 404),
            ("DELETE", "/api/users/\(missing)", nil, 404), ("DELETE", "/api/users/\(one)", nil, 409),
            ("POST", "/api/users/\(one)/link", friend, 200),
            ("POST", "/api/users/\(one)/link", #"{"friendId":"\#(missing)"}"#, 404),
            ("POST", "/api/users", #"{"username":"b","age":30,"hobbies":[]}"#, 409),
            ("PUT", "/api/users/\(one)", #"{"username":"b"}"#, 409),
        ]
        let syncd = try #require(host.syncd)
        func events() -> Int { host.workers[0].log.components(separatedBy: "received event on").count - 1 }
        await eventually("the events of two creations and a link") { events() == 3 }
        for (method, path, body, status) in writes {
            let before = try await syncd.status("log", "applied")?.number ?? 0
            let reply = try await connection.request(method, path, body: body)
            #expect(reply.status == status, "\(method) \(path): \(reply.text)")
            let after = try await syncd.status("log", "applied")?.number ?? 0
            #expect(after == before + 1, "\(method) \(path)")
        }
        // A request that never reached the database.
        let before = try await syncd.status("log", "applied")?.number ?? 0
        #expect(try await connection.request("PUT", "/api/users/\(one)", body: #"{"age":-1}"#).status == 400)
        #expect(try await syncd.status("log", "applied")?.number == before)
        // Events keep their order: when the next one is here, none of the others is on its way.
        #expect(try await connection.request("PUT", "/api/users/\(one)", body: #"{"age":31}"#).status == 200)
        await eventually("the event of a change") { events() >= 4 }
        #expect(events() == 4, "\(host.transcript)")
    }

    @Test func `a syncd that has been dead for two seconds holds up no write`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let connection = try await #require(host.connectToEach().first)
        let id = try await TestHost.createUser(connection, "a")
        let syncd = try #require(host.syncd)
        syncd.kill()
        var slow = 0
        var waited = Duration.zero
        // The first writes wait until the last heartbeat is not trusted any more; from then on none waits.
        for round in 1...40 {
            let begin = ContinuousClock.now
            let reply = try await connection.request("PUT", "/api/users/\(id)", body: #"{"age":\#(round)}"#)
            #expect(reply.status == 200)
            let took = ContinuousClock.now - begin
            waited += took
            if took > .milliseconds(600) { slow += 1 }
        }
        #expect(slow <= 3, "\(slow) of 40 writes were held up, \(waited) in all\n\(host.transcript)")
        #expect(syncd.directory.names(in: "journal").contains { $0.hasSuffix(".pending") })
        try await syncd.start()
        await eventually("pending invalidations are in the log") {
            !syncd.directory.names(in: "journal").contains { $0.hasSuffix(".pending") }
        }
    }
}
