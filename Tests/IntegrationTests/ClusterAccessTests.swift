import Foundation
import NIOCore
import TestSupport
import Testing

/// Permissions, certificates and replies of a cluster of one node, which has all slots, and no name for itself unless it
/// is given one.
@Suite(.tags(.manyProcesses), .processes) struct ClusterAccessTests {
    private static func cluster(_ options: [String] = []) async throws -> (RedisServer, ReservedPort) {
        let busPort = try ReservedPort()
        let node = try await RedisServer(["--cluster-enabled", "yes", "--cluster-port", "\(busPort.number)"] + options)
        let reply = try await node.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        #expect(reply.string == "OK", "\(reply)")
        return (node, busPort)
    }

    private func start(_ url: String, _ environment: [String: String] = [:]) async throws -> SyncdProcess {
        try await SyncdProcess(environment: environment.merging(["REDIS_ENABLED": "true", "REDIS_URL": url]) { $1 })
    }

    /// Which of publish and spublish the scripts of a node have used successfully.
    private func publications(_ node: RedisServer) async throws -> [String] {
        let stats = try await node.command("INFO", "commandstats").string ?? ""
        return ["publish", "spublish"].filter { name in
            stats.split(whereSeparator: \.isNewline).contains { line in
                line.hasPrefix("cmdstat_\(name):") && line.hasSuffix("rejected_calls=0,failed_calls=0")
            }
        }
    }

    // MARK: Permissions

    /// The words of the documented user, and of the additional ones for a cluster.
    private static func documented() throws -> [String] {
        let text = try String(contentsOfFile: "\(Executables.packageFolder)/docs/redis.md", encoding: .utf8)
        let start = try #require(text.range(of: "```\nuser syncd "))
        let end = try #require(text.range(of: "```", range: start.upperBound..<text.endIndex))
        let more = try #require(text.range(of: "of a [cluster](#cluster) needs `"))
        let last = try #require(text.range(of: "`", range: more.upperBound..<text.endIndex))
        return [start.upperBound..<end.lowerBound, more.upperBound..<last.lowerBound].flatMap {
            text[$0].split(whereSeparator: \.isWhitespace).map(String.init)
        }
    }

    @Test(arguments: [[], ["+spublish"], ["+cluster|nodes"]])
    func `the documented user, and one that may do less`(_ without: [String]) async throws {
        let (node, busPort) = try await Self.cluster()
        let words = try Self.documented().filter { !without.contains($0) }
        let reply = try await node.connect().command(
            (["ACL", "SETUSER", "syncd"] + words).map { ByteBuffer(string: $0) })
        #expect(reply.string == "OK", "\(reply)")
        let url = "redis+cluster://syncd:PASSWORD@127.0.0.1:\(node.portNumber)/"
        let hosts = [try await start(url), try await start(url)]
        for host in hosts { try await host.waitUntilAttached() }
        for turn in 1...4 {
            let position = try await hosts[turn % 2].command("INVALIDATE", "TAGS", "a").number
            #expect(position != nil)
            await eventually("the other host follows", details: { hosts[0].transcript + hosts[1].transcript }) {
                (try? await hosts[1 - turn % 2].status("log", "applied")?.number) == position
            }
        }
        #expect(try await publications(node) == [without.contains("+spublish") ? "publish" : "spublish"])
        let warnings = try await hosts[0].status("redis", "warnings")?.elements?.compactMap(\.string) ?? []
        if without.isEmpty {
            #expect(warnings.isEmpty)
            #expect(try await node.command("ACL", "LOG").elements?.isEmpty == true, "nothing was denied")
        }
        withExtendedLifetime(busPort) {}
    }

    /// No host hears the entries, by which it would know that an event is invalidated already.
    @Test func `users that may not listen to sharded channels, and events of other programs`() async throws {
        let (node, busPort) = try await Self.cluster()
        let words = try Self.documented().filter { $0 != "+ssubscribe" }
        _ = try await node.connect().command((["ACL", "SETUSER", "syncd"] + words).map { ByteBuffer(string: $0) })
        let url = "redis+cluster://syncd:PASSWORD@127.0.0.1:\(node.portNumber)/"
        let hosts = [try await start(url), try await start(url)]
        for host in hosts { try await host.waitUntilAttached() }
        for turn in 1...4 {
            let before = try await hosts[0].status("log", "applied")?.number ?? 0
            // Nobody can read this one, so it invalidates everything.
            try await node.command("PUBLISH", "user:updated", "nonsense \(turn)")
            for host in hosts {
                await eventually("each event is appended", details: { hosts[0].transcript + hosts[1].transcript }) {
                    (try? await host.status("log", "applied")?.number).flatMap { $0 } ?? 0 > before
                }
            }
        }
        let warnings = try await hosts[0].status("redis", "warnings")?.elements?.compactMap(\.string) ?? []
        #expect(warnings.contains { $0.contains("+ssubscribe") }, "\(warnings)")
        withExtendedLifetime(busPort) {}
    }

    /// As a server before 7.0.
    @Test func `a server without sharded channels`() async throws {
        let (node, busPort) = try await Self.cluster(
            ["SPUBLISH", "SSUBSCRIBE"].flatMap { ["--rename-command", $0, ""] })
        let syncd = try await start("redis+cluster://127.0.0.1:\(node.portNumber)/")
        try await syncd.waitUntilAttached()
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").number == 1)
        #expect(try await publications(node) == ["publish"])
        #expect(try await syncd.status("redis", "warnings")?.elements?.isEmpty == true)
        withExtendedLifetime(busPort) {}
    }

    @Test func `a host that uses the node by redis:// and one that uses the cluster`() async throws {
        let (node, busPort) = try await Self.cluster()
        let hosts = [
            try await start("redis+cluster://127.0.0.1:\(node.portNumber)/"), try await SyncdProcess(redis: node),
        ]
        for host in hosts { try await host.waitUntilAttached() }
        for turn in 1...6 {
            let position = try await hosts[turn % 2].command("INVALIDATE", "TAGS", "a").number
            #expect(position == turn)
            await eventually("the other host follows", details: { hosts[0].transcript + hosts[1].transcript }) {
                (try? await hosts[1 - turn % 2].status("log", "applied")?.number) == position
            }
        }
        withExtendedLifetime(busPort) {}
    }

    @Test func `CLUSTERDOWN: a slot that nobody serves, and is served again`() async throws {
        let (node, busPort) = try await Self.cluster()
        let syncd = try await start("redis+cluster://127.0.0.1:\(node.portNumber)/")
        try await syncd.waitUntilAttached()
        try await node.command("CLUSTER", "DELSLOTS", "0")
        await eventually("it is told", details: { syncd.transcript }) {
            _ = try? await syncd.command("INVALIDATE", "TAGS", "a")
            return (try? await syncd.status("log", "why")?.string)?.contains("CLUSTERDOWN") == true
        }
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").string == "DEFERRED")
        let reconnects = try await syncd.status("redis", "reconnects")?.number
        try await node.command("CLUSTER", "ADDSLOTS", "0")
        try await syncd.waitUntilAttached()
        #expect(try await syncd.status("log", "pending")?.number == 0)
        #expect(try await syncd.status("redis", "reconnects")?.number == reconnects, "the connections stay")
        withExtendedLifetime(busPort) {}
    }

    // MARK: Certificates

    @Test(arguments: [nil, "localhost"])
    func `a node's certificate is for its host in the URL, or as the cluster announces it`(
        _ announced: String?
    ) async throws {
        let authority = try await CertificateAuthority()
        let names = announced.map { "DNS:\($0)" } ?? "IP:127.0.0.1"
        let busPort = try ReservedPort()
        var options = [
            "--cluster-enabled", "yes", "--cluster-port", "\(busPort.number)", "--tls-cluster", "yes",
            "--cluster-announce-ip", "127.0.0.1",
        ]
        if let announced {
            options += ["--cluster-announce-hostname", announced, "--cluster-preferred-endpoint-type", "hostname"]
        }
        let redis = try await TLSRedis(try await authority.issue("node", names: names), options)
        try await redis.server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        let trust = ["REDIS_TLS_CA_FILE": authority.certificate]
        let host = announced ?? "127.0.0.1"
        let syncd = try await start("rediss+cluster://\(host):\(redis.port.number)/", trust)
        try await syncd.waitUntilAttached()
        #expect(try await syncd.status("redis", "primary")?.string == "\(host):\(redis.port.number)")
        // The node under another host than that of its certificate.
        let wrong = announced == nil ? "localhost" : "127.0.0.1"
        let refused = try await start("rediss+cluster://\(wrong):\(redis.port.number)/", trust)
        try await refused.expectRefusal(
            "node \(wrong):\(redis.port.number): TLS: the server's certificate is not for the \(wrong == "localhost" ? "name" : "address") \(wrong)"
        )
    }
}
