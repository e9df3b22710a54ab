import Foundation
import TestSupport
import Testing

/// Errors of a real server, one after the other: the invalidation is pending, STATUS has the reason, and when the
/// server accepts writes again, everything is appended and caches are trusted.
@Suite(.tags(.servers), .processes) struct RefusalTests {
    @Test func `OOM: memory is full and nothing may be evicted`() async throws {
        let redis = try await RedisServer()
        try await refused(redis, "Redis has no memory left (OOM)") {
            try await redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
            try await redis.command("CONFIG", "SET", "maxmemory", "1mb")
        } after: {
            try await redis.command("CONFIG", "SET", "maxmemory", "0")
        }
    }

    @Test func `MISCONF: the disk cannot be written`() async throws {
        let redis = try await RedisServer(["--dbfilename", "dump.rdb"])
        try await refused(redis, "Redis cannot write to its disk (MISCONF)") {
            try await redis.command("CONFIG", "SET", "save", "3600 1")
            // A directory in the place of the file: the new file cannot get its name.
            let directory = try await redis.command("CONFIG", "GET", "dir").elements?[1].string ?? ""
            let folder = "\(directory)/dump.rdb/full"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try await redis.command("BGSAVE")
            await eventually("the save has failed", details: { redis.log }) {
                let info = try? await redis.command("INFO", "persistence").string
                return info?.contains("rdb_last_bgsave_status:err") == true
            }
        } after: {
            try await redis.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        }
    }

    @Test func `NOREPLICAS: too few replicas`() async throws {
        let redis = try await RedisServer()
        try await refused(redis, "Redis has too few replicas (NOREPLICAS)") {
            try await redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
        } after: {
            try await redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
        }
    }

    @Test func `READONLY: the server has become a replica`() async throws {
        let redis = try await RedisServer()
        let nobody = try ReservedPort()
        try await refused(redis, "replica") {
            try await redis.command("REPLICAOF", "127.0.0.1", "\(nobody.number)")
        } after: {
            try await redis.command("REPLICAOF", "NO", "ONE")
        }
    }

    @Test func `MASTERDOWN: a replica that has lost its primary and says so`() async throws {
        let redis = try await RedisServer()
        let nobody = try ReservedPort()
        try await refused(redis, "replica") {
            try await redis.command("CONFIG", "SET", "replica-serve-stale-data", "no")
            try await redis.command("REPLICAOF", "127.0.0.1", "\(nobody.number)")
        } after: {
            try await redis.command("REPLICAOF", "NO", "ONE")
        }
    }

    @Test func `BUSY: a script runs for long`() async throws {
        let redis = try await RedisServer()
        try await redis.command("CONFIG", "SET", "busy-reply-threshold", "1")
        let script = try redis.connect()
        try await refused(redis, "Redis is busy with a script (BUSY)", orSilent: true) {
            try await script.send("EVAL", "while true do end", "0")
            await eventually("it is busy", details: { redis.log }) {
                (try? await redis.command("GET", "a").errorText?.hasPrefix("BUSY")) == true
            }
        } after: {
            await eventually("the script is ended", details: { redis.log }) {
                (try? await redis.command("SCRIPT", "KILL").string) == "OK"
            }
        }
    }

    @Test func `LOADING: the data is read at a start`() async throws {
        let redis = try await RedisServer([
            "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024",
        ])
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        // 500 keys of 20 ms each: 10 s, unless the test is done before.
        let filler = "for i = 1, 500 do redis.call('SET', 'filler' .. i, string.rep('x', 1024)) end"
        try await redis.command("EVAL", filler, "0")
        try await redis.command("SAVE")
        redis.kill()
        try await redis.start(isWaiting: false)
        await eventually("it is told", details: { syncd.transcript + redis.log }) {
            (try? await syncd.status("log", "why")?.string)?.contains("Redis is loading its data (LOADING)") == true
        }
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").string == "DEFERRED")
        try await redis.command("CONFIG", "SET", "key-load-delay", "0")
        try await syncd.waitUntilAttached(within: .seconds(30))
        #expect(try await syncd.status("log", "pending")?.number == 0)
    }

    @Test func `NOSCRIPT: the server has forgotten the scripts, which costs nothing`() async throws {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        let epoch = try await syncd.status("log", "epoch")?.number
        for turn in 1...3 {
            try await redis.command("SCRIPT", "FLUSH")
            let position = try await syncd.command("INVALIDATE", "TAGS", "a").number
            #expect(position == turn, "\(syncd.transcript)")
        }
        #expect(try await syncd.isAttached)
        #expect(try await syncd.status("log", "epoch")?.number == epoch)
    }

    /// Before the first invalidation and after some: there is nothing to compare with before.
    @Test(arguments: ["incarnation", "position", "stream"], [0, 3])
    func `WRONGTYPE: a key of the log holds something else`(_ key: String, before count: Int) async throws {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        for _ in 0..<count { try await syncd.command("INVALIDATE", "TAGS", "b") }
        let incarnation = try await syncd.status("log", "incarnation")?.string
        try await redis.command("DEL", "{syncd}:\(key)")
        try await redis.command("RPUSH", "{syncd}:\(key)", "nonsense")
        _ = try await syncd.command("INVALIDATE", "TAGS", "a")
        await eventually("the log is replaced", details: { syncd.transcript }) {
            guard let log = try? await syncd.status()["log"] else { return false }
            return log["state"]?.string == "attached" && log["incarnation"]?.string != incarnation
        }
        await eventually("nothing is pending", details: { syncd.transcript }) {
            (try? await syncd.status("log", "pending")?.number) == 0
        }
        let position = try await syncd.command("INVALIDATE", "TAGS", "a").number ?? 0
        #expect(position > count, "positions never go back")
    }

    @Test(arguments: ["nonsense", "-1", "9007199254740993", "99999999999999999999", ""])
    func `a position that is none`(_ position: String) async throws {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        try await redis.command("SET", "{syncd}:position", position)
        _ = try await syncd.command("INVALIDATE", "TAGS", "a")
        try await syncd.waitUntilAttached()
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").number != nil, "\(syncd.transcript)")
    }

    @Test func `max number of clients`() async throws {
        let redis = try await RedisServer()
        // Of the test's own connection and the two of syncd one is too many.
        let own = try redis.connect()
        try await own.command("CONFIG", "SET", "maxclients", "1")
        let syncd = try await SyncdProcess(redis: redis)
        await eventually("it is told", details: { syncd.transcript }) {
            (try? await syncd.status("redis", "last-error")?.string) == "Redis has no room for clients"
        }
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").string == "DEFERRED")
        try await own.command("CONFIG", "SET", "maxclients", "100")
        try await syncd.waitUntilAttached()
    }

    @Test func `CLUSTERDOWN: a cluster whose slots nobody holds, then one node that holds them all`() async throws {
        let bus = try ReservedPort()
        let redis = try await RedisServer(["--cluster-enabled", "yes", "--cluster-port", "\(bus.number)"])
        let syncd = try await SyncdProcess(redis: redis)
        await eventually("it is told", details: { syncd.transcript }) {
            (try? await syncd.status("log", "why")?.string) == "the Redis cluster is down (CLUSTERDOWN)"
        }
        try await redis.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        try await syncd.waitUntilAttached()
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").number != nil)
    }

    @Test func `MOVED: another node holds the log`() async throws {
        let buses = [try ReservedPort(), try ReservedPort()]
        func node(_ bus: ReservedPort) async throws -> RedisServer {
            try await RedisServer([
                "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-port", "\(bus.number)",
            ])
        }
        let redis = try await node(buses[0])
        let other = try await node(buses[1])
        try await redis.command("CLUSTER", "MEET", "127.0.0.1", "\(other.portNumber)", "\(buses[1].number)")
        try await other.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await eventually("the nodes know each other", details: { redis.log + other.log }) {
            (try? await redis.command("GET", "a").errorText?.hasPrefix("MOVED")) == true
        }
        let syncd = try await SyncdProcess(redis: redis)
        await eventually("it is told", details: { syncd.transcript }) {
            let why = try? await syncd.status("log", "why")?.string
            return why?.contains("another node of the cluster holds the log (MOVED") == true
                && why?.contains("\(other.portNumber)") == true
        }
        #expect(try await syncd.isAttached == false)
    }

    /// Attached, then refused: the invalidation is pending, and the reason is reported. Then accepted: it is in the
    /// log.
    ///
    /// - Parameter orSilent: the server may just not answer in time.
    private func refused(
        _ redis: RedisServer, _ reason: String, orSilent: Bool = false, by harm: () async throws -> Void,
        after repair: () async throws -> Void
    ) async throws {
        let syncd = try await SyncdProcess(redis: redis)
        try await syncd.waitUntilAttached()
        try await harm()
        #expect(try await syncd.command("INVALIDATE", "TAGS", "a").string == "DEFERRED", "\(syncd.transcript)")
        await eventually("it is told: \(reason)", details: { syncd.transcript }) {
            let status = try? await syncd.status()
            let told = [status?["log"]?["why"]?.string, status?["redis"]?["last-error"]?.string].compactMap { $0 }
            return told.contains { $0.contains(reason) || (orSilent && $0.contains("within 250 ms")) }
        }
        #expect(try await syncd.isAttached == false)
        #expect((try await syncd.status("log", "pending")?.number ?? 0) > 0)
        #expect(try await syncd.command("FETCH", "a").elements?.first?.string == "miss", "no cache meanwhile")
        try await repair()
        try await syncd.waitUntilAttached()
        #expect(try await syncd.status("log", "pending")?.number == 0)
        #expect((try await syncd.status("log", "applied")?.number ?? 0) > 0, "pending invalidations are in the log")
    }
}
