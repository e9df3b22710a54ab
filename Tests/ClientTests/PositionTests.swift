import TestSupport
import Testing

@testable import ClientCheck

/// Positions of writes in `examples/` (docs/clients.md, "Positions").
@Suite(.tags(.manyProcesses), .processes) struct PositionTests {
    @Test func `a client in Python shows what was written on another host`() async throws {
        let directory = try TemporaryDirectory()
        let (database, log) = (try await RedisServer(), try await RedisServer())
        var syncds: [SyncdProcess] = []
        var clients: [ClientProcess] = []
        for number in 0..<2 {
            let syncd = try await SyncdProcess(redis: log)
            try await syncd.waitUntilAttached()
            syncds.append(syncd)
            clients.append(
                try await ExampleClient.pythonRESP3.launch(
                    ["SYNCD_SOCKET": syncd.socketPath, "DATABASE_SOCKET": database.socketPath],
                    errorPath: directory.file("\(number).errors")))
        }
        func write() async throws -> String {
            guard case .value(_, let position) = try await clients[0].ask(.write, "key") else {
                throw TestFailure("no value\n\(clients[0].complaints)")
            }
            return position
        }
        // Answered when the tables are old enough for syncd to answer at once.
        await eventually("a write has a position") {
            guard let position = try? await write() else { return false }
            return position != "-"
        }
        let first = try await write()
        guard case .value(let value, _) = try await clients[0].ask(.load, "key") else { throw TestFailure("no value") }
        await eventually("it is in the cache") {
            (try? await clients[1].ask(.load, "key \(first)")) == .value(value, source: "L1")
        }
        // Its client may believe the last heartbeat for one second more.
        syncds[1].pause()
        defer { syncds[1].resume() }
        let second = try await write()
        let next = "\((Int(value) ?? 0) + 1)"
        for position in [second, "-"] {
            #expect(try await clients[1].ask(.load, "key \(position)") == .value(next, source: "BYPASS"))
        }
        for client in clients { await client.end() }
    }
}
