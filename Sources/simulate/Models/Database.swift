import IPCWire
import NIOCore

/// Why a database call failed.
enum DatabaseError: Error {
    /// Nothing happened.
    case refused
    /// It may have happened, or happen yet.
    case timedOut
}

/// MongoDB, as far as caching is concerned: one register per key, whose version is the number of its last change.
/// Every read sees the newest version at one instant between its begin and its end, and so does every write.
// Unchecked: everything in a simulation runs on its one thread.
final class Database: @unchecked Sendable {
    let world: World
    let plan: Plan
    var versions: [UInt64]
    /// What each register holds: a write of the same changes nothing.
    var contents: [Int]
    private var lastContent = 0
    /// When each register was changed last.
    var changedAt: [UInt64]
    /// The primary has lost the other members, until then: what it takes is not committed.
    var aloneUntil: UInt64 = 0
    /// What it has taken since, and what was there before.
    var uncommitted: [Write] = []
    var formerContents: [Int: Int] = [:]
    /// A part of a write has changed the database.
    var landed: (Write, Write.Part) -> Void = { _, _ in }
    /// What these writes made of a register is not there any more.
    var rolledBack: (_ key: Int, _ version: UInt64, [Write]) -> Void = { _, _, _ in }
    var figures = Figures()

    /// How long a call waits for its answer, and the deadline that a write of one document carries: later than that
    /// the server refuses it.
    static let patience: UInt64 = 2_000_000_000

    init(world: World, plan: Plan) {
        self.world = world
        self.plan = plan
        versions = Array(repeating: 1, count: plan.keys)
        contents = Array(repeating: 0, count: plan.keys)
        changedAt = Array(repeating: 0, count: plan.keys)
    }

    /// The value that stands for a version: for some, that there is none.
    static func value(_ version: UInt64) -> ByteBuffer? {
        isAbsent(version) ? nil : ByteBuffer(integer: version)
    }

    /// Versions at which the key does not exist: a negative result.
    static func isAbsent(_ version: UInt64) -> Bool { version % 7 == 5 }

    /// A content that no register has had.
    func newContent() -> Int {
        lastContent += 1
        return lastContent
    }

    func latency(isSlow: Bool) -> UInt64 {
        isSlow && !world.areFaultsOver
            ? world.random.number(50_000_000...plan.slowest) : world.random.number(100_000...5_000_000)
    }

    // MARK: Reads

    /// The value of a register.
    func load(_ key: Int, for process: Reader) async throws -> ByteBuffer? {
        Self.value(try await loadVersion(key, for: process))
    }

    /// The value that is made of two registers, read one after the other.
    func load(both keys: [Int], for process: Reader) async throws -> ByteBuffer? {
        var value = ByteBuffer()
        for key in keys { value.writeInteger(try await loadVersion(key, for: process)) }
        return value
    }

    private func loadVersion(_ key: Int, for process: Reader) async throws -> UInt64 {
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
                        continuation.resume(returning: version)
                    }
                }
            }
        }
    }

    private func visibleVersion(_ key: Int) -> UInt64 {
        // A replica may not have heard of the last change yet.
        let isBehind = breaks(.readFromLaggingReplica) && world.now < changedAt[key] + 50_000_000
        return isBehind ? versions[key] - 1 : versions[key]
    }

    /// How long the way from this process to the database is cut yet.
    func held(_ process: Reader) -> UInt64 {
        process.databaseHeldUntil > world.now ? process.databaseHeldUntil - world.now : 0
    }
}
