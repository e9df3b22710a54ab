import Foundation
import NIOCore
import TestSupport
import Testing

/// `syncd doctor` with real servers whose permissions, settings or TLS were made worse, and the warnings of STATUS.
@Suite(.tags(.servers), .processes) struct DoctorSettingsTests {
    /// Runs the doctor as the documented user, without some of the permissions.
    private func examine(without: [String] = [], adding: [String] = []) async throws -> Examination {
        let redis = try await RedisServer()
        let words = try ACLTests.documented().filter { !without.contains($0) } + adding
        let reply = try await redis.connect().command(
            (["ACL", "SETUSER", "syncd"] + words).map { ByteBuffer(string: $0) })
        #expect(reply.string == "OK", "\(reply)")
        let examination = try await Examination(["redis://syncd:PASSWORD@127.0.0.1:\(redis.portNumber)"])
        #expect(!examination.description.contains("PASSWORD"))
        #expect(try await redis.command("DBSIZE").number == 0, "nothing is left: \(examination)")
        return examination
    }

    // MARK: Permissions

    @Test func `the documented user, with and without channels for the test`() async throws {
        let documented = try await examine()
        #expect(documented.exit == .status(0) && documented.bad == ["publish-subscribe note"], "\(documented)")
        documented.expect("publish-subscribe", "note", "&{syncd}:doctor:*")
        let more = try await examine(adding: ["&{syncd}:doctor:*"])
        #expect(more.exit == .status(0) && more.bad.isEmpty, "\(more)")
    }

    @Test(arguments: [
        (["+eval", "+evalsha"], "scripts failure", "+eval"), (["+eval"], "scripts failure", "'eval'"),
        (["+xadd"], "log failure", "+xadd"), (["+type"], "log failure", "+type"),
        (["+mget"], "read-your-writes failure", "mget"),
        (["~{syncd}:*"], "read-your-writes failure", "NOPERM"),
        (["&{syncd}:log"], "publish-subscribe failure", "&{syncd}:log"),
        (["+publish"], "publish-subscribe failure", "+publish"),
        (["+subscribe"], "publish-subscribe failure", "+subscribe"),
        (["+info"], "identity warning", "+info"), (["+role"], "role warning", "+role"),
        (["&user:*"], "event-channels warning", "user:created"),
        (["+psubscribe"], "event-channels warning", "PSUBSCRIBE"),
        (["+script|load"], "script-names note", "+script|load"), (["+evalsha"], "script-names note", "+evalsha"),
        (["+strlen"], "values note", "+strlen"), (["+pttl"], "values warning", "+pttl"),
    ])
    func `a missing permission`(_ without: [String], _ finding: String, _ text: String) async throws {
        let words = finding.split(separator: " ").map(String.init)
        let examination = try await examine(without: without)
        examination.expect(words[0], words[1], text)
        let status: Int32 = ["note": 0, "warning": 1, "failure": 2][words[1]] ?? -1
        // Without EVAL and other commands, several checks fail.
        if case .status(let found) = examination.exit { #expect(found >= status, "\(examination)") }
        if words[1] != "failure" { #expect(examination.exit == .status(status), "\(examination)") }
    }

    /// Managed services take commands away by name, not by permission.
    @Test func `commands that the server does not know`() async throws {
        let names = ["INFO", "ROLE", "CLIENT", "SCRIPT", "EVALSHA", "CONFIG", "HELLO", "SSUBSCRIBE", "CLUSTER"]
        let redis = try await RedisServer(names.flatMap { ["--rename-command", $0, "HIDDEN-\($0)"] })
        let examination = try await Examination([redis.url])
        #expect(examination.exit == .status(1), "\(examination)")
        #expect(
            examination.bad == ["clients note", "identity warning", "role warning", "script-names note"],
            "\(examination)")
        examination.expect("sharded-channels", "ok", "not offered")
        examination.expect("tracking", "ok", "not permitted")
    }

    @Test func `a server that speaks RESP2 only`() async throws {
        let redis = try await RedisServer(["--rename-command", "HELLO", ""])
        let examination = try await Examination([redis.url])
        #expect(examination.exit == .status(0) && examination.bad.isEmpty, "\(examination)")
        examination.expect("protocol", "ok", "RESP2 only")
    }

    // MARK: Settings

    @Test(arguments: [("allkeys-lru", "warning"), ("noeviction", "warning"), ("volatile-lru", "ok")])
    func `an eviction policy`(policy: String, verdict: String) async throws {
        let redis = try await RedisServer(["--maxmemory", "100mb", "--maxmemory-policy", policy])
        let examination = try await Examination([redis.url])
        #expect(examination.exit == .status(verdict == "ok" ? 0 : 1), "\(examination)")
        examination.expect("eviction", verdict, policy)
        if verdict != "ok" { examination.expect("eviction", verdict, "set maxmemory-policy volatile-lru") }
    }

    @Test func `memory that is full`() async throws {
        let redis = try await RedisServer(["--maxmemory", "1", "--maxmemory-policy", "noeviction"])
        let examination = try await Examination([redis.url])
        #expect(examination.exit == .status(2), "\(examination)")
        examination.expect("memory", "warning", "in use")
        examination.expect("log", "failure", "OOM", "docs/redis.md")
    }

    @Test func `too few replicas, and small buffers`() async throws {
        let redis = try await RedisServer([
            "--min-replicas-to-write", "1", "--client-output-buffer-limit", "pubsub 100kb 0 0",
        ])
        let examination = try await Examination([redis.url])
        #expect(examination.exit == .status(2), "\(examination)")
        examination.expect("replication", "warning", "NOREPLICAS")
        examination.expect("log", "failure", "NOREPLICAS")
        examination.expect("limits", "warning", "client-output-buffer-limit")
    }

    // MARK: TLS

    @Test func `TLS, its certificate, and one that ends soon`() async throws {
        let authority = try await CertificateAuthority()
        for (days, verdict) in [(30, "ok"), (5, "warning")] {
            let redis = try await TLSRedis(try await authority.issue("s\(days)", names: "DNS:localhost", days: days))
            let examination = try await Examination(
                [redis.url("localhost"), "--redis-tls-ca-file", authority.certificate])
            #expect(examination.exit == .status(verdict == "ok" ? 0 : 1), "\(examination)")
            examination.expect("tls", verdict, "TLS 1.3, TLS_AES_", "DNS:localhost")
            let shown = try #require(examination.findings["tls"]?.figures["certificate-days"] as? Int)
            #expect((days - 1...days).contains(shown))
        }
    }

    @Test func `TLS 1․1, and a certificate that nobody trusts`() async throws {
        let authority = try await CertificateAuthority()
        let identity = try await authority.issue("server", names: "DNS:localhost")
        let old = try await TLSRedis(identity, ["--tls-protocols", "TLSv1.1", "--tls-ciphers", "ALL:@SECLEVEL=0"])
        let refused = try await Examination([old.url("localhost"), "--redis-tls-ca-file", authority.certificate])
        #expect(refused.exit == .status(2) && refused.bad == ["connection failure"], "\(refused)")
        refused.expect("connection", "failure", "TLS 1.1", "enable TLS 1.2")
        let redis = try await TLSRedis(identity)
        let untrusted = try await Examination([redis.url("localhost")])
        #expect(untrusted.exit == .status(2), "\(untrusted)")
        untrusted.expect("connection", "failure", "REDIS_TLS_CA_FILE")
    }

    // MARK: STATUS

    @Test func `STATUS warns of a cluster and of connections that are nearly all in use`() async throws {
        let cluster = try await ClusterNode(["--maxclients", "20"])
        try await cluster.serve(0...16_383)
        try await cluster.waitUntilWhole()
        let node = cluster.server
        let limit = try await node.command("CONFIG", "GET", "maxclients").elements?.last?.string.flatMap { Int($0) }
        let others = try (0..<(limit ?? 0) - 3).map { _ in try node.connect() }
        let syncd = try await SyncdProcess(redis: node)
        try await syncd.waitUntilAttached()
        let warnings = try #require(try await syncd.status("redis", "warnings")?.elements?.compactMap(\.string))
        #expect(warnings.contains { $0.contains("redis+cluster://") }, "\(warnings)")
        #expect(warnings.contains { $0.contains("maxclients \(limit ?? 0)") }, "\(warnings)")
        withExtendedLifetime(others) {}
    }

    @Test func `STATUS warns of an eviction policy that is unknown`() async throws {
        let redis = try await RedisServer()
        let proxy = try await RedisProxy(redis)
        let text = try #require(try await redis.command("INFO").string)
            .replacing("maxmemory_policy:noeviction", with: "maxmemory_policy:oldest-first")
        proxy.setRule { words in words[0] == "INFO" ? .answer("$\(text.utf8.count)\r\n\(text)\r\n") : .forward }
        let syncd = try await SyncdProcess(environment: ["REDIS_ENABLED": "true", "REDIS_URL": proxy.url])
        try await syncd.waitUntilAttached()
        let warnings = try #require(try await syncd.status("redis", "warnings")?.elements?.compactMap(\.string))
        #expect(warnings.contains { $0.hasPrefix("maxmemory-policy oldest-first is unknown") }, "\(warnings)")
        #expect(syncd.log.contains("Redis may lose or refuse the log"))
        let examination = try await Examination([proxy.url])
        examination.expect("eviction", "warning", "oldest-first")
    }
}
