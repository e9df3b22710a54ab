import Glibc
import IPC
import IPCWire
import NIOCore
import TestSupport

/// Sends one invalidation after the other and polls shared memory until it is there, as a worker does at every hit.
struct Invalidator {
    let wire: Wire
    /// Reads the number that an invalidation with this number of tags changes.
    let number: (_ tags: Int) -> () -> UInt64
    /// Processes that end when this value is released.
    let hosts: [AnyObject]
    let pids: [Int32]

    init(_ syncd: SyncdProcess, seenBy other: SyncdProcess? = nil) throws {
        let all = [syncd] + (other.map { [$0] } ?? [])
        (hosts, pids) = (all, all.map(\.pid))
        wire = try Wire(path: syncd.socketPath)
        let table = try (other ?? syncd).mappedTable()
        number = { tags in
            let slot = table.slotIndex(TagHash.tag(ByteBuffer(string: "user:\(tags)")))
            return { table.slot(slot).number }
        }
    }

    init(_ process: LeastProcess, seenBy other: LeastProcess? = nil) throws {
        let all = [process] + (other.map { [$0] } ?? [])
        (hosts, pids) = (all, all.map(\.pid))
        wire = try Wire(path: process.socketPath)
        let memory = (other ?? process).memory
        number = { _ in { memory.number } }
    }

    /// Times from the request until the number changes.
    ///
    /// - Parameter tags: number of tags per request; the slot of the last one is watched.
    func times(_ count: Int, tags: Int = 1, afterEach: () -> Void = {}) throws -> LatencyRecorder {
        let number = number(tags)
        let words = ["INVALIDATE", "TAGS"] + (1...tags).map { "user:\($0)" }
        let request = Wire.encoded(words.map { ByteBuffer(string: $0) })
        var histogram = LatencyRecorder()
        for round in 0..<count + count / 10 {
            let before = number()
            let start = monotonicNow()
            try wire.send(request)
            while number() == before {
                guard monotonicNow() - start < 5_000_000_000 else { throw TestFailure("not visible within 5 s") }
                sched_yield()
            }
            let end = monotonicNow()
            try wire.await()
            if round >= count / 10 { histogram.record(end - start) }
            afterEach()
        }
        return histogram
    }
}

extension Scenario {
    /// From INVALIDATE to the raised slot, beside the least process that can stand in between, and from PUBLISH to the
    /// message at a subscriber.
    static func invalidate(_ rounds: Int) async throws -> [Measured] {
        // Two servers, so that a second host does not take time from the first in the rows without it.
        let (one, two) = (try await RedisServer(), try await RedisServer())
        let appendOne = try await appendCommand(one, namespace: "least")
        // Each pair has a separate log: a message to further subscribers takes time.
        let appendTwo = try await appendCommand(two, namespace: "least")
        let appendBoth = try await appendCommand(two, namespace: "both")
        let appendNIO = try await appendCommand(two, namespace: "nio")
        let embedded = try Invalidator(try await SyncdProcess.forMeasuring())
        let near = try Invalidator(try await SyncdProcess.forMeasuring(redis: one))
        let leastNear = try Invalidator(try await LeastProcess(one, appendOne))
        let far = try Invalidator(
            try await SyncdProcess.forMeasuring(redis: two), seenBy: try await SyncdProcess.forMeasuring(redis: two))
        let leastFar = try Invalidator(
            try await LeastProcess(two, appendTwo), seenBy: try await LeastProcess(two, appendTwo, isSubscribed: true))
        // As a syncd is: it needs the entries of other hosts.
        let leastBoth = try Invalidator(
            try await LeastProcess(two, appendBoth, isSubscribed: true),
            seenBy: try await LeastProcess(two, appendBoth, isSubscribed: true))
        let nioNear = try Invalidator(try await LeastProcess(one, appendOne, isOnNIO: true))
        let nioBoth = try Invalidator(
            try await LeastProcess(two, appendNIO, isSubscribed: true, isOnNIO: true),
            seenBy: try await LeastProcess(two, appendNIO, isSubscribed: true, isOnNIO: true))
        let count = 3000
        func compare(_ ours: Invalidator, _ theirs: () throws -> LatencyRecorder) async throws -> Rounds {
            try await Rounds(rounds) {
                try ours.times(count).p50AndP99
            } yardstick: {
                try theirs().p50AndP99
            }
        }
        let servers =
            [one.pid, two.pid]
            + [embedded, near, leastNear, far, leastFar, leastBoth, nioNear, nioBoth].flatMap(\.pids)
        let (alone, here, there, both, hereOnNIO, bothOnNIO) = try await Processors.across(servers) {
            (
                try await compare(embedded) { try publish(count, one) },
                try await compare(near) { try leastNear.times(count) },
                try await compare(far) { try leastFar.times(count) },
                try await compare(far) { try leastBoth.times(count) },
                try await compare(near) { try nioNear.times(count) },
                try await compare(far) { try nioBoth.times(count) }
            )
        }
        let least = "epoll loop in C with hiredis, the same script"
        return [
            alone.row(
                "invalidate-embedded", "INVALIDATE → visible in the table, embedded, p50", "PUBLISH → SUBSCRIBE",
                .nanoseconds, .atMost(60_000)),
            here.row(
                "invalidate-redis-p50", "INVALIDATE → visible through Redis, p50", least, .nanoseconds,
                .ratioAtMost(1.2)),
            here.row("invalidate-redis-p99", "the same, p99", least, .nanoseconds, .ratioAtMost(1.5), 1),
            there.row(
                "invalidate-second-host-p50", "the same at a second host, p50", "two of them, the second subscribed",
                .nanoseconds, .ratioAtMost(1.2)),
            there.row(
                "invalidate-second-host-p99", "the same, p99", "two of them, the second subscribed", .nanoseconds,
                .ratioAtMost(1.5), 1),
            hereOnNIO.row(
                "invalidate-redis-limit", "INVALIDATE → visible through Redis, p50",
                "that loop on SwiftNIO, nothing else", .nanoseconds, .none),
            both.row(
                "invalidate-second-host-both", "the same at a second host, p50", "two of them in C, both subscribed",
                .nanoseconds, .none),
            bothOnNIO.row(
                "invalidate-second-host-limit", "the same, p50", "two of them on SwiftNIO, both subscribed",
                .nanoseconds, .none),
        ]
    }

    /// The time of Redis itself until a subscriber is told; the message is as long as an entry of the log.
    static func publish(_ count: Int, _ redis: RedisServer) throws -> LatencyRecorder {
        let (publisher, subscriber) = (try Wire(path: redis.socketPath), try Wire(path: redis.socketPath))
        try subscriber.command("SUBSCRIBE", "log")
        let request = Wire.encoded("PUBLISH", "log", String(repeating: "x", count: 120))
        var histogram = LatencyRecorder()
        for round in 0..<count + count / 10 {
            let start = monotonicNow()
            try publisher.send(request)
            try subscriber.await(.spinning)
            let end = monotonicNow()
            try publisher.await()
            if round >= count / 10 { histogram.record(end - start) }
        }
        return histogram
    }

    /// The time of an invalidation with more workers: usual ones, which judge values by the table, and such that listen to
    /// invalidations because pages listen to them.
    static func workers(_ rounds: Int) async throws -> [Measured] {
        var hosts: [(redis: RedisServer, invalidator: Invalidator, workers: Workers)] = []
        for (count, isTracking) in [(1, false), (8, false), (64, false), (64, true)] {
            let redis = try await RedisServer()
            let syncd = try await SyncdProcess.forMeasuring(redis: redis)
            let workers = Workers(of: syncd, isTracking: isTracking)
            try workers.grow(to: count)
            hosts.append((redis, try Invalidator(syncd), workers))
        }
        func measure(_ index: Int) throws -> [Double] {
            let workers = hosts[index].workers
            // Pushes would fill the buffers.
            return try hosts[index].invalidator.times(500) { workers.drain() }.p50AndP99
        }
        var rows: [Measured] = []
        for (index, name, what, goal) in [
            (1, "8-workers", "INVALIDATE → visible through Redis, 8 workers, p50", Goal.ratioAtMost(1.1)),
            (2, "64-workers", "INVALIDATE → visible through Redis, 64 workers, p50", .ratioAtMost(1.1)),
            (3, "64-listeners", "the same, 64 workers that listen to invalidations", .none),
        ] {
            let result = try await Processors.across(hosts.flatMap { [$0.redis.pid] + $0.invalidator.pids }) {
                try await Rounds(rounds) {
                    try measure(index)
                } yardstick: {
                    try measure(0)
                }
            }
            rows.append(result.row("invalidate-\(name)", what, "with 1 worker", .nanoseconds, goal))
        }
        return rows
    }

    /// Invalidations per second, and the rate of the same script in Redis without syncd.
    static func append(_ rounds: Int) async throws -> [Measured] {
        let redis = try await RedisServer()
        let syncd = try await SyncdProcess.forMeasuring(redis: redis)
        let embedded = try await SyncdProcess.forMeasuring()
        let script = try await appendCommand(redis).map {
            $0.replacingOccurrences(of: watchedTag, with: "user:__rand_int__")
        }
        let load = RedisBenchmark(pipeline: 16, requests: 40_000)
        let command = ["INVALIDATE", "TAGS", "user:__rand_int__"]
        let result = try await Rounds(rounds) {
            try await undisturbed(syncd) { try await load.run(socket: syncd.socketPath, command) }
        } yardstick: {
            try await load.run(socket: redis.socketPath, script)
        }
        let alone = try await Rounds(rounds) {
            try await load.run(socket: embedded.socketPath, command)
        } yardstick: {
            try await load.run(socket: redis.socketPath, script)
        }
        let bare = "the append script alone"
        return [
            result.row(
                "append-rate", "INVALIDATE through Redis, 8 clients × 16 pipelined", bare, .perSecond,
                .ratioAtLeast(0.7)),
            alone.row("append-embedded-rate", "the same, embedded", bare, .perSecond, .none),
        ]
    }

    /// On a machine that is too busy for Redis to answer within 250 ms, syncd isolates itself and writes pending
    /// invalidations into files. This is not the measured work, so the measurement is repeated.
    private static func undisturbed(
        _ syncd: SyncdProcess, _ measure: () async throws -> [Double]
    ) async throws -> [Double] {
        for _ in 0..<10 {
            let before = try await syncd.status("fanout", "deferred")
            let result = try await measure()
            if try await syncd.status("fanout", "deferred") == before { return result }
            try await syncd.waitUntilAttached()
        }
        throw TestFailure("syncd was isolated in each of ten attempts: the machine is too busy")
    }

    private static let watchedTag = "user:000000000001"

    /// The exact command of a syncd for one tag, as Redis shows it.
    private static func appendCommand(_ redis: RedisServer, namespace: String? = nil) async throws -> [String] {
        let syncd = try await SyncdProcess.forMeasuring(
            redis: redis, environment: namespace.map { ["SYNCD_NAMESPACE": $0] } ?? [:])
        let (monitor, writer) = (try Wire(path: redis.socketPath), try Wire(path: syncd.socketPath))
        // Before the first append syncd does not know the script's name.
        for _ in 0..<20 { try writer.command("INVALIDATE", "TAGS", watchedTag) }
        try monitor.command("MONITOR")
        try writer.command("INVALIDATE", "TAGS", watchedTag)
        while true {
            guard case .simpleString(let line) = try monitor.value() else { throw TestFailure("MONITOR says nothing") }
            let words = Self.words(String(buffer: line))
            if words.first == "EVALSHA" { return words }
        }
    }

    /// The quoted words of a line of MONITOR.
    private static func words(_ line: String) -> [String] {
        var words: [String] = []
        var rest = Array(line.utf8)[...]
        while let start = rest.firstIndex(of: UInt8(ascii: "\"")) {
            rest = rest[(start + 1)...]
            var word: [UInt8] = []
            while let byte = rest.popFirst(), byte != UInt8(ascii: "\"") {
                guard byte == UInt8(ascii: "\\"), let escaped = rest.popFirst() else {
                    word.append(byte)
                    continue
                }
                switch escaped {
                case UInt8(ascii: "r"): word.append(13)
                case UInt8(ascii: "n"): word.append(10)
                default: word.append(escaped)
                }
            }
            words.append(String(decoding: word, as: UTF8.self))
        }
        return words
    }
}
