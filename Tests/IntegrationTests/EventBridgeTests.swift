import IPCWire
import NIOCore
import TestSupport
import Testing

/// Programs that know nothing of syncd publish events on a real Redis; hosts with real daemons hear them.
@Suite(.tags(.servers), .processes) struct EventBridgeTests {
    /// Hosts on one Redis whose subscriptions have seen the same last entry.
    private func hosts(
        _ count: Int, on redis: RedisServer, environment: [String: String] = [:]
    ) async throws -> [SyncdProcess] {
        var hosts: [SyncdProcess] = []
        for _ in 0..<count { hosts.append(try await SyncdProcess(redis: redis, environment: environment)) }
        for host in hosts { try await waitUntilListening(host) }
        try await hosts[0].command("INVALIDATE", "TAGS", "first")
        return hosts
    }

    private func waitUntilListening(_ host: SyncdProcess) async throws {
        try await host.waitUntilAttached()
        try await eventually("both connections to Redis are up", details: { host.transcript }) {
            try await host.status("redis", "connections")?.number == 2
        }
    }

    private func position(_ redis: RedisServer, namespace: String = "syncd") async throws -> Int {
        try await redis.command("GET", "{\(namespace)}:position").string.flatMap { Int($0) } ?? 0
    }

    /// Publishes events in one go.
    private func publish(_ payloads: [String], on channel: String, _ redis: RedisServer) async throws {
        let socket = try redis.connect()
        for payload in payloads { try await socket.send("PUBLISH", channel, payload) }
        for _ in payloads { _ = try await socket.reply() }
    }

    /// Waits until every host has applied a position.
    private func waitUntilApplied(_ position: Int, by hosts: [SyncdProcess]) async throws {
        for host in hosts {
            try await eventually("position \(position) is applied", details: { host.transcript }) {
                try await host.status("log", "applied")?.number == position
            }
        }
    }

    /// The entries of the log, as they lie in the stream.
    private func entries(_ redis: RedisServer) async throws -> [String] {
        let entries = try await redis.command("XRANGE", "{syncd}:stream", "-", "+").elements ?? []
        return entries.map { Self.withoutNote($0.elements?.last?.elements?.last?.string ?? "") }
    }

    /// An entry up to its tags: the last element says when it was sent.
    private static func withoutNote(_ entry: String) -> String {
        let lines = entry.components(separatedBy: "\r\n")
        guard lines.count > 3, lines[lines.count - 2].contains("@s") else { return entry }
        return lines.dropLast(3).joined(separator: "\r\n") + "\r\n"
    }

    @Test func `N events of another program are N entries, whichever number of hosts hears them`() async throws {
        let redis = try await RedisServer()
        let hosts = try await hosts(2, on: redis)
        let before = try await position(redis)
        try await publish((0..<300).map { #"{"userId":"u\#($0)","timestamp":1}"# }, on: "user:updated", redis)
        // Equal ones, too.
        try await publish(Array(repeating: #"{"userId":"a","friendId":"b"}"#, count: 100), on: "users:linked", redis)
        try await publish([#"{"tags":["x","y"]}"#, #"{"pattern":"users:*"}"#, "?"], on: "cache:invalidate", redis)
        try await waitUntilApplied(before + 403, by: hosts)
        for host in hosts {
            try await eventually("all of them are heard") {
                try await host.status("fanout", "bridged")?.number == 403
            }
        }
        // Nothing comes after them: what both hosts append next is next.
        for host in hosts.reversed() { try await host.command("INVALIDATE", "TAGS", "last") }
        #expect(try await position(redis) == before + 405)
        let entries = try await entries(redis).suffix(405)
        for number in 0..<300 {
            #expect(entries.count { $0.contains("\r\nuser:u\(number)\r\n") } == 1)
        }
        #expect(entries.count { $0.hasSuffix("\r\n$1\r\n*\r\n") } == 1)
        #expect(try await redis.command("KEYS", "{syncd}:bridged:*").elements?.count == 403)
    }

    @Test func `an event makes the caches of every host fresh`() async throws {
        let redis = try await RedisServer()
        let hosts = try await hosts(2, on: redis)
        let key = "user:1"
        for host in hosts {
            let socket = try await host.connect()
            let lease = try await socket.command("FETCH", key).elements
            if lease?.first?.string == "lease", let id = lease?[1].number {
                #expect(try await socket.command("FILL", key, "\(id)", "60000", "1", "user:1", "old").string == "OK")
            }
            #expect(try await socket.command("FETCH", key).elements?.first?.string == "hit")
        }
        try await publish([#"{"userId":"1"}"#], on: "user:updated", redis)
        for host in hosts {
            try await eventually("the value is gone") {
                try await host.command("FETCH", key).elements?.first?.string != "hit"
            }
        }
    }

    @Test func `an event of a worker is not bridged, nor one that a client publishes through syncd`() async throws {
        let redis = try await RedisServer()
        let hosts = try await hosts(2, on: redis)
        let before = try await position(redis)
        let listener = try await hosts[1].connect()
        try await listener.send("SUBSCRIBE", "user:updated", "user:created")
        _ = try #require(try await listener.push("subscribe") { $0[1].string == "user:created" })
        let payload = #"{"userId":"1"}"#
        for _ in 0..<50 {
            try await hosts[0].command("INVALIDATE", "EVENT", "user:updated", payload, "TAGS", "users")
        }
        #expect(try await hosts[0].command("PUBLISH", "user:created", payload).number == 0)
        #expect(try await listener.push("message") { $0[1].string == "user:created" } != nil)
        try await waitUntilApplied(before + 51, by: hosts)
        for host in hosts.reversed() { try await host.command("INVALIDATE", "TAGS", "last") }
        #expect(try await position(redis) == before + 53)
        #expect(try await hosts[1].status("fanout", "bridged")?.number == 0)
        #expect(
            try await entries(redis).contains { $0.contains("$12\r\nuser:created\r\n$5\r\nusers\r\n$6\r\nuser:1\r\n") })
    }

    @Test func `a host that stood still finds its events in the log`() async throws {
        let redis = try await RedisServer()
        let hosts = try await hosts(2, on: redis)
        let before = try await position(redis)
        hosts[1].pause()
        try await publish((0..<50).map { #"{"userId":"u\#($0)"}"# }, on: "user:updated", redis)
        try await eventually("the other host appends them") { try await position(redis) == before + 50 }
        hosts[1].resume()
        try await eventually("it hears them, too", details: { hosts[1].transcript }) {
            try await hosts[1].status("fanout", "bridged")?.number == 50
        }
        try await waitUntilApplied(before + 50, by: hosts)
        #expect(try await position(redis) == before + 50)
    }

    /// Ids of the connections that listen, the oldest first.
    private func listeners(_ redis: RedisServer) async throws -> [Substring] {
        let list = try await redis.command("CLIENT", "LIST").string ?? ""
        return list.split(separator: "\n")
            .filter { $0.contains("name=syncd-subscriptions") && !$0.contains(" sub=0 ") }
            .compactMap { $0.split(separator: " ").first?.dropFirst("id=".count) }
    }

    @Test func `whichever hosts are cut off or killed, an event that one of them hears is in the log`() async throws {
        let redis = try await RedisServer()
        let hosts = try await hosts(3, on: redis)
        for round in 0..<6 {
            try await eventually("all hosts listen") { try await listeners(redis).count == 3 }
            if round < 3 {
                for id in try await listeners(redis).dropFirst() {
                    try await redis.command("CLIENT", "KILL", "ID", "\(id)")
                }
            } else {
                hosts[round % 3].kill()
                hosts[(round + 1) % 3].kill()
            }
            try await publish((0..<20).map { #"{"userId":"r\#(round)-\#($0)"}"# }, on: "user:updated", redis)
            let isThere = try await eventually("every event is in the log", details: { hosts[2].transcript }) {
                let entries = try await entries(redis).joined()
                return (0..<20).allSatisfy { entries.contains("\r\nuser:r\(round)-\($0)\r\n") }
            }
            guard isThere else { return }
            if round >= 3 {
                try await hosts[round % 3].start()
                try await hosts[(round + 1) % 3].start()
            }
        }
    }

    @Test func `two namespaces on one Redis hear each other's events and do not echo`() async throws {
        let redis = try await RedisServer()
        let one = try await SyncdProcess(redis: redis, environment: ["SYNCD_NAMESPACE": "one"])
        let two = try await SyncdProcess(redis: redis, environment: ["SYNCD_NAMESPACE": "two"])
        for host in [one, two] { try await waitUntilListening(host) }
        for _ in 0..<10 {
            try await one.command("INVALIDATE", "EVENT", "user:updated", #"{"userId":"1"}"#, "TAGS", "users")
        }
        try await waitUntilApplied(10, by: [two])
        #expect(try await two.command("INVALIDATE", "TAGS", "last").number == 11)
        #expect(try await one.command("INVALIDATE", "TAGS", "last").number == 11)
    }

    @Test func `an event that cannot be read makes everything fresh, and is told once`() async throws {
        let redis = try await RedisServer()
        let hosts = try await hosts(2, on: redis)
        for payload in ["", "\u{1}\u{2}", "{}", #"{"user":"1"}"#, #"{"userId":{"$oid":"1"}}"#, #"[{"userId":"1"}]"#] {
            for host in hosts {
                try await host.connect().storeIfAbsent("user:1", "old", tags: ["user:1"])
            }
            try await publish([payload], on: "user:updated", redis)
            for host in hosts {
                try await eventually("the value is gone: \(payload)") {
                    try await host.connect().present("user:1") == nil
                }
            }
        }
        for host in hosts {
            let told = host.log.split(separator: "\n").filter { $0.contains("an event cannot be read") }
            #expect(told.count == 1 && told[0].contains("user:updated"), "\(told)")
        }
        // Encoded twice it can be read.
        let before = try await position(redis)
        try await publish([#""{\"userId\":\"7\"}""#], on: "user:updated", redis)
        try await waitUntilApplied(before + 1, by: hosts)
        #expect(try await entries(redis).last?.hasSuffix("$5\r\nusers\r\n$6\r\nuser:7\r\n") == true)
    }

    @Test func `a flood of events that cannot be read is no flood of entries`() async throws {
        let redis = try await RedisServer()
        let hosts = try await hosts(2, on: redis)
        let before = try await position(redis)
        try await publish(Array(repeating: "?", count: 20_000), on: "user:updated", redis)
        for host in hosts {
            try await eventually("all of them are heard", details: { host.transcript }) {
                try await host.status("fanout", "bridged")?.number == 20_000
            }
            #expect(try await host.command("INVALIDATE", "TAGS", "after").number != nil)
        }
        #expect(try await position(redis) - before < 5000)
    }

    @Test func `rules are configuration`() async throws {
        let redis = try await RedisServer()
        let off = try await SyncdProcess(
            redis: redis, environment: ["SYNCD_BRIDGE": "false", "SYNCD_NAMESPACE": "off"])
        let own = try await SyncdProcess(
            redis: redis, environment: ["SYNCD_BRIDGE_RULES": "stock item:{sku} items", "SYNCD_NAMESPACE": "own"])
        for host in [off, own] { try await waitUntilListening(host) }
        try await publish([#"{"userId":"1"}"#], on: "user:updated", redis)
        try await publish([#"{"sku":7}"#], on: "stock", redis)
        try await waitUntilApplied(1, by: [own])
        let entry = try await redis.command("XRANGE", "{own}:stream", "-", "+").elements?.first?.elements?.last
        let text = Self.withoutNote(entry?.elements?.last?.string ?? "")
        #expect(text.hasSuffix("$5\r\nitems\r\n$6\r\nitem:7\r\n"))
        #expect(try await off.command("INVALIDATE", "TAGS", "last").number == 1)

        let refused = try await ChildProcess.run(
            try Executables.built("syncd"), ["run", "--bridge-rules", "stock"],
            environment: ["SYNCD_SOCKET": own.directory.file("other.sock")])
        #expect(refused.exit == .status(78))
        #expect(refused.errors.contains("SYNCD_BRIDGE_RULES"))
    }

    @Test func `embedded, what a client publishes invalidates`() async throws {
        let host = try await SyncdProcess()
        try await host.waitUntilAttached()
        let before = try await host.status("log", "applied")?.number ?? 0
        #expect(try await host.command("PUBLISH", "user:deleted", #"{"userId":"1"}"#).number == 0)
        #expect(try await host.command("PUBLISH", "weather", "{}").number == 0)
        #expect(try await host.status("log", "applied")?.number == before + 1)
    }
}
