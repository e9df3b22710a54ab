import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

/// Loads that say more than a value, and how long values are kept.
@Suite(.timeLimit(.minutes(10))) struct LoadedTests {
    private static func read(
        _ harness: CacheHarness, ttl: Duration = .seconds(60), _ loaded: Loaded
    ) async throws -> CachedValue {
        try await harness.cache.taggedValue(for: harness.key, tags: [harness.tag], ttl: ttl) { loaded }
    }

    private static func loaded(_ text: String, tags: [String] = [], ttl: Duration? = nil) -> Loaded {
        Loaded(value: ByteBuffer(string: text), tags: tags.map { CacheTag($0) }, ttl: ttl)
    }

    private static func fills(_ harness: CacheHarness) -> [Fill] {
        harness.syncd.requests.compactMap { if case .fill(let fill) = $0 { fill } else { nil } }
    }

    @Test func `syncd is told all tags and the time to live`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let answer = Self.loaded("a", tags: ["late"], ttl: .seconds(7))
            #expect(try await Self.read(harness, answer) == CachedValue("a", .miss))
            let fill = try #require(Self.fills(harness).first)
            #expect(fill.tags == [harness.tag.bytes, ByteBuffer(string: "late")] && fill.ttlMilliseconds == 7000)
        }
    }

    @Test(arguments: ["users", "late"]) func `any of the tags ends it`(tag: String) async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            _ = try await Self.read(harness, Self.loaded("a", tags: ["late"]))
            #expect(try await Self.read(harness, Self.loaded("b")) == CachedValue("a", .l1))
            harness.syncd.table.raise(tags: [ByteBuffer(string: tag)], to: 1)
            #expect(try await Self.read(harness, Self.loaded("b")) == CachedValue("b", .miss))
        }
    }

    @Test func `an invalidation of a late tag during the load is not shared with who came after it`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let read = { @Sendable [cache = harness.cache, loads = harness.loads, key = harness.key] in
                try await cache.taggedValue(for: key, ttl: .seconds(60)) {
                    Loaded(value: try await loads.load(), tags: ["late"])
                }
            }
            harness.syncd.script {
                guard case .fill(let fill) = $0, fill.lease == 101 else { return nil }
                // As syncd does: the slot of a tag is past the asOf of the lease.
                return fill.tags == [ByteBuffer(string: "late")] ? [.reply(.error(ReplyError(.stale, "")))] : nil
            }
            let first = Task { try await read() }
            await eventually("it loads") { harness.loads.begun == 1 }
            harness.syncd.table.raise(tags: [ByteBuffer(string: "late")], to: 1)
            harness.syncd.table.setApplied(1)
            let second = Task { try await read() }
            await eventually("both wait") { harness.cache.singleFlight.waitingCount == 2 }
            await harness.loads.answer(1, "old")
            #expect(try await first.value == CachedValue("old", .miss))
            await harness.loads.answer(2, "new")
            #expect(try await second.value == CachedValue("new", .miss))
        }
    }

    @Test func `the time to live of the load ends it`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            _ = try await Self.read(harness, Self.loaded("a", ttl: .seconds(2)))
            await harness.pass(milliseconds: 1999)
            #expect(try await Self.read(harness, Self.loaded("b")) == CachedValue("a", .l1))
            await harness.pass(milliseconds: 1)
            #expect(try await Self.read(harness, Self.loaded("b")) == CachedValue("b", .miss))
        }
    }

    @Test(arguments: [
        loaded("a", ttl: .zero), loaded("a", ttl: .seconds(-1)), loaded("a", tags: [""]),
        loaded("a", tags: [String(repeating: "t", count: 257)]),
        loaded("a", tags: (0..<64).map { "\($0)" }),
    ])
    func `what can't or mustn't be kept is returned, and the next one may load`(answer: Loaded) async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            #expect(try await Self.read(harness, answer) == CachedValue("a", .miss))
            #expect(harness.cache.l1.statistics.entries == 0)
            await eventually("the lease is given back") { harness.syncd.abandons.count == 1 }
            #expect(harness.syncd.fills.count == 0)
        }
    }

    @Test func `63 further tags are kept`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            _ = try await Self.read(harness, Self.loaded("a", tags: (0..<63).map { "\($0)" }))
            #expect(Self.fills(harness).first?.tags.count == 64)
        }
    }

    @Test func `without syncd the value alone counts`() async throws {
        try await CacheHarness.run { (harness: CacheHarness) async throws in
            #expect(try await Self.read(harness, Self.loaded("a", tags: ["t"])) == CachedValue("a", .bypass))
        }
    }

    // MARK: Spread

    private static func ttls(spread: Int, ttl: Duration = .seconds(100)) async throws -> [UInt64] {
        var ttls: [UInt64] = []
        try await CacheHarness.connected {
            $0.ttlSpreadPercent = spread
        } _: { (harness: CacheHarness) async throws in
            for index in 0..<200 {
                _ = try await harness.cache.value(for: "\(index)", tags: [], ttl: ttl) { nil }
            }
            ttls = fills(harness).map(\.ttlMilliseconds)
        }
        return ttls
    }

    @Test func `by default a time to live is what was said`() async throws {
        #expect(Set(try await Self.ttls(spread: 0)) == [100_000])
        #expect(Set(try await Self.ttls(spread: -5)) == [100_000])
    }

    @Test func `spread, it is never longer, and not the same for all`() async throws {
        let ttls = try await Self.ttls(spread: 20)
        #expect(ttls.count == 200 && ttls.allSatisfy { (80_000...100_000).contains($0) })
        #expect(Set(ttls).count > 100)
        #expect(ttls.contains { $0 < 85_000 } && ttls.contains { $0 > 95_000 })
        #expect(try await Self.ttls(spread: 1000).allSatisfy { (10_000...100_000).contains($0) })
        #expect(try await Self.ttls(spread: 90, ttl: .milliseconds(1)).allSatisfy { $0 == 1 })
    }
}
