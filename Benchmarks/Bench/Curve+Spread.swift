import TestSupport

extension Curve {
    /// FETCH from an embedded syncd, and GET.
    static func fetch() async throws -> CurveTable {
        let (syncd, redis) = (try await SyncdProcess.forMeasuring(), try await RedisServer())
        let keys = Keys.benchmark(1000)
        try syncd.fill(keys: keys, tags: threeTags, value: smallValue)
        try Scenario.set(keys, in: redis)
        let (ours, theirs) = (try Wire(path: syncd.socketPath), try Wire(path: redis.socketPath))
        return try await Processors.across([syncd.pid, redis.pid]) {
            try .spread(
                ["FETCH from an embedded syncd", "GET of redis-server"],
                [
                    { try Scenario.oneByOne(ours, "FETCH", keys, count: 2000) },
                    { try Scenario.oneByOne(theirs, "GET", keys, count: 2000) },
                ])
        }
    }

    /// INVALIDATE through Redis, here and at a second host, and PUBLISH.
    static func invalidate() async throws -> CurveTable {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess.forMeasuring(redis: redis)
        let other = try await SyncdProcess.forMeasuring(redis: redis)
        let (near, far) = (try Invalidator(syncd), try Invalidator(syncd, seenBy: other))
        return try .spread(
            ["visible here", "visible at a second host", "PUBLISH → SUBSCRIBE"],
            [{ try near.times(1000) }, { try far.times(1000) }, { try Scenario.publish(1000, redis) }])
    }

    /// PUT of a user, and MongoDB's part of it.
    static func put() async throws -> CurveTable {
        let writer = try UserWriter(try await API())
        return try .spread(
            ["PUT of a user", "MongoDB's findAndModify alone"],
            [{ try writer.put(300) }, { try writer.findAndModify(300) }])
    }
}
