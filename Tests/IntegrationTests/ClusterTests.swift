import IPCWire
import NIOCore
import TestSupport
import Testing

@testable import syncd

/// `redis+cluster://` with three primaries and three replicas.
@Suite(.tags(.manyProcesses), .processes) struct ClusterTests {
    // MARK: Finding the primary

    @Test func `hosts with different seeds share one log, and use sharded channels`() async throws {
        let cluster = try await RedisCluster()
        let primary = cluster.nodes[try await cluster.primary(of: cluster.slot())]
        let nobody = try ReservedPort()
        // A replica, and only one seed of three that lives.
        let urls = [
            cluster.url([4]),
            "valkey+cluster://127.0.0.1:\(nobody.number),127.0.0.1:\(cluster.nodes[1].portNumber),127.0.0.1:\(nobody.number)",
        ]
        var hosts: [SyncdProcess] = []
        for url in urls { hosts.append(try await start(url)) }
        for host in hosts {
            try await host.waitUntilAttached()
            #expect(try await host.status("redis", "primary")?.string == "127.0.0.1:\(primary.portNumber)")
            #expect(try await host.status("redis", "warnings")?.elements?.isEmpty == true)
        }
        for turn in 0..<4 {
            let position = try await hosts[turn % 2].command("INVALIDATE", "TAGS", "a").number
            #expect(position == turn + 1)
            await eventually("the other host follows", details: { hosts[0].transcript + hosts[1].transcript }) {
                (try? await hosts[1 - turn % 2].status("log", "applied")?.number) == position
            }
        }
        #expect(try await primary.command("PUBSUB", "SHARDNUMSUB", "{syncd}:log").elements?.last?.number == 2)
        let stats = try await primary.command("INFO", "commandstats").string ?? ""
        // Four entries and a new log.
        #expect(stats.contains("cmdstat_spublish:calls=5,") && !stats.contains("cmdstat_publish:"), "\(stats)")
        #expect(try await primary.clientNames().filter { $0.hasPrefix("syncd") }.count == 4)
    }

    @Test(arguments: ["syncd", "a", "{", "123456789", "other-namespace", "user1000"])
    func `slots as the server computes them`(_ tag: String) async throws {
        let redis = try await RedisServer(["--cluster-enabled", "yes", "--cluster-port", "\(ReservedPort().number)"])
        #expect(try await redis.command("CLUSTER", "KEYSLOT", "{\(tag)}:x").number == HashSlot.of(tag: tag))
    }

    @Test func `a server that is no node of a cluster is told, with the remedy`() async throws {
        let redis = try await RedisServer()
        let syncd = try await start("redis+cluster://127.0.0.1:\(redis.portNumber)")
        await eventually("it is told", details: { syncd.transcript }) {
            (try? await syncd.status("redis", "last-error")?.string)?.contains("it is no node of a cluster") == true
        }
    }

    @Test func `a node without a cluster's URL says which one to use`() async throws {
        let cluster = try await RedisCluster()
        let other = (try await cluster.primary(of: cluster.slot()) + 1) % 3
        let syncd = try await SyncdProcess(redis: cluster.nodes[other])
        await eventually("it is told", details: { syncd.transcript }) {
            let why = try? await syncd.status("log", "why")?.string
            return why?.contains("MOVED") == true && why?.contains("redis+cluster://") == true
        }
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").string == "DEFERRED")
    }

    // MARK: Failover

    @Test func `failover by command, there and back`() async throws {
        let cluster = try await RedisCluster()
        let slot = try await cluster.slot()
        try await followed(cluster) { try await cluster.failOver(slot: slot) }
        try await cluster.waitUntilWell()
        try await followed(cluster) { try await cluster.failOver(slot: slot) }
    }

    @Test func `failover after SIGKILL of the primary`() async throws {
        let cluster = try await RedisCluster()
        let primary = try await cluster.primary(of: cluster.slot())
        try await followed(cluster) { cluster.nodes[primary].kill() }
    }

    /// Clients and replicas reach the node, and until its time-out it takes itself for the primary.
    @Test func `a primary that is cut off from the other nodes`() async throws {
        let cluster = try await RedisCluster()
        let primary = try await cluster.primary(of: cluster.slot())
        try await followed(cluster) { cluster.cutOff(primary) }
        cluster.heal()
    }

    /// The node goes on as the primary that it was, until another one tells it.
    @Test func `a primary that stood still while it was replaced`() async throws {
        let cluster = try await RedisCluster()
        let primary = try await cluster.primary(of: cluster.slot())
        try await followed(cluster) {
            cluster.nodes[primary].pause()
            await eventually("it is replaced", details: { cluster.log }) {
                (try? await cluster.primary(of: cluster.slot())) != primary
            }
            cluster.nodes[primary].resume()
        }
    }

    // MARK: Resharding

    @Test func `the slot of the log moves to another node under load, and back`() async throws {
        let cluster = try await RedisCluster()
        let slot = try await cluster.slot()
        let source = try await cluster.primary(of: slot)
        try await followed(cluster) {
            try await cluster.move(slot: slot, to: (source + 1) % 3, pause: .milliseconds(300))
        }
        try await followed(cluster) { try await cluster.move(slot: slot, to: source) }
    }

    /// A key that the replacement deleted could not be made again at the node that the slot leaves.
    @Test func `a log that is replaced while its slot moves keeps its position`() async throws {
        let cluster = try await RedisCluster()
        let slot = try await cluster.slot()
        let source = try await cluster.primary(of: slot)
        let node = cluster.nodes[source]
        let first = try await start(cluster.url)
        try await first.waitUntilAttached()
        for turn in 1...5 { #expect(try await first.command("INVALIDATE", "TAGS", "a").number == turn) }
        first.kill()
        let before = try await node.command("GET", "{syncd}:incarnation").string ?? ""
        try await node.command("SET", "{syncd}:incarnation", before.prefix(33) + "another process")
        let target = (source + 1) % 3
        try await cluster.beginMove(slot: slot, to: target)
        let second = try await start(cluster.url)
        await eventually("the log is replaced", details: { second.transcript }) {
            (try? await node.command("GET", "{syncd}:incarnation").string)?.hasPrefix(before.prefix(32)) == false
        }
        #expect(try await node.command("GET", "{syncd}:position").string == "5")
        try await cluster.move(slot: slot, to: target)
        try await second.waitUntilAttached()
        #expect(try await second.command("INVALIDATE", "TAGS", "a").number ?? 0 > 5)
    }

    /// The connection stays open, and nothing else would come over it.
    @Test func `an unsolicited sunsubscribe is a lost subscription`() async throws {
        let cluster = try await RedisCluster()
        let slot = try await cluster.slot()
        let source = try await cluster.primary(of: slot)
        let syncd = try await start(cluster.url)
        try await syncd.waitUntilAttached()
        try await cluster.move(slot: slot, to: (source + 1) % 3)
        await eventually("it is subscribed at the other node", details: { syncd.transcript }) {
            let number = try? await cluster.nodes[(source + 1) % 3].command("PUBSUB", "SHARDNUMSUB", "{syncd}:log")
            return number?.elements?.last?.number == 1
        }
        #expect(syncd.log.contains("(sunsubscribe)"))
        try await syncd.waitUntilAttached()
    }

    /// Harms the cluster while values are written and read, and checks that syncd follows: another primary, another
    /// incarnation, a higher epoch, nothing stale, attached again by itself.
    private func followed(_ cluster: RedisCluster, _ harm: () async throws -> Void) async throws {
        let slot = try await cluster.slot()
        let old = try await cluster.primary(of: slot)
        let hosts = [try await start(cluster.url([0, 1, 2])), try await start(cluster.url([3, 4, 5]))]
        for host in hosts { try await host.waitUntilAttached() }
        #expect(try await hosts[0].status("redis", "primary")?.string == "127.0.0.1:\(cluster.nodes[old].portNumber)")
        let before = try await hosts[0].status()
        let watch = StaleReadWatch(hosts[0])
        try await watch.during {
            await watch.moreHits(50)
            try await harm()
            for host in hosts {
                await eventually("it follows", within: .seconds(30), details: { host.transcript + cluster.log }) {
                    guard let new = try? await cluster.primary(of: slot), new != old else { return false }
                    let used = try? await host.status("redis", "primary")?.string
                    return used == "127.0.0.1:\(cluster.nodes[new].portNumber)"
                }
                try await host.waitUntilAttached()
            }
            await watch.moreHits(50)
        }
        let after = try await hosts[0].status()
        #expect(after["log"]?["incarnation"]?.string != before["log"]?["incarnation"]?.string)
        let epochs = [before, after].compactMap { $0["log"]?["epoch"]?.number }
        #expect(epochs.count == 2 && epochs[0] < epochs[1], "\(epochs)")
        let positions = [before, after].compactMap { $0["log"]?["applied"]?.number }
        #expect(positions.count == 2 && positions[0] < positions[1], "positions never go back: \(positions)")
        let new = cluster.nodes[try await cluster.primary(of: slot)]
        try await eventually("two connections of each host, and no other ones", details: { hosts[0].transcript }) {
            try await new.clientNames().filter { $0.hasPrefix("syncd") } == [
                "syncd", "syncd", "syncd-subscriptions", "syncd-subscriptions",
            ]
        }
    }

    private func start(_ url: String) async throws -> SyncdProcess {
        try await SyncdProcess(environment: ["REDIS_ENABLED": "true", "REDIS_URL": url])
    }
}
