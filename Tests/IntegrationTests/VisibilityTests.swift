import Foundation
import TestSupport
import Testing

/// A write through any worker is seen through every other one by the very next read.
@Suite(.tags(.servers), .processes) struct VisibilityTests {
    @Test(arguments: Home.allCases, [2, 8]) func `the next read sees it`(home: Home, count: Int) async throws {
        let host = try await TestHost.start(workers: count, home: home)
        let connections = try await host.connectToEach()
        let id = try await TestHost.createUser(connections[0], "a")
        let rounds = 120 / count
        try await withThrowingTaskGroup(of: Void.self) { group in
            // Others read at every step, so that loads are under way at any instant; in step, so that they don't take all
            // of this process's threads.
            var paces: [AsyncStream<Void>.Continuation] = []
            for _ in 0..<3 {
                let reader = try host.connect()
                let (turns, pace) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
                paces.append(pace)
                group.addTask {
                    for await _ in turns {
                        for path in ["/api/users", "/api/users/\(id)", "/api/graph"] {
                            let status = try await reader.get(path).status
                            #expect(status == 200)
                        }
                    }
                }
            }
            defer { for pace in paces { pace.finish() } }
            for round in 1...rounds {
                let writer = connections[round % count]
                for pace in paces { pace.yield() }
                let reply = try await writer.request("PUT", "/api/users/\(id)", body: #"{"age":\#(round)}"#)
                #expect(reply.status == 200, "\(reply.text)")
                for reader in connections {
                    for pace in paces { pace.yield() }
                    let user = try await reader.get("/api/users/\(id)")
                    let all = try await reader.get("/api/users")
                    let graph = try await reader.get("/api/graph")
                    let seen = [user.json["age"], all.json[0]["age"], graph.json["nodes"][0]["data"]["age"]].map(
                        \.number)
                    #expect(
                        seen == [Double(round), Double(round), Double(round)],
                        "round \(round), from \(user.cache ?? "") \(all.cache ?? "") \(graph.cache ?? "")")
                }
            }
        }
        if let redis = host.redis {
            #expect(try await redis.clientNames() == ["syncd", "syncd-subscriptions"], "no worker talks to Redis")
        }
        for worker in host.workers {
            await eventually("worker \(worker.pid) logs the events", details: { worker.log }) {
                let prefix = "Worker \(worker.pid) received event on "
                return worker.log.contains("\(prefix)user:created: {\"userId\":\"\(id)\",\"timestamp\":")
                    && worker.log.components(separatedBy: "\(prefix)user:updated: ").count == rounds + 1
            }
        }
    }

    @Test(arguments: Home.allCases) func `100 requests for a cold key are one load`(home: Home) async throws {
        let host = try await TestHost.start(workers: 4, home: home)
        let first = try await host.connectToEach()
        try await TestHost.createUser(first[0], "a")
        try await host.profile()
        let before = try await host.readsOfUsers()
        var connections = first
        while connections.count < 100 { connections.append(try host.connect()) }
        let sources = try await withThrowingTaskGroup(of: String?.self) { group in
            for connection in connections {
                group.addTask {
                    let reply = try await connection.get("/api/users/stats/overview")
                    #expect(reply.status == 200)
                    return reply.cache
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(sources.count { $0 == "MISS" } == 1, "\(sources)")
        #expect(!sources.contains("BYPASS"))
        #expect(try await host.readsOfUsers() - before == 1)
    }

    @Test func `programs are linked with what they need and no more`() async throws {
        for (program, foreign) in [("apiworker", "hiredis"), ("syncd", "mongoc")] {
            let path = try Executables.built(program)
            let ldd = try await ChildProcess.run("/usr/bin/ldd", [path], within: .seconds(20))
            #expect(ldd.output.contains("libc.so"), "\(ldd.output)")
            #expect(!ldd.output.contains(foreign), "\(program) must not be linked with \(foreign)")
        }
    }
}
