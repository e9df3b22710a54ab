import IPC
import Logging
import NIOCore
import NIOPosix
import TestSupport
import Testing

/// Tags that only the load knows, with a real syncd.
@Suite(.tags(.servers), .processes) struct LateTagTests {
    private static let key: CacheKey = "list"
    private static let late: CacheTag = "member:1"

    private static func read(
        _ cache: SyncedCache, _ text: String, during: @escaping @Sendable () async throws -> Void = {}
    ) async throws -> String {
        let value = try await cache.taggedValue(for: key, ttl: .seconds(60)) {
            try await during()
            return Loaded(value: ByteBuffer(string: text), tags: [late])
        }
        return "\(value.source.rawValue) \(value.value.map { String(buffer: $0) } ?? "")"
    }

    @Test(arguments: Home.allCases) func `an invalidation of one during the load refuses the value`(
        home: Home
    ) async throws {
        let (redis, syncd) = try await home.start()
        defer { withExtendedLifetime(redis) {} }
        try await syncd.waitUntilAttached()
        let caches = (0..<2).map { number in
            SyncedCache(
                configuration: SyncedCacheConfiguration(socketPath: syncd.socketPath, clientName: "late-\(number)"),
                eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "late"))
        }
        try await withThrowingTaskGroup { group in
            for cache in caches { group.addTask { try await cache.run() } }
            for cache in caches { await eventually("attached") { cache.status.sync == .attached } }
            let other = caches[1]
            let first = try await Self.read(caches[0], "old") {
                try await other.invalidating([Self.late]) { .changed((), event: nil) }
            }
            #expect(first == "MISS old", "it began before the write")
            #expect(try await Self.read(caches[0], "new") == "MISS new")
            #expect(try await Self.read(caches[1], "x") == "L2 new")
            #expect(try await Self.read(caches[1], "x") == "L2 new", "read twice, it is worth keeping")
            #expect(try await Self.read(caches[1], "x") == "L1 new")
            try await caches[0].invalidating([Self.late]) { .changed((), event: nil) }
            #expect(try await Self.read(caches[1], "newer") == "MISS newer")
            group.cancelAll()
        }
    }
}
