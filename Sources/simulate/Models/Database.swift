import IPCWire
import NIOCore

/// The reason why a database call failed.
enum DatabaseError: Error {
    /// The call did not happen.
    case refused
    /// The call may have happened, or may still happen.
    case timedOut
}

/// A model of MongoDB: one register per key, whose version is the number of its last change. Every read sees the newest
/// version at one instant between its begin and its end, and so does every write.
// Unchecked: everything in a simulation runs on its one thread.
final class Database: @unchecked Sendable {
    private let world: World
    private let plan: Plan
    private(set) var versions: [UInt64]
    /// The content of each register: a write of the same content changes nothing.
    private var contents: [Int]
    private var lastContent = 0
    /// Time of the last change of each register.
    private var changedAt: [UInt64]
    /// Called when a write has changed the database.
    var landed: (Write) -> Void = { _ in }
    var figures = Figures()

    /// Maximum time that a call waits for its answer, and deadline of a write of one document, after which the server
    /// refuses it.
    static let patience: UInt64 = 2_000_000_000

    init(world: World, plan: Plan) {
        self.world = world
        self.plan = plan
        versions = Array(repeating: 1, count: plan.keys)
        contents = Array(repeating: 0, count: plan.keys)
        changedAt = Array(repeating: 0, count: plan.keys)
    }

    /// The value of a version; for some versions, none.
    static func value(_ version: UInt64) -> ByteBuffer? {
        isAbsent(version) ? nil : ByteBuffer(integer: version)
    }

    /// Whether the key does not exist at this version: a negative result.
    static func isAbsent(_ version: UInt64) -> Bool { version % 7 == 5 }

    /// A content that was never used.
    func newContent() -> Int {
        lastContent += 1
        return lastContent
    }

    private func latency(isSlow: Bool) -> UInt64 {
        isSlow && !world.areFaultsOver
            ? world.random.number(50_000_000...plan.slowest) : world.random.number(100_000...5_000_000)
    }

    // MARK: Reads

    func load(_ key: Int, for process: Reader) async throws -> ByteBuffer? {
        let isSlow = world.random.percent(plan.slowLoads)
        let (there, back) = (latency(isSlow: isSlow && world.random.oneIn(2)), latency(isSlow: isSlow))
        let isFailing = !world.areFaultsOver && world.random.percent(plan.failingLoads)
        let held = held(process)
        return try await withUnsafeThrowingContinuation { continuation in
            if held > Self.patience {
                world.after(Self.patience, process, "read timed out") {
                    continuation.resume(throwing: DatabaseError.refused)
                }
                return
            }
            world.after(held + there, nil, "database reads") { [self] in
                let version = visibleVersion(key)
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

    private func visibleVersion(_ key: Int) -> UInt64 {
        // A replica may not have received the last change yet.
        let isBehind = breaks(.readFromLaggingReplica) && world.now < changedAt[key] + 50_000_000
        return isBehind ? versions[key] - 1 : versions[key]
    }

    /// Remaining time for which the way from this process to the database is cut.
    private func held(_ process: Reader) -> UInt64 {
        process.databaseHeldUntil > world.now ? process.databaseHeldUntil - world.now : 0
    }

    // MARK: Writes

    /// The times of a write.
    private struct Journey {
        enum Outcome { case refused, answered, unknown }

        var outcome: Outcome
        /// The time when it reaches the register; `nil`: never.
        var landing: UInt64?
        /// The time when the caller knows the outcome, or gives up.
        var end: UInt64
        /// For an unknown outcome, the time when the process knows that the write cannot land any more.
        var over: UInt64 = 0
    }

    private func journey(of write: Write) -> Journey {
        let isSlow = world.random.percent(plan.slowWrites)
        let held = held(write.worker)
        let soon = write.landing ?? min(latency(isSlow: isSlow), Self.patience) + held
        let back = latency(isSlow: isSlow)
        let fate = write.fate == .chance ? world.random.below(100) : write.fate == .sound ? 100 : plan.failingWrites - 1
        if write.fate == .chance, fate < plan.failingWrites / 2 {
            return Journey(outcome: .refused, end: min(soon, Self.patience))
        }
        if fate >= plan.failingWrites, soon <= Self.patience, write.fate != .unknown {
            return Journey(outcome: .answered, landing: soon, end: soon + back)
        }
        figures.add("writes of unknown outcome")
        // The caller gives up at some time; the write lands before it, after it, or never.
        let limit = latestLanding(write)
        let late = world.random.number(0...(world.random.oneIn(2) ? min(limit, Self.patience) : limit))
        let chosen = write.landing ?? (world.random.oneIn(3) ? nil : max(late, held))
        let landing = chosen.flatMap { $0 <= limit ? $0 : nil }
        let over = (landing ?? world.random.number(0...limit)) + back
        return Journey(
            outcome: .unknown, landing: landing, end: world.random.number(0...Self.patience), over: max(over, held))
    }

    /// The time when the server ends a transaction whose client is gone.
    var latestTransaction: UInt64 { breaks(.deadlineMissing) ? 3 * plan.transactionLifetime : plan.transactionLifetime }

    /// The time after which the server refuses the write.
    private func latestLanding(_ write: Write) -> UInt64 {
        write.isTransaction || breaks(.deadlineMissing) ? latestTransaction : Self.patience
    }

    /// Returns when the write has landed, or throws.
    func carryOut(_ write: Write) async throws {
        let process = write.worker
        defer { write.endedAt = world.now }
        let journey = journey(of: write)
        try await withUnsafeThrowingContinuation { (continuation: UnsafeContinuation<Void, any Error>) in
            if let landing = journey.landing {
                world.after(landing, nil, "write lands") { [self] in land(write) }
            }
            switch journey.outcome {
            case .answered: world.after(journey.end, process, "write answered") { continuation.resume() }
            case .refused:
                world.after(journey.end, process, "write refused") {
                    continuation.resume(throwing: DatabaseError.refused)
                }
            case .unknown:
                world.after(journey.end, process, "write timed out") {
                    continuation.resume(throwing: DatabaseError.timedOut)
                }
                world.after(journey.over, process, "outcome known") { write.becameKnown() }
            }
        }
    }

    /// The client is told the state that the write found, also if the write changes nothing.
    private func land(_ write: Write) {
        let key = write.key
        if let content = write.content, content != contents[key] {
            contents[key] = content
            versions[key] += 1
            changedAt[key] = world.now
            write.version = versions[key]
        } else {
            figures.add("goal: write changed nothing")
        }
        write.seen = versions[key]
        if write.endedAt == nil { write.seenAtEnd = write.seen }
        if write.version != nil { landed(write) }
    }
}
