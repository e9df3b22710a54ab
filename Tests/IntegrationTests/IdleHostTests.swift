import TestSupport
import Testing

/// docs/consistency.md, "Idle hosts", with real processes.
@Suite(.tags(.manyProcesses), .processes) struct IdleHostTests {
    private func state(_ host: TestHost) async throws -> String? {
        try await host.syncd?.status("log", "state")?.string
    }

    /// Commands that the server has executed, but for INFO, by which they are counted.
    private func commands(_ redis: RedisServer) async throws -> Int {
        let text = try await redis.command("INFO", "commandstats").string ?? ""
        return text.split(separator: "\r\n").reduce(0) { sum, line in
            guard line.hasPrefix("cmdstat_"), !line.hasPrefix("cmdstat_info"),
                let calls = line.split(separator: ":").last?.split(separator: ",").first, calls.hasPrefix("calls=")
            else { return sum }
            return sum + (Int(calls.dropFirst("calls=".count)) ?? 0)
        }
    }

    private func idle() async throws -> (TestHost, HTTPConnection) {
        let host = try await TestHost.start(workers: 1, home: .redis)
        let http = try host.connect()
        try await TestHost.createUser(http, "anna")
        for _ in 0..<3 { #expect(try await http.get("/api/users").status == 200) }
        try await eventually("the host is idle", within: .seconds(60), details: { host.transcript }) {
            try await state(host) == "idle"
        }
        return (host, http)
    }

    @Test func `Redis is asked for next to nothing, and the first reader gets a cached value`() async throws {
        let (host, http) = try await idle()
        let redis = try #require(host.redis)
        // The last probe before this one vouches for 2 s more, and the subscription is asked once more.
        try await Task.sleep(for: .seconds(4))
        let before = try await commands(redis)
        try await Task.sleep(for: .seconds(10))
        #expect(try await commands(redis) - before <= 5, "70 before hosts could be idle")
        #expect(try await state(host) == "idle")
        let health = try await http.get("/").json
        #expect(health["sync"].string == "attached" && health["redis"].string == "connected")
        let reply = try await http.get("/api/users")
        #expect(["L1", "L2"].contains(reply["x-cache"]), "\(reply["x-cache"] ?? "no X-Cache")")
        #expect(try await state(host) == "attached")
        let metrics = try await http.get("/metrics").text
        #expect(metrics.contains("apiworker_"))
    }

    @Test func `what another host has written meanwhile is seen by the first reader`() async throws {
        let (host, http) = try await idle()
        let redis = try #require(host.redis)
        let other = try await Host(redis)
        try await other.client.invalidate("users")
        try await Task.sleep(for: .seconds(3))
        #expect(try await state(host) == "idle", "an invalidation is no reading")
        #expect(try await http.get("/api/users")["x-cache"] == "MISS")
    }

    @Test func `hits in a worker's memory keep its host in use`() async throws {
        let host = try await TestHost.start(workers: 1, home: .redis)
        let http = try host.connect()
        for _ in 0..<25 {
            for _ in 0..<10 {
                _ = try await http.get("/api/users")
                try await Task.sleep(for: .milliseconds(100))
            }
            #expect(try await state(host) == "attached")
        }
        #expect(try await http.get("/api/users")["x-cache"] == "L1")
    }
}
