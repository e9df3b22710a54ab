import TestSupport
import Testing

/// `redis+sentinel://` with three sentinels, a primary and a replica.
@Suite(.tags(.servers), .processes) struct SentinelTests {
    // MARK: Failover

    @Test func `failover by command`() async throws {
        let cluster = try await SentinelCluster()
        try await cluster.waitUntilWatching()
        try await followed(cluster) { try await cluster.failOver() }
    }

    @Test func `failover after SIGKILL of the primary`() async throws {
        let cluster = try await SentinelCluster()
        try await cluster.waitUntilWatching()
        try await followed(cluster) { cluster.primary.kill() }
    }

    @Test func `failover to a replica that has lost what was acknowledged`() async throws {
        let cluster = try await SentinelCluster()
        try await cluster.waitUntilWatching()
        try await followed(cluster) {
            // A password that the primary does not ask for: the replica cannot come back.
            try await cluster.replica.command("CONFIG", "SET", "masterauth", "nonsense")
            try await cluster.primary.command("CLIENT", "KILL", "TYPE", "replica")
            let before = try await position(cluster.replica)
            await eventually("the primary is ahead", details: { cluster.log }) {
                let ahead = try? await position(cluster.primary)
                return (ahead ?? 0) > before + 100
            }
            #expect(try await position(cluster.replica) == before)
            cluster.primary.kill()
        }
    }

    @Test func `a primary that was replaced and does not know it`() async throws {
        let cluster = try await SentinelCluster()
        try await cluster.waitUntilWatching()
        try await followed(cluster) {
            // To the sentinels it is as if it were cut off; to syncd it is not.
            try await cluster.primary.command("ACL", "SETUSER", "default", "-ping")
        }
        #expect(
            try await cluster.primary.command("ROLE").elements?.first?.string == "master",
            "the test is about a primary that goes on")
    }

    /// Fails over while values are written and read, and checks that syncd follows: another incarnation, a higher
    /// epoch, nothing stale, attached again by itself, with two connections.
    private func followed(_ cluster: SentinelCluster, _ harm: () async throws -> Void) async throws {
        let syncd = try await start(cluster.url)
        try await syncd.waitUntilAttached()
        let primary = "127.0.0.1:\(cluster.primary.portNumber)"
        let replica = "127.0.0.1:\(cluster.replica.portNumber)"
        #expect(try await syncd.status("redis", "primary")?.string == primary)
        let before = try await syncd.status()
        let watch = StaleReadWatch(syncd)
        try await watch.during {
            await watch.moreHits(50)
            try await harm()
            await eventually(
                "it follows", within: .seconds(30), details: { syncd.transcript + cluster.log }
            ) {
                (try? await syncd.status("redis", "primary")?.string) == replica
            }
            try await syncd.waitUntilAttached()
            await watch.moreHits(50)
        }
        let after = try await syncd.status()
        #expect(after["log"]?["incarnation"]?.string != before["log"]?["incarnation"]?.string)
        let epochs = [before, after].compactMap { $0["log"]?["epoch"]?.number }
        #expect(epochs.count == 2 && epochs[0] < epochs[1], "\(epochs)")
        let positions = [before, after].compactMap { $0["log"]?["applied"]?.number }
        #expect(positions.count == 2 && positions[0] < positions[1], "positions never go back: \(positions)")
        try await eventually("two connections, and no other ones", details: { syncd.transcript }) {
            try await cluster.replica.clientNames().filter { $0.hasPrefix("syncd") } == [
                "syncd", "syncd-subscriptions",
            ]
        }
    }

    private func position(_ server: RedisServer) async throws -> Int {
        try await server.command("GET", "{syncd}:position").string.flatMap { Int($0) } ?? 0
    }

    // MARK: Sentinels that are not there

    @Test func `any sentinel is good enough`() async throws {
        let cluster = try await SentinelCluster()
        try await cluster.waitUntilWatching()
        let nobody = try ReservedPort()
        let silent = try SilentListener()
        let syncd = try await start(
            "redis+sentinel://127.0.0.1:\(nobody.number),127.0.0.1:\(silent.port.number),\(cluster.hosts)/cache")
        try await syncd.waitUntilAttached()
    }

    @Test func `without sentinels the connection stays`() async throws {
        let cluster = try await SentinelCluster()
        try await cluster.waitUntilWatching()
        let syncd = try await start(cluster.url)
        try await syncd.waitUntilAttached()
        let before = try await syncd.status()
        for sentinel in cluster.sentinels { sentinel.child.kill() }
        let uptime = before["server"]?["uptime-ms"]?.number ?? 0
        await eventually("they were looked for more than once", within: .seconds(15)) {
            let now = try? await syncd.status("server", "uptime-ms")?.number
            return (now ?? 0) > uptime + 6000
        }
        let after = try await syncd.status()
        #expect(after["log"]?["state"]?.string == "attached")
        #expect(after["log"]?["epoch"] == before["log"]?["epoch"])
        #expect(after["redis"]?["reconnects"]?.number == before["redis"]?["reconnects"]?.number)
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").number != nil)
    }

    @Test func `a start without sentinels waits for them`() async throws {
        let nobody = try ReservedPort()
        let syncd = try await start("redis+sentinel://127.0.0.1:\(nobody.number)/cache")
        await eventually("it is told", details: { syncd.transcript }) {
            (try? await syncd.status("redis", "last-error")?.string)?
                .contains("sentinel 127.0.0.1:\(nobody.number): cannot connect") == true
        }
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").string == "DEFERRED")
    }

    @Test func `sentinels with a password, and a service that they don't know`() async throws {
        let cluster = try await SentinelCluster(
            sentinelOptions: ["requirepass p@ss word", "sentinel sentinel-pass p@ss word"].map {
                $0.replacing("p@ss word", with: "\"p@ss word\"")
            })
        try await cluster.waitUntilWatching(password: "p@ss word")
        let cases = [
            ("/cache", "it refuses syncd (NOAUTH)"), ("/cache?sentinelPassword=wrong", "it refuses syncd (WRONGPASS)"),
            ("/other?sentinelPassword=p%40ss%20word", "it watches no service of this name"),
        ]
        for (suffix, reason) in cases {
            let syncd = try await start("redis+sentinel://\(cluster.hosts)\(suffix)")
            await eventually("it is told: \(reason)", details: { syncd.transcript }) {
                (try? await syncd.status("redis", "last-error")?.string)?.contains(reason) == true
            }
            #expect(syncd.log.contains("p@ss") == false && syncd.log.contains("wrong") == false)
        }
        let syncd = try await start("redis+sentinel://\(cluster.hosts)/cache?sentinelPassword=p%40ss%20word")
        try await syncd.waitUntilAttached()
    }

    // MARK: Roles

    @Test func `a replica is not used`() async throws {
        let primary = try await RedisServer()
        let replica = try await RedisServer(["--replicaof", "127.0.0.1", "\(primary.portNumber)"])
        let syncd = try await SyncdProcess(redis: replica)
        await eventually("it is told", details: { syncd.transcript }) {
            (try? await syncd.status("log", "why")?.string)?.contains("the server is a replica") == true
        }
        #expect(try await syncd.isAttached == false)
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").string == "DEFERRED")
        try await replica.command("REPLICAOF", "NO", "ONE")
        try await syncd.waitUntilAttached()
    }

    /// Nobody writes, and the connection stays: only its role tells that what it answers may be old.
    @Test func `a primary that becomes a replica is left`() async throws {
        let nobody = try ReservedPort()
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        try await redis.command("REPLICAOF", "127.0.0.1", "\(nobody.number)")
        try await eventually("it is left", within: .seconds(4), details: { syncd.transcript }) {
            try await !syncd.isAttached
        }
        #expect(syncd.log.contains("replica"))
    }

    private func start(_ url: String) async throws -> SyncdProcess {
        try await SyncdProcess(environment: ["REDIS_ENABLED": "true", "REDIS_URL": url])
    }
}
