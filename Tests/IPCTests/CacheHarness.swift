import IPCTesting
import Logging
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import IPC

/// A worker's cache, connected to a scripted syncd, on a clock that is moved by hand.
final class CacheHarness: Sendable {
    let syncd: ScriptedSyncd
    let cache: SyncedCache
    let loads = Loads()
    let key: CacheKey = "users:all"
    let tag: CacheTag = "users"
    private let eventLoop: any EventLoop
    private let runner: Task<Void, any Error>

    private init(syncd: ScriptedSyncd, hasSocket: Bool, configure: (inout SyncedCacheConfiguration) -> Void) {
        self.syncd = syncd
        var configuration = SyncedCacheConfiguration(
            socketPath: hasSocket ? syncd.socketPath : nil, clientName: "test",
            subscribedChannels: [ByteBuffer(string: "user:created")])
        configure(&configuration)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let cache = SyncedCache(
            configuration: configuration, eventLoop: eventLoop, logger: logger, clock: syncd.clock)
        self.cache = cache
        runner = Task { try await cache.run() }
    }

    deinit { runner.cancel() }

    /// Runs a test with a cache that is connected.
    static func connected(
        hasTable: Bool = true, configure: (inout SyncedCacheConfiguration) -> Void = { _ in },
        _ body: (CacheHarness) async throws -> Void
    ) async throws {
        try await run(hasTable: hasTable, configure: configure) { (harness: CacheHarness) async throws in
            try await harness.syncd.start()
            // The connection may exist before this line runs.
            await harness.connectAgain(after: 0)
            try await body(harness)
        }
    }

    /// Runs a test with a cache whose syncd is not there yet.
    static func run(
        hasTable: Bool = true, hasSocket: Bool = true,
        configure: (inout SyncedCacheConfiguration) -> Void = { _ in }, _ body: (CacheHarness) async throws -> Void
    ) async throws {
        let syncd = try ScriptedSyncd(clock: ManualClock(), hasTable: hasTable)
        let harness = CacheHarness(syncd: syncd, hasSocket: hasSocket, configure: configure)
        do {
            try await body(harness)
        } catch {
            await harness.end()
            throw error
        }
        await harness.end()
    }

    private func end() async {
        runner.cancel()
        _ = await runner.result
        await syncd.stop()
        #expect(syncd.unreadable == [])
    }

    /// Lets the time pass that the worker waits between attempts, and no more, until it is connected.
    func connectAgain(after generation: UInt64? = nil, otherSleepers: Int = 0) async {
        let before = generation ?? cache.session.current.generation
        await eventually("it connects") {
            if syncd.clock.sleeperCount > otherSleepers { syncd.advance(by: .milliseconds(50)) }
            let current = cache.session.current
            return current.connection != nil && current.generation > before
        }
    }

    /// Lets time pass, but not past a reply that the connection waits for: it would give syncd up. Replies come in
    /// order, so that of a PING is the last.
    func pass(milliseconds: UInt64) async {
        var rest = milliseconds
        while rest > 0 {
            let step = min(rest, 100)
            syncd.advance(by: .milliseconds(step))
            try? await eventLoop.submit {}.get()
            _ = await cache.session.current.connection?.request(.ping(nil))
            rest -= step
        }
    }

    /// Begins a read whose load is answered by hand.
    func read(_ key: CacheKey? = nil) -> Task<CachedValue, any Error> {
        Task { [cache, loads, tag, key = key ?? self.key] in
            try await cache.value(for: key, tags: [tag], ttl: .seconds(60)) { try await loads.load() }
        }
    }

    /// A read whose load brings this text at once.
    func read(loading text: String) async throws -> CachedValue {
        try await cache.value(for: key, tags: [tag], ttl: .seconds(60)) { ByteBuffer(string: text) }
    }

    /// Begins a write that changes something.
    func write(event: Event? = nil) -> Task<String, any Error> {
        Task { [cache, tag] in try await cache.invalidating([tag]) { .changed("done", event: event) } }
    }

    /// Kinds of the files in the journal.
    var journal: [String] {
        ScratchFolder.names(in: syncd.journal.path).compactMap { $0.split(separator: ".").last.map(String.init) }
            .filter { $0 != "lock" }.sorted()
    }
}

extension ScriptedSyncd {
    /// The clock of these tests.
    var clock: ManualClock {
        guard let manualClock else { preconditionFailure("a clock that is moved by hand") }
        return manualClock
    }
}

extension CachedValue {
    init(_ text: String, _ source: CacheSource) { self.init(value: ByteBuffer(string: text), source: source) }
}
