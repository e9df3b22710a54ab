import IPC
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TestSupport

extension Scenario {
    /// A hit in the worker's own cache, by the call that a worker makes, and the minimum of any cache.
    static func l1(_ rounds: Int) async throws -> [Measured] {
        let syncd = try await SyncdProcess.forMeasuring()
        let cache = SyncedCache(
            configuration: SyncedCacheConfiguration(socketPath: syncd.socketPath, clientName: "bench"),
            eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "bench"))
        let running = Task { try await cache.run() }
        defer { running.cancel() }
        let keys = (0..<1000).map { CacheKey("user:\($0)") }
        let tags = threeTags.map { CacheTag($0) }
        for key in keys {
            while try await cache.value(for: key, tags: tags, ttl: .seconds(3600), load: { smallValue }).source != .l1 {
            }
        }
        let plain = Mutex(Dictionary(uniqueKeysWithValues: keys.map { ($0.bytes, smallValue) }))
        let passes = 300
        let rounds = try await Rounds(rounds) {
            let start = monotonicNow()
            for _ in 0..<passes {
                for key in keys {
                    let value = try await cache.value(for: key, tags: tags, ttl: .seconds(3600), load: { nil })
                    guard value.source == .l1 else { throw TestFailure("no hit: \(value.source)") }
                }
            }
            return [Double(monotonicNow() - start) / Double(passes * keys.count)]
        } yardstick: {
            let start = monotonicNow()
            for _ in 0..<passes {
                for key in keys {
                    guard plain.withLock({ $0[key.bytes] }) != nil else { throw TestFailure("no value") }
                }
            }
            return [Double(monotonicNow() - start) / Double(passes * keys.count)]
        }
        let row = rounds.row(
            "l1-hit", "L1 hit, three tags", "dictionary behind the same lock", .nanoseconds, .ratioAtMost(2))
        var time = row
        (time.name, time.what, time.goal) = ("l1-hit-time", "the same, its time", .atMost(200))
        return [row, time]
    }

    /// FETCH of a value in an embedded syncd, and GET of the same bytes.
    static func fetch(_ rounds: Int) async throws -> [Measured] {
        let syncd = try await SyncdProcess.forMeasuring()
        let redis = try await RedisServer()
        let keys = Keys.benchmark(1000)
        try syncd.fill(keys: keys, tags: threeTags, value: smallValue)
        try set(keys, in: redis)
        let (ours, theirs) = (try Wire(path: syncd.socketPath), try Wire(path: redis.socketPath))
        let load = RedisBenchmark(pipeline: 16, requests: 1_000_000)
        let (single, pipelined) = try await Processors.across([syncd.pid, redis.pid]) {
            let single = try await Rounds(rounds) {
                try oneByOne(ours, "FETCH", keys).p50AndP99
            } yardstick: {
                try oneByOne(theirs, "GET", keys).p50AndP99
            }
            let pipelined = try await Rounds(rounds) {
                try await load.run(socket: syncd.socketPath, ["FETCH", Keys.benchmarkPattern])
            } yardstick: {
                try await load.run(socket: redis.socketPath, ["GET", Keys.benchmarkPattern])
            }
            return (single, pipelined)
        }
        let get = "GET of redis-server, same client"
        return [
            single.row("fetch-p50", "FETCH, embedded, one client, p50", get, .nanoseconds, .ratioAtMost(1.3)),
            single.row("fetch-p99", "the same, p99", get, .nanoseconds, .none, 1),
            pipelined.row(
                "fetch-pipelined", "FETCH, embedded, 8 clients × 16 pipelined", get, .perSecond, .ratioAtLeast(1)),
        ]
    }

    static func oneByOne(
        _ wire: Wire, _ command: String, _ keys: [String], count: Int = 20_000
    ) throws -> LatencyRecorder {
        let requests = keys.map { Wire.encoded(command, $0) }
        var next = 0
        return try LatencyRecorder.time(count) {
            try wire.send(requests[next])
            try wire.await()
            next = (next + 1) % requests.count
        }
    }

    static func set(_ keys: [String], to value: ByteBuffer = smallValue, in redis: RedisServer) throws {
        let wire = try Wire(path: redis.socketPath)
        for key in keys { try wire.command([.init(string: "SET"), .init(string: key), value]) }
    }

    /// FETCH of a value that this host has in memory, with Redis, and GET by as many clients without syncd in between.
    static func fetchRedis(_ rounds: Int) async throws -> [Measured] {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess.forMeasuring(redis: redis)
        let keys = Keys.benchmark(1000)
        try syncd.fill(keys: keys, tags: threeTags, value: smallValue)
        try set(keys, in: redis)
        let load = RedisBenchmark(requests: 100_000)
        let (ours, theirs) = (try Wire(path: syncd.socketPath), try Wire(path: redis.socketPath))
        let (single, many) = try await Processors.across([syncd.pid, redis.pid]) {
            let single = try await Rounds(rounds) {
                try oneByOne(ours, "FETCH", keys).p50AndP99
            } yardstick: {
                try oneByOne(theirs, "GET", keys).p50AndP99
            }
            let many = try await Rounds(rounds) {
                try await load.run(socket: syncd.socketPath, ["FETCH", Keys.benchmarkPattern])
            } yardstick: {
                try await load.run(socket: redis.socketPath, ["GET", Keys.benchmarkPattern])
            }
            return (single, many)
        }
        return [
            single.row(
                "fetch-redis-p50", "FETCH, mode Redis, value in memory, one client, p50",
                "GET of redis-server, same client",
                .nanoseconds, .ratioAtMost(1.2)),
            many.row(
                "fetch-redis-rate", "the same, 8 clients, throughput", "GET of redis-server by 8 clients", .perSecond,
                .ratioAtLeast(1)),
        ]
    }
}
