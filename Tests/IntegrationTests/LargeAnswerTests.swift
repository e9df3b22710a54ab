import Foundation
import TestSupport
import Testing

/// Users that are too large for one answer, stored by another program.
@Suite(.tags(.servers), .processes) struct LargeAnswerTests {
    @Test func `an answer that would be too large is refused, and takes little memory`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        let worker = host.workers[0]
        let text = String(repeating: "x", count: 12 << 20)
        for number in 0..<16 {
            let user: BSONValue = [
                "_id": .string("u\(number)"), "username": "a", "hobbies": [.string("\(number)\(text)")],
                "friends": ["u0"], "createdAt": .date(Int64(number)),
            ]
            try await host.mongo.command(["insert": "users", "documents": [user]], database: host.database)
        }
        /// On a busy machine, MongoDB needs more than its 2 s for 192 MiB.
        func readInTime(_ path: String) async throws -> HTTPReply {
            let deadline = PatientClock.now + .seconds(60)
            while true {
                let reply = try await http.get(path)
                guard reply.status == 503, PatientClock.now < deadline else { return reply }
            }
        }
        for path in [
            "/api/users", "/api/users/paginated/list", "/api/graph", "/api/graph?includeConnections=false",
            "/api/users/stats/overview",
        ] {
            let reply = try await readInTime(path)
            #expect(reply.status == 500, "\(path)")
            let message = "Too many users for one answer. Please use the paginated list."
            #expect(reply.json["message"].string == message, "\(path)")
        }
        for path in ["/api/users/paginated/list?limit=1&page=2", "/api/graph?limit=1&page=2"] {
            let reply = try await readInTime(path)
            #expect(
                reply.status == 200 && reply.text.hasSuffix(#""total":16,"totalPages":16,"hasMore":true}}"#), "\(path)")
        }
        // 16 such users are 192 MiB.
        #expect(try ProcessMemory.peak(worker.pid) < 512 << 20)
    }
}
