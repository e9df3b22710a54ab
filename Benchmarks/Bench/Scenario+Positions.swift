import IPC
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TestSupport

extension Scenario {
    /// A read on another host directly after a write, with the write's position and without one. Each round has 20 000
    /// tries with it, so that 50 rounds have a million.
    static func positions(_ rounds: Int) async throws -> [Measured] {
        let redis = try await RedisServer()
        let pair = try await HostPair(
            writer: try await SyncdProcess.forMeasuring(redis: redis),
            reader: try await SyncdProcess.forMeasuring(redis: redis))
        let measured = try await Rounds(rounds) {
            try await pair.read(20_000, bringsPosition: true)
        } yardstick: {
            try await pair.read(2000, bringsPosition: false)
        }
        let row = measured.row(
            "position-read", "a read on another host, with the position of a write that was just acknowledged, p50",
            "the same without the position", .nanoseconds, .differenceAtMost(1_000_000))
        var stale = row
        (stale.name, stale.what, stale.unit) = ("position-stale", "the same, stale answers of all", .count)
        (stale.figure, stale.yardstickFigure) = (Double(pair.staleAnswers.with), Double(pair.staleAnswers.without))
        (stale.ratio, stale.goal) = (nil, .atMost(0))
        return [row, stale]
    }
}

/// Two hosts with a worker each in this process, and numbers as their database, each of which one client writes.
private final class HostPair: Sendable {
    private let syncds: [SyncdProcess]
    private let caches: [SyncedCache]
    private let running: [Task<Void, any Error>]
    private let database = Mutex(Array(repeating: 0, count: HostPair.clients))
    private let counts = Mutex((with: 0, without: 0))
    private static let clients = 4

    /// Stale answers so far, of reads with a position and without one.
    var staleAnswers: (with: Int, without: Int) { counts.withLock { $0 } }

    init(writer: SyncdProcess, reader: SyncdProcess) async throws {
        syncds = [writer, reader]
        caches = syncds.map { syncd in
            SyncedCache(
                configuration: SyncedCacheConfiguration(socketPath: syncd.socketPath, clientName: "bench"),
                eventLoop: MultiThreadedEventLoopGroup.singleton.next(), logger: Logger(label: "bench"))
        }
        running = caches.map { cache in Task { try await cache.run() } }
        for cache in caches { while cache.status.sync != .attached { try await Task.sleep(for: .milliseconds(5)) } }
    }

    deinit { for task in running { task.cancel() } }

    /// Time of a read in ns, p50. Every try is a write and a read.
    func read(_ tries: Int, bringsPosition: Bool) async throws -> [Double] {
        let times = try await withThrowingTaskGroup(of: LatencyRecorder.self) { group in
            for client in 0..<Self.clients {
                group.addTask { try await self.read(tries / Self.clients, by: client, bringsPosition) }
            }
            return try await group.reduce(into: LatencyRecorder()) { $0.add($1) }
        }
        return [times.value(atPercentile: 50)]
    }

    private func read(_ tries: Int, by client: Int, _ bringsPosition: Bool) async throws -> LatencyRecorder {
        var times = LatencyRecorder()
        let (key, tag) = (CacheKey("number:\(client)"), CacheTag("number:\(client)"))
        for _ in 0..<tries {
            let written = try await caches[0].writing([tag]) {
                .changed(
                    database.withLock {
                        $0[client] += 1
                        return $0[client]
                    }, event: nil)
            }
            let start = monotonicNow()
            let read = try await caches[1].value(
                for: key, tags: [tag], ttl: .seconds(3600), after: bringsPosition ? written.position : nil
            ) { [self] in ByteBuffer(integer: database.withLock { $0[client] }) }
            times.record(monotonicNow() - start)
            guard read.value?.getInteger(at: 0, as: Int.self) != written.value else { continue }
            counts.withLock { if bringsPosition { $0.with += 1 } else { $0.without += 1 } }
        }
        return times
    }
}
