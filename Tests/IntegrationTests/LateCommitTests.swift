import Foundation
import TestSupport
import Testing

/// A worker whose way to MongoDB is cut while others can reach it.
@Suite(.tags(.servers), .processes) struct LateCommitTests {
    @Test func `a link that is committed late is seen by other workers at once`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let syncd = try #require(host.syncd)
        let proxy = try await TCPProxy(to: host.mongo.portNumber)
        let port = try ReservedPort()
        let cut = try await WorkerProcess(
            port: port, database: "mongodb://127.0.0.1:\(proxy.portNumber)/\(host.database)",
            socketPath: syncd.socketPath)
        let (http, far) = (try host.connect(), try HTTPConnection(port: port.number))
        let one = try await TestHost.createUser(http, "a")
        let other = try await TestHost.createUser(http, "b")
        try await eventually("the other worker is attached") {
            try await far.get("/").json["sync"].string == "attached"
        }
        proxy.stall(at: "commitTransaction")
        let reply = try await far.request("POST", "/api/users/\(one)/link", body: #"{"friendId":"\#(other)"}"#)
        #expect(reply.status == 503 && proxy.isStalled)
        // Past the second invalidation that syncd makes by itself.
        try await Task.sleep(for: .seconds(8))
        let before = try await http.get("/api/users/\(one)")
        #expect(before.json["friends"].array?.isEmpty == true, "\(before.text)")
        let again = try await http.get("/api/users/\(one)")
        #expect(["L1", "L2"].contains(again["x-cache"] ?? ""), "it is cached: \(again["x-cache"] ?? "")")
        try await proxy.resume()
        try await eventually("the link is seen", within: .seconds(10), details: { cut.transcript + host.transcript }) {
            try await http.get("/api/users/\(one)").json["friends"].array?.count == 1
        }
    }
}
