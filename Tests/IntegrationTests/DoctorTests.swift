import Foundation
import IPCWire
import NIOCore
import TestSupport
import Testing

/// `syncd doctor` with real servers, good ones and ones that were made worse on purpose.
@Suite(.tags(.servers), .processes) struct DoctorTests {
    // MARK: Good servers

    @Test func `a good server, and a deployment that is not disturbed`() async throws {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        _ = try await syncd.command("INVALIDATE", "TAGS", "a")
        let before = try await syncd.status("log", "epoch")
        let keys = try await redis.command("DBSIZE")
        let position = try await redis.command("GET", "{syncd}:position")
        let stream = try await redis.command("XRANGE", "{syncd}:stream", "-", "+")

        let examination = try await Examination([redis.url])
        #expect(examination.exit == .status(0) && examination.bad.isEmpty, "\(examination)")
        for check in [
            "connection", "tls", "server", "identity", "role", "scripts", "script-names", "log", "values",
            "read-your-writes", "publish-subscribe", "sharded-channels", "event-channels", "eviction", "memory",
            "clients", "limits", "round-trip", "replication", "persistence", "tracking", "protocol", "commands",
        ] { #expect(examination[check] == "ok", "\(check)") }
        #expect(examination.findings["read-your-writes"]?.figures["rounds"] as? Int == 100)
        examination.expect("protocol", "ok", "RESP3")

        #expect(try await redis.command("DBSIZE") == keys, "nothing is left")
        #expect(try await redis.command("GET", "{syncd}:position") == position)
        #expect(try await redis.command("XRANGE", "{syncd}:stream", "-", "+") == stream)
        #expect(try await syncd.isAttached)
        #expect(try await syncd.status("log", "epoch") == before)
        for text in ["isolated:", "another deployment", "replaced", "cannot be read"] {
            let lines = syncd.log.split(separator: "\n").filter { $0.contains(text) }
            #expect(lines.count <= (text == "replaced" ? 1 : 0), "the first start makes a log: \(lines)")
        }
    }

    @Test func `the table`() async throws {
        let redis = try await RedisServer(["--requirepass", "s3cret", "--maxmemory", "100mb"])
        let url = "redis://:s3cret@127.0.0.1:\(redis.portNumber)/2"
        let finished = try await ChildProcess.run(
            try Executables.built("syncd"), ["doctor"], environment: ["REDIS_URL": url, "REDIS_ENABLED": "true"])
        #expect(finished.exit == .status(1), "\(finished)")
        #expect(!finished.output.contains("s3cret") && finished.errors.isEmpty)
        let lines = finished.output.split(separator: "\n")
        #expect(lines.first == "\(redis.url)/2  namespace syncd")
        #expect(lines.contains { $0.hasPrefix("warning  eviction") && $0.contains("noeviction") })
        #expect(lines.contains { $0.contains("do: set maxmemory-policy volatile-lru") })
        #expect(lines.contains { $0.hasPrefix("ok       database") })
        #expect(lines.last?.hasPrefix("1 warning") == true)
        for line in lines { #expect(line.count <= 98, "\(line)") }
    }

    @Test func `the settings of the daemon`() async throws {
        let redis = try await RedisServer()
        let folder = try TemporaryDirectory()
        let secret = try folder.write("\(redis.url)\n", to: "url")
        let file = try folder.write("REDIS_URL_FILE=\(secret)\nSYNCD_NAMESPACE=other\n", to: "syncd.conf")
        let configured = try await Examination(["--config", file])
        #expect(configured.exit == .status(0) && configured.bad == ["settings note"], "\(configured)")
        configured.expect("settings", "note", "REDIS_ENABLED is false")
        #expect(configured.description.contains("\"namespace\": \"other\""))
        let enabled = try await Examination(["--config", file], environment: ["REDIS_ENABLED": "true"])
        #expect(enabled.bad.isEmpty, "\(enabled)")
        let given = try await Examination(["\(redis.url)?protocol=3", "--config", file])
        #expect(given.bad == ["settings note"], "\(given)")
        for (arguments, text) in [
            (["nonsense://x"], "unknown scheme"), (["rediss://x", "--redis-tls-ca-file", "/nowhere"], "/nowhere"),
            (["redis://x", "--namespace", "{"], "SYNCD_NAMESPACE"), (["--config", "/nowhere"], "/nowhere"),
        ] {
            let invalid = try await Examination(arguments)
            #expect(invalid.exit == .status(78) && invalid.error?.contains(text) == true, "\(invalid)")
        }
    }

    @Test func `over a Unix socket, and a name`() async throws {
        let redis = try await RedisServer()
        let socket = try await Examination(["unix://\(redis.socketPath)"])
        #expect(socket.exit == .status(0) && socket.bad.isEmpty, "\(socket)")
        let name = try await Examination(["redis://localhost:\(redis.portNumber)"])
        #expect(name.exit == .status(0), "\(name)")
        #expect(name.findings["connection"]?.figures["lookup-us"] is Int)
    }

    @Test func `the primary that sentinels name`() async throws {
        let cluster = try await SentinelCluster()
        let examination = try await Examination([cluster.url])
        #expect(examination.exit == .status(0), "\(examination)")
        examination.expect("connection", "ok", "127.0.0.1:\(cluster.primary.portNumber): search")
    }

    // MARK: Servers that do not answer, or refuse

    @Test func `no server, and one that is silent`() async throws {
        let redis = try await RedisServer()
        redis.pause()
        let silent = try await Examination([redis.url])
        redis.resume()
        redis.kill()
        let absent = try await Examination([redis.url])
        for (examination, text) in [(silent, "within 2 s"), (absent, "Connection refused")] {
            #expect(examination.exit == .status(69) && examination.bad == ["connection failure"], "\(examination)")
            examination.expect("connection", "failure", text, "isolated")
        }
    }

    @Test func `a server of another kind than the URL says`() async throws {
        let redis = try await RedisServer()
        let plain = "127.0.0.1:\(redis.portNumber)"
        let sentinel = try await Examination(["redis+sentinel://\(plain)/mymaster"])
        #expect(sentinel.exit == .status(2), "\(sentinel)")
        sentinel.expect("connection", "failure", "it is no sentinel: use redis://", "correct the URL")
        let tls = try await Examination(["rediss://\(plain)"])
        tls.expect("connection", "failure", "TLS", "redis://")
        #expect(tls.findings["connection"]?.advice.contains("start the server") == false, "\(tls)")
    }

    @Test func `a wrong password, and none`() async throws {
        let redis = try await RedisServer(["--requirepass", "right"])
        for (login, code) in [(":wr0ng@", "WRONGPASS"), ("", "NOAUTH")] {
            let examination = try await Examination(["redis://\(login)127.0.0.1:\(redis.portNumber)"])
            #expect(examination.exit == .status(2) && !examination.description.contains("wr0ng"), "\(examination)")
            examination.expect("connection", "failure", code, "correct the URL")
        }
    }

    @Test func `a replica`() async throws {
        let primary = try await RedisServer()
        let replica = try await RedisServer(["--replicaof", "127.0.0.1", "\(primary.portNumber)"])
        let examination = try await Examination([replica.url])
        #expect(examination.exit == .status(2), "\(examination)")
        examination.expect("role", "failure", "replica", "isolated", "address of the primary")
        examination.expect("log", "failure", "READONLY")
        examination.expect("read-your-writes", "failure", "READONLY")
    }

    // MARK: Reads that do not see the latest write

    /// Connections are balanced between a primary and a replica that is behind and takes writes: the second connection
    /// of the doctor reaches the replica.
    @Test func `a replica that answers reads`() async throws {
        let primary = try await RedisServer()
        let link = try await TCPProxy(to: primary.portNumber)
        let replica = try await RedisServer([
            "--replicaof", "127.0.0.1", "\(link.portNumber)", "--replica-read-only", "no", "--repl-diskless-sync-delay",
            "0",
        ])
        try await eventually("the replica is there", details: { replica.log }) {
            try await replica.command("INFO", "replication").string?.contains("master_link_status:up") == true
        }
        link.stall()
        let proxy = try await TCPProxy(to: primary.portNumber, alternatingWith: replica.portNumber)
        let examination = try await Examination(["redis://127.0.0.1:\(proxy.portNumber)"])
        #expect(examination.exit == .status(2), "\(examination)")
        examination.expect("read-your-writes", "failure", "replicas answer reads", "address of the primary")
        #expect(examination.findings["read-your-writes"]?.figures["misses-1-2"] as? Int == 100)
        #expect(examination.findings["read-your-writes"]?.figures["misses-2-1"] as? Int == 100)
        examination.expect("publish-subscribe", "failure", "did not arrive")
        #expect(examination["role"] == "ok", "the first connection reaches the primary")
    }

    // MARK: Clusters

    @Test func `a cluster with a missing slot, and a whole one`() async throws {
        let node = try await ClusterNode()
        let url = node.server.url
        try await node.serve(0...16_000)
        try await node.serve(16_002...16_383)
        let partial = try await Examination([url])
        #expect(partial.exit == .status(2), "\(partial)")
        partial.expect("cluster", "failure", "16383 of 16384", "--cluster fix")
        partial.expect("log", "failure", "CLUSTERDOWN", "docs/redis.md")

        try await node.serve(16_001...16_001)
        try await node.waitUntilWhole()
        let whole = try await Examination([url])
        #expect(whole.exit == .status(1) && whole.bad == ["cluster warning"], "\(whole)")
        whole.expect("cluster", "warning", "redis+cluster://")
        let database = try await Examination(["\(url)/1"])
        #expect(database.exit == .status(2) && database.description.contains("SELECT is not allowed"), "\(database)")
    }

    @Test func `a cluster whose other node holds the log`() async throws {
        let nodes = [try await ClusterNode(), try await ClusterNode()]
        // {syncd} is in slot 12391.
        try await nodes[0].serve(0...8191)
        try await nodes[1].serve(8192...16_383)
        try await nodes[1].server.command("CLUSTER", "SET-CONFIG-EPOCH", "2")
        try await nodes[0].meet(nodes[1])
        for node in nodes { try await node.waitUntilWhole() }
        let other = try await Examination([nodes[0].server.url])
        #expect(other.exit == .status(2), "\(other)")
        let address = "127.0.0.1:\(nodes[1].server.portNumber)"
        other.expect("log", "failure", "another node of the cluster", address, "use redis+cluster://")
        #expect(other.bad == ["cluster warning", "log failure"], "nothing else is known of it: \(other)")
        other.expect("cluster", "warning", "redis+cluster://")
        let right = try await Examination([nodes[1].server.url])
        #expect(right.exit == .status(1), "\(right)")
        let found = try await Examination(["redis+cluster://127.0.0.1:\(nodes[0].server.portNumber)"])
        #expect(found.exit == .status(0) && found.bad.isEmpty, "\(found)")
        try await nodes[1].server.command("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
        let lax = try await Examination(["redis+cluster://127.0.0.1:\(nodes[0].server.portNumber)"])
        lax.expect("cluster", "warning", "cluster-allow-reads-when-down", "goes on answering probes")
        found.expect("connection", "ok", "\(address): search")
        found.expect("cluster", "ok", "16384 of 16384")
        found.expect("sharded-channels", "ok", "a message arrived")
    }

    @Test func `the documented user of a cluster, and one without sharded channels`() async throws {
        let node = try await ClusterNode()
        try await node.serve(0...16_383)
        try await node.waitUntilWhole()
        let url = "redis+cluster://syncd:PASSWORD@127.0.0.1:\(node.server.portNumber)"
        let words = try ACLTests.documented() + ["+cluster|slots", "+cluster|nodes", "+cluster|info"]
        for (further, status, bad) in [
            (["+spublish", "+ssubscribe"], 0, ["publish-subscribe note"]),
            (["-spublish", "+ssubscribe"], 0, ["publish-subscribe note", "sharded-channels note"]),
            (["+spublish", "-ssubscribe"], 1, ["publish-subscribe note", "sharded-channels warning"]),
        ] as [([String], Int32, [String])] {
            let user = (["ACL", "SETUSER", "syncd"] + words + further).map { ByteBuffer(string: $0) }
            #expect(try await node.server.connect().command(user).string == "OK")
            let examination = try await Examination([url])
            #expect(examination.exit == .status(status) && examination.bad.sorted() == bad, "\(examination)")
        }
    }
}
