import NIOCore

/// Why a database call failed.
enum DatabaseError: Error {
    /// Nothing happened.
    case refused
    /// It may have happened, or happen yet.
    case timedOut
}

/// MongoDB, as far as caching is concerned: one register per key, whose value is the number of its last write.
/// Every read sees the newest value at one instant between its begin and its end.
// Unchecked: everything in a simulation runs on its one thread.
final class Database: @unchecked Sendable {
    private let world: World
    private let plan: Plan
    private(set) var versions: [UInt64]
    /// A write has reached the database.
    var landed: (Write) -> Void = { _ in }
    var figures = Figures()

    /// One write, from its begin on.
    // Unchecked: everything in a simulation runs on its one thread.
    final class Write: @unchecked Sendable {
        let key: Int
        let worker: SimulatedWorker
        /// The version that it made, once it has landed.
        var version: UInt64?
        /// The same, if it landed before the caller's part of it ended.
        var versionAtEnd: UInt64?
        /// How long it is on its way, if that is not left to chance.
        var landing: UInt64?
        /// When the caller's part of it ended.
        var endedAt: UInt64?

        init(key: Int, worker: SimulatedWorker, landing: UInt64? = nil) {
            self.key = key
            self.landing = landing
            self.worker = worker
        }
    }

    /// The bound on a write's time at the server, `maxTimeMS`, and how long it may be on its way.
    static let longestWrite: UInt64 = 2_000_000_000

    init(world: World, plan: Plan) {
        self.world = world
        self.plan = plan
        versions = Array(repeating: 1, count: plan.keys)
    }

    /// The value that stands for a version: for some, that there is none.
    static func value(_ version: UInt64) -> ByteBuffer? {
        isAbsent(version) ? nil : ByteBuffer(integer: version)
    }

    /// Versions at which the key does not exist: a negative result.
    static func isAbsent(_ version: UInt64) -> Bool { version % 7 == 5 }

    private func latency(isSlow: Bool) -> UInt64 {
        isSlow && !world.areFaultsOver
            ? world.random.number(50_000_000...plan.slowest) : world.random.number(100_000...5_000_000)
    }

    func load(_ key: Int, for process: Process) async throws -> ByteBuffer? {
        let isSlow = world.random.percent(plan.slowLoads)
        let (there, back) = (latency(isSlow: isSlow && world.random.oneIn(2)), latency(isSlow: isSlow))
        let isFailing = !world.areFaultsOver && world.random.percent(plan.failingLoads)
        return try await withUnsafeThrowingContinuation { continuation in
            world.after(there, nil, "database reads") { [self] in
                let version = versions[key]
                world.after(back, process, "value read") {
                    if isFailing {
                        continuation.resume(throwing: DatabaseError.refused)
                    } else {
                        continuation.resume(returning: Self.value(version))
                    }
                }
            }
        }
    }

    /// Returns when it has landed, or throws.
    func carryOut(_ write: Write) async throws {
        let process = write.worker
        defer { write.endedAt = world.now }
        let isSlow = world.random.percent(plan.slowWrites)
        let (soon, back) = (min(latency(isSlow: isSlow), Self.longestWrite), latency(isSlow: isSlow))
        let there = write.landing ?? soon
        let fate = write.landing == nil ? world.random.below(100) : 100
        try await withUnsafeThrowingContinuation { (continuation: UnsafeContinuation<Void, any Error>) in
            if fate < plan.failingWrites / 2 {
                world.after(there, process, "write refused") {
                    continuation.resume(throwing: DatabaseError.refused)
                }
                return
            }
            let isUnknown = fate < plan.failingWrites
            if isUnknown {
                figures.add("writes of unknown outcome")
                // The caller gives up at some time; the write lands before it, after it, or never.
                world.after(world.random.number(0...Self.longestWrite), process, "write timed out") {
                    continuation.resume(throwing: DatabaseError.timedOut)
                }
                if world.random.oneIn(3) { return }
            }
            let landing = isUnknown ? world.random.number(0...Self.longestWrite) : there
            world.after(landing, nil, "write lands") { [self] in
                versions[write.key] += 1
                write.version = versions[write.key]
                landed(write)
                guard !isUnknown else { return }
                world.after(back, process, "write answered") { continuation.resume() }
            }
        }
    }
}
