import Foundation
import NIOCore
import TestSupport
import Testing

/// Clients of syncd that send as fast as they can harm themselves alone.
@Suite(.tags(.wholeMachine), .processes, .serialized) struct FloodTests {
    @Test func `others go on while three clients flood`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let syncd = try #require(host.syncd)
        let http = try host.connect()
        try await TestHost.createUser(http, "a")
        let other = try await syncd.connect(name: "other")
        try await other.store("flood", "value")
        let floods = [
            try Flood(.ping, reads: true, path: syncd.socketPath),
            try Flood(.invalidate, reads: true, path: syncd.socketPath),
            try Flood(.fetch, reads: false, path: syncd.socketPath),
        ]
        await eventually("all of them are served", within: .seconds(30)) {
            floods.allSatisfy { $0.bytes.sent > 1 << 17 }
        }
        _ = try await http.get("/api/users")
        for number in 0..<200 {
            #expect(try await other.command("PING", within: .seconds(2)).string == "PONG")
            #expect(try await http.request("GET", "/api/users", within: .seconds(2)).status == 200)
            guard number % 40 == 0 else { continue }
            let clients = try await syncd.status()["clients"]?.elements ?? []
            #expect(clients.allSatisfy { $0["in-flight"]?.number ?? 0 <= 1024 })
            // A writer's word counts at once, flood or not.
            try await TestHost.createUser(http, "b\(number)")
            #expect(try await http.get("/api/users").json.array?.count == 2 + number / 40)
        }
        #expect(try ProcessMemory.resident(syncd.pid) < 200 << 20)
        #expect(try ProcessMemory.resident(host.workers[0].pid) < 300 << 20)
        // A client that reads nothing is not read from either: it stops at the limit of one connection.
        let stuck = floods[2].bytes.sent
        #expect(stuck < 64 << 20, "\(stuck) bytes were taken of a client that reads nothing")
        for flood in floods { await flood.end() }
        #expect(try await other.command("PING").string == "PONG")
        try await eventually("reads come from the worker's own cache again") {
            try await http.get("/api/users").cache == "L1"
        }
    }

    /// Positions count how many invalidations came before one: nothing of this depends on how busy the machine is.
    @Test func `one request waits for few of those that others have sent before it`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        try await eventually("answers don't wait for the table any more") {
            try await syncd.connect().invalidate("a") > 0
        }
        let requests = String(repeating: "*3\r\n$10\r\nINVALIDATE\r\n$4\r\nTAGS\r\n$1\r\na\r\n", count: 1500)
        let floods = [try await syncd.connect(), try await syncd.connect()]
        let other = try await syncd.connect()
        let before = try await other.invalidate("b")
        syncd.pause()
        for flood in floods { try await flood.send(raw: requests) }
        try await other.send("INVALIDATE", "TAGS", "b")
        syncd.resume()
        let position = try #require(try await other.reply().number)
        // 84 of each are one turn.
        #expect(position - before <= 400, "\(position - before - 1) came first")
        for flood in floods {
            for _ in 0..<1500 { #expect(try await flood.reply().number != nil, "all of them are answered") }
        }
    }

    /// Redis takes one append after the other: what one process has sent there must not make the others' late.
    @Test func `with Redis, few appends of a process are under way at a time`() async throws {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(redis: redis)
        var floods: [RESPSocket] = []
        for _ in 0..<40 { floods.append(try await syncd.connect()) }
        let other = try await syncd.connect()
        let before = try await other.invalidate("b")
        let requests = String(repeating: "*3\r\n$10\r\nINVALIDATE\r\n$4\r\nTAGS\r\n$1\r\na\r\n", count: 90)
        syncd.pause()
        for flood in floods { try await flood.send(raw: requests) }
        try await other.send("INVALIDATE", "TAGS", "b")
        syncd.resume()
        let reply = try await other.reply()
        let position = try #require(reply.number, "\(reply)")
        // 512 are under way at a time; the next ones follow as Redis answers.
        #expect(position - before <= 2400, "\(position - before - 1) of 3600 came first")
        for flood in floods {
            for _ in 0..<90 { #expect(try await flood.reply().number != nil, "all of them are answered") }
        }
    }

    private static let isMeasuring = ProcessInfo.processInfo.environment["FLOOD"] != nil

    /// `FLOOD=1 swift test --filter FloodTests`: prints how long a cached read takes without and with a flood, in turns,
    /// so that whatever else the machine does hits both.
    @Test(.enabled(if: isMeasuring, "FLOOD=1 measures"), arguments: Flood.Kind.allCases)
    func `how long cached reads take`(kind: Flood.Kind) async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let syncd = try #require(host.syncd)
        let http = try host.connect()
        for number in 0..<20 { try await TestHost.createUser(http, "user \(number)") }
        _ = try await http.get("/api/users")
        let other = try await syncd.connect()
        try await other.store("flood", "value")
        try await other.store("quiet", "value")
        var quiet = Latencies(), flooded = Latencies()
        for _ in 0..<10 {
            try await quiet.measure(http, other)
            var floods: [Flood] = []
            for _ in 0..<3 { floods.append(try Flood(kind, reads: true, path: syncd.socketPath)) }
            try await flooded.measure(http, other)
            for flood in floods { await flood.end() }
        }
        print("\(kind.rawValue): L1 over HTTP \(Latencies.compared(quiet.http, flooded.http))")
        print("\(kind.rawValue): L2 over the socket \(Latencies.compared(quiet.socket, flooded.socket))")
    }
}

/// How long reads took, in microseconds.
private struct Latencies {
    var http: [Double] = []
    var socket: [Double] = []

    mutating func measure(_ connection: HTTPConnection, _ client: RESPSocket) async throws {
        let clock = ContinuousClock()
        for _ in 0..<1000 {
            let time = try await clock.measure {
                let reply = try await connection.get("/api/users")
                #expect(reply.cache == "L1")
            }
            http.append(time / .microseconds(1))
        }
        for _ in 0..<300 {
            let time = try await clock.measure { _ = try await client.command("FETCH", "quiet") }
            socket.append(time / .microseconds(1))
        }
    }

    static func compared(_ quiet: [Double], _ flooded: [Double]) -> String {
        func at(_ share: Double, _ times: [Double]) -> Double {
            times.sorted()[Int(Double(times.count - 1) * share)]
        }
        return [0.5, 0.99].map { share in
            let (one, other) = (at(share, quiet), at(share, flooded))
            let ratio = (other / one * 100).rounded() / 100
            return "p\(Int(share * 100)) \(Int(one)) µs, flooded \(Int(other)) µs: × \(ratio)"
        }.joined(separator: "; ")
    }
}
