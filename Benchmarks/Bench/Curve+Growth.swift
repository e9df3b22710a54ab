import IPC
import NIOCore
import Synchronization
import TestSupport

extension Curve {
    /// Number of measurements of each point, by turns with the others of its size; the median counts.
    private static let rounds = 5

    /// Medians of p50, in µs.
    private static func medians(_ measured: [() throws -> LatencyRecorder]) throws -> [Double] {
        var times = measured.map { _ in [Double]() }
        for _ in 0..<rounds {
            for (index, measure) in measured.enumerated() { times[index].append(try measure().p50AndP99[0] / 1000) }
        }
        return times.map(median)
    }

    /// INVALIDATE with a growing number of tracking workers.
    static func workers() async throws -> CurveTable {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess.forMeasuring(redis: redis)
        let (invalidator, workers) = (try Invalidator(syncd), Workers(of: syncd))
        var table = CurveTable(columns: ["workers", "INVALIDATE → visible", "PUBLISH → SUBSCRIBE"])
        for count in [1, 2, 4, 8, 16, 32, 64] {
            try workers.grow(to: count)
            table.rows.append(
                [Double(count)]
                    + (try medians([
                        { try invalidator.times(500) { workers.drain() } },
                        { try Scenario.publish(500, redis) },
                    ])))
        }
        return table
    }

    /// FETCH of values of growing length from an embedded syncd.
    static func value() async throws -> CurveTable {
        let (syncd, redis) = (try await SyncdProcess.forMeasuring(), try await RedisServer())
        return try await Processors.across([syncd.pid, redis.pid]) { try value(syncd, redis) }
    }

    private static func value(_ syncd: SyncdProcess, _ redis: RedisServer) throws -> CurveTable {
        let (ours, theirs) = (try Wire(path: syncd.socketPath), try Wire(path: redis.socketPath))
        var table = CurveTable(columns: ["bytes", "FETCH", "GET of redis-server"])
        for bytes in [100, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
            let keys = ["value:\(bytes)"]
            let value = ByteBuffer(repeating: UInt8(ascii: "v"), count: bytes)
            try syncd.fill(keys: keys, tags: threeTags, value: value)
            try Scenario.set(keys, to: value, in: redis)
            let count = bytes > 64 << 10 ? 300 : 2000
            table.rows.append(
                [Double(bytes)]
                    + (try medians([
                        { try Scenario.oneByOne(ours, "FETCH", keys, count: count) },
                        { try Scenario.oneByOne(theirs, "GET", keys, count: count) },
                    ])))
        }
        return table
    }

    /// FETCH of entries with a growing number of tags, INVALIDATE of as many, and a hit in the worker's own cache.
    static func tags() async throws -> CurveTable {
        let syncd = try await SyncdProcess.forMeasuring()
        return try await Processors.across([syncd.pid]) { try tags(syncd) }
    }

    private static func tags(_ syncd: SyncdProcess) throws -> CurveTable {
        let (wire, invalidator) = (try Wire(path: syncd.socketPath), try Invalidator(syncd))
        var table = CurveTable(columns: ["tags", "FETCH", "INVALIDATE → visible", "L1 hit"])
        for count in [1, 2, 4, 8, 16, 32, 64] {
            let (keys, tags) = (["tags:\(count)"], (1...count).map { "tag:\($0)" })
            try syncd.fill(keys: keys, tags: tags, value: smallValue)
            table.rows.append(
                [Double(count)]
                    + (try medians([
                        { try Scenario.oneByOne(wire, "FETCH", keys, count: 2000) },
                        { try invalidator.times(2000, tags: count) },
                    ])) + [l1Hit(tags: tags)])
        }
        return table
    }

    /// The mean time of a hit in µs, over many: reading the clock costs as much as a hit.
    private static func l1Hit(tags: [String]) -> Double {
        let table = TagTable.inMemory()
        table.setState(.attached)
        table.setHeartbeat(1)
        table.setFreshAsOf(1)
        let cache = L1Cache(byteBudget: 1 << 20) { 2 }
        cache.use(table)
        let key: CacheKey = "user:000000000001"
        cache.insert(
            Hit(
                value: smallValue, asOf: 5, ttlMilliseconds: 60_000, tags: tags.map { ByteBuffer(string: $0) },
                epoch: table.epoch), for: key)
        let count = 100_000
        let times = (0..<rounds).map { _ in
            let start = monotonicNow()
            for _ in 0..<count { precondition(cache.value(for: key) != nil, "no hit") }
            return Double(monotonicNow() - start) / Double(count) / 1000
        }
        return median(times)
    }

    /// The start of syncd with a log of growing length. It holds about 100 000 entries at most.
    static func log() async throws -> CurveTable {
        var table = CurveTable(columns: ["entries", "start until attached"])
        for entries in [1, 1000, 10_000, 30_000, 100_000] {
            let redis = try await RedisServer()
            let writer = try await SyncdProcess.forMeasuring(redis: redis)
            _ = try await RedisBenchmark(pipeline: 16, requests: entries, keys: 10_000).run(
                socket: writer.socketPath, ["INVALIDATE", "TAGS", "user:__rand_int__"])
            var times: [Double] = []
            for _ in 0..<rounds { times.append(try await Scenario.timeToStart(redis) / 1000) }
            table.rows.append([Double(entries), median(times)])
        }
        return table
    }
}
