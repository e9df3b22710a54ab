import IPCTesting
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import IPC

/// Hits that are compared with the database.
@Suite(.timeLimit(.minutes(10))) struct AuditorTests {
    /// The content of the database, and the number of its reads.
    private final class Database: Sendable {
        private struct State {
            var value: String?
            var loads = 0
            var isBroken = false
        }

        private let state: Mutex<State>

        init(_ value: String?) { state = Mutex(State(value: value)) }

        var loads: Int { state.withLock { $0.loads } }
        func set(_ value: String?) { state.withLock { $0.value = value } }
        func breakDown() { state.withLock { $0.isBroken = true } }

        func load() throws -> ByteBuffer? {
            try state.withLock { state in
                state.loads += 1
                if state.isBroken { throw LoadFailed() }
                return state.value.map { ByteBuffer(string: $0) }
            }
        }
    }

    private final class Findings: Sendable {
        private let keys = Mutex<[CacheKey]>([])
        var all: [CacheKey] { keys.withLock { $0 } }
        func add(_ key: CacheKey) { keys.withLock { $0.append(key) } }
    }

    private static func read(_ harness: CacheHarness, _ database: Database) async throws -> CachedValue {
        try await harness.cache.value(for: harness.key, tags: [harness.tag], ttl: .seconds(60)) { try database.load() }
    }

    private static func figures(_ harness: CacheHarness) -> AuditStatistics? { harness.cache.status.audit }

    /// Lets the auditor wait, step by step, until the figures are these.
    private static func wait(
        _ harness: CacheHarness, for expected: AuditStatistics, milliseconds: UInt64 = 100,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        await eventually("\(expected)", sourceLocation: sourceLocation) {
            if figures(harness) == expected { return true }
            if harness.syncd.clock.sleeperCount > 0 { await harness.pass(milliseconds: milliseconds) }
            return false
        }
    }

    /// A value in L1 whose hit begins an audit, and a database that is changed before that.
    private static func withHit(
        changedTo changed: String?, _ body: (CacheHarness, Database, Findings) async throws -> Void
    ) async throws {
        let findings = Findings()
        try await CacheHarness.connected { configuration in
            configuration.auditOneIn = 1
            configuration.staleValueFound = { findings.add($0) }
        } _: { (harness: CacheHarness) async throws in
            let database = Database("a")
            #expect(try await read(harness, database) == CachedValue("a", .miss))
            database.set(changed)
            #expect(try await read(harness, database) == CachedValue("a", .l1))
            try await body(harness, database, findings)
        }
    }

    @Test func `by default nothing is audited`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let database = Database("a")
            for _ in 0..<100 { _ = try await Self.read(harness, database) }
            #expect(harness.cache.auditor == nil && Self.figures(harness) == nil)
            #expect(database.loads == 1)
        }
    }

    @Test func `what the database holds, too, is as it should be`() async throws {
        try await Self.withHit(changedTo: "a") { harness, database, findings in
            await Self.wait(harness, for: AuditStatistics(sampled: 1))
            #expect(database.loads == 2 && findings.all == [])
        }
    }

    @Test func `a difference that no invalidation follows is stale`() async throws {
        try await Self.withHit(changedTo: "b") { harness, database, findings in
            await eventually("it is loaded again") { database.loads == 2 && harness.syncd.clock.sleeperCount == 1 }
            let start = harness.syncd.clock.now
            while harness.syncd.clock.now < start + 9_900_000_000 {
                // Not past a sleeper that is awake and looks at the clock.
                await eventually("it waits") { harness.syncd.clock.sleeperCount == 1 }
                await harness.pass(milliseconds: 100)
            }
            #expect(Self.figures(harness) == AuditStatistics(), "an invalidation may still come")
            await Self.wait(harness, for: AuditStatistics(sampled: 1, stale: 1))
            #expect(database.loads == 3)
            await eventually("it is told") { findings.all == [harness.key] }
        }
    }

    @Test func `that there is nothing any more is a difference`() async throws {
        try await Self.withHit(changedTo: nil) { harness, _, findings in
            await Self.wait(harness, for: AuditStatistics(sampled: 1, stale: 1))
            await eventually("it is told") { findings.all == [harness.key] }
        }
    }

    @Test(arguments: ["users", "=users:all", "*"]) func `an invalidation excuses it`(tag: String) async throws {
        try await Self.withHit(changedTo: "b") { harness, database, findings in
            await eventually("it waits") { harness.syncd.clock.sleeperCount == 1 }
            harness.syncd.table.raise(tags: [ByteBuffer(string: tag)], to: 1)
            await Self.wait(harness, for: AuditStatistics(sampled: 1, superseded: 1))
            #expect(database.loads == 2 && findings.all == [])
        }
    }

    @Test func `one of another tag doesn't`() async throws {
        try await Self.withHit(changedTo: "b") { harness, _, _ in
            await eventually("it waits") { harness.syncd.clock.sleeperCount == 1 }
            harness.syncd.table.raise(tags: [ByteBuffer(string: "others")], to: 1)
            await Self.wait(harness, for: AuditStatistics(sampled: 1, stale: 1))
        }
    }

    @Test func `another epoch excuses it, and so does a table that is not believed`() async throws {
        try await Self.withHit(changedTo: "b") { harness, _, _ in
            await eventually("it waits") { harness.syncd.clock.sleeperCount == 1 }
            harness.syncd.table.setEpoch(harness.syncd.table.epoch + 1)
            await Self.wait(harness, for: AuditStatistics(sampled: 1, superseded: 1))
        }
        try await Self.withHit(changedTo: "b") { harness, _, _ in
            await eventually("it waits") { harness.syncd.clock.sleeperCount == 1 }
            harness.syncd.table.setState(.isolated)
            await Self.wait(harness, for: AuditStatistics(sampled: 1, superseded: 1))
        }
    }

    @Test func `a write that was taken back excuses it`() async throws {
        try await Self.withHit(changedTo: "b") { harness, database, findings in
            await eventually("it waits") { harness.syncd.clock.sleeperCount == 1 }
            database.set("a")
            await Self.wait(harness, for: AuditStatistics(sampled: 1, superseded: 1))
            #expect(database.loads == 3 && findings.all == [])
        }
    }

    @Test func `one at a time, and the others are dropped`() async throws {
        try await Self.withHit(changedTo: "b") { harness, database, _ in
            await eventually("it waits") { harness.syncd.clock.sleeperCount == 1 }
            for _ in 0..<50 { #expect(try await Self.read(harness, database) == CachedValue("a", .l1)) }
            await Self.wait(harness, for: AuditStatistics(sampled: 1, stale: 1))
            #expect(database.loads == 3)
            _ = try await Self.read(harness, database)
            await Self.wait(harness, for: AuditStatistics(sampled: 2, stale: 2))
        }
    }

    @Test func `after a slow load it rests`() async throws {
        try await CacheHarness.connected {
            $0.auditOneIn = 1
        } _: { (harness: CacheHarness) async throws in
            let first = harness.read()
            await harness.loads.answer(1, "a")
            _ = try await first.value
            let hit = try await harness.read().value
            await eventually("it is loaded again") { harness.loads.begun == 2 }
            await harness.pass(milliseconds: 200)
            await harness.loads.answer(2, "a")
            await Self.wait(harness, for: AuditStatistics(sampled: 1), milliseconds: 1)
            await eventually("it rests") { harness.syncd.clock.sleeperCount == 1 }
            await harness.pass(milliseconds: 1780)
            #expect(try await harness.read().value == hit)
            #expect(harness.loads.begun == 2)
            await harness.pass(milliseconds: 40)
            try await eventually("it audits again") {
                try await harness.read().value == hit && harness.loads.begun == 3
            }
            await harness.loads.answer(3, "a")
            await Self.wait(harness, for: AuditStatistics(sampled: 2), milliseconds: 1)
        }
    }

    @Test func `a load that fails says nothing`() async throws {
        try await CacheHarness.connected {
            $0.auditOneIn = 1
        } _: { (harness: CacheHarness) async throws in
            let database = Database("a")
            _ = try await Self.read(harness, database)
            database.breakDown()
            #expect(try await Self.read(harness, database) == CachedValue("a", .l1))
            await eventually("it is loaded again") { database.loads == 2 }
            #expect(Self.figures(harness) == AuditStatistics())
        }
    }

    @Test func `what syncd had is audited`() async throws {
        try await CacheHarness.connected {
            $0.auditOneIn = 1
        } _: { (harness: CacheHarness) async throws in
            let (database, theirs) = (Database("b"), harness.syncd.hit("a", tags: [harness.tag]))
            harness.syncd.script { if case .fetch = $0 { [.reply(.fetched(theirs))] } else { nil } }
            #expect(try await Self.read(harness, database) == CachedValue("a", .l2))
            await Self.wait(harness, for: AuditStatistics(sampled: 1, stale: 1))
        }
    }

    @Test func `without a table there is nothing to judge by`() async throws {
        try await CacheHarness.connected(hasTable: false) {
            $0.auditOneIn = 1
        } _: {
            (harness: CacheHarness) async throws in
            let (database, theirs) = (Database("b"), harness.syncd.hit("a"))
            harness.syncd.script { if case .fetch = $0 { [.reply(.fetched(theirs))] } else { nil } }
            #expect(try await Self.read(harness, database) == CachedValue("a", .l2))
            #expect(database.loads == 0)
        }
    }

    @Test func `a worker that ends doesn't wait for it`() async throws {
        try await Self.withHit(changedTo: "b") { harness, _, _ in
            await eventually("it waits") { harness.syncd.clock.sleeperCount == 1 }
            harness.cache.auditor?.end()
            await eventually("it ends") { harness.syncd.clock.sleeperCount == 0 }
            #expect(Self.figures(harness) == AuditStatistics())
        }
    }

    @Test func `syncd is told the figures`() async throws {
        try await Self.withHit(changedTo: "b") { harness, _, _ in
            await Self.wait(harness, for: AuditStatistics(sampled: 1, stale: 1))
            await eventually("it reports") {
                await harness.pass(milliseconds: 100)
                return harness.syncd.count { request in
                    guard case .report(let fields) = request else { return false }
                    let texts = fields.map { "\(String(buffer: $0.name))=\(String(buffer: $0.value))" }
                    return Set(["audit-sampled=1", "audit-stale=1", "audit-superseded=0"]).isSubset(of: texts)
                } > 0
            }
        }
    }

    // MARK: The share

    @Test(arguments: [1, 2, 3, 10, 1000]) func `one in so many hits of L1, and never by a rhythm`(oneIn: Int) throws {
        let table = TagTable.inMemory()
        table.setState(.attached)
        table.setHeartbeat(5)
        table.setFreshAsOf(5)
        let turn = Atomic<UInt64>(0)
        let sampling = try #require(
            Sampling(oneIn: oneIn) { range in
                // Every number of the range as often as any other, in leaps.
                let turn = turn.add(1, ordering: .relaxed).newValue
                return range.lowerBound + turn &* 7919 % (range.upperBound - range.lowerBound + 1)
            })
        let l1 = L1Cache(byteBudget: 1 << 20, sampling: sampling) { 5 }
        l1.use(table)
        let key: CacheKey = "k"
        l1.insert(Hit(value: nil, asOf: 0, ttlMilliseconds: 1000, tags: [], epoch: 1), for: key)
        var gaps: [Int] = []
        var since = 0
        while gaps.count < 200 {
            since += 1
            guard try #require(l1.value(for: key)).duty?.sample != nil else { continue }
            gaps.append(since)
            since = 0
        }
        #expect(gaps.allSatisfy { 2 * $0 >= oneIn && 2 * $0 <= 3 * oneIn })
        let average = Double(gaps.reduce(0, +)) / Double(gaps.count)
        #expect(abs(average - Double(oneIn)) <= 0.1 * Double(oneIn))
        #expect(oneIn == 1 || Set(gaps).count > 1)
    }

    @Test func `none at all`() {
        #expect(Sampling(oneIn: 0) { $0.lowerBound } == nil)
        #expect(Sampling(oneIn: -1) { $0.lowerBound } == nil)
        #expect(Sampling(oneIn: .max) { $0.upperBound } != nil)
    }
}
