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
    let world: World
    let plan: Plan
    var versions: [UInt64]
    /// The content of each register: a write of the same content changes nothing.
    var contents: [Int]
    private var lastContent = 0
    /// Time of the last change of each register.
    var changedAt: [BootTime]
    /// The primary has lost the other members, until then: what it takes is not committed.
    var aloneUntil: BootTime = 0
    /// Writes accepted since then, with the earlier contents.
    var uncommitted: [Write] = []
    var formerContents: [Int: Int] = [:]
    /// A part of a write has changed the database.
    var landed: (Write, Write.Part) -> Void = { _, _ in }
    /// Called when these writes of a register were rolled back.
    var rolledBack: (_ key: Int, _ version: UInt64, [Write]) -> Void = { _, _, _ in }
    var figures = Figures()
    /// The log of operations, as far as it is kept, and what it has forgotten.
    var changes: [Change] = []
    var lastChange: UInt64 = 0
    var firstKept: UInt64 = 0
    /// Of each register: the version after the last change that the stream shows, or will show.
    var notedVersions: [UInt64]
    /// Called with the numbers of changes that never happened.
    var undone: (Set<UInt64>) -> Void = { _ in }
    /// Called with the number of a change that has landed.
    var noted: (UInt64, [Int]) -> Void = { _, _ in }

    /// Maximum time that a call waits for its answer, and deadline of a write of one document, after which the server
    /// refuses it.
    static let patience: UInt64 = 2_000_000_000

    init(world: World, plan: Plan) {
        self.world = world
        self.plan = plan
        versions = Array(repeating: 1, count: plan.keys)
        contents = Array(repeating: 0, count: plan.keys)
        changedAt = Array(repeating: 0, count: plan.keys)
        notedVersions = versions
    }

    /// The value of a key at a version: both, and bytes that make it longer or shorter. For some versions, none.
    static func value(_ version: UInt64, of key: Int) -> ByteBuffer? {
        guard !isAbsent(version) else { return nil }
        var value = ByteBuffer(integer: version)
        value.writeInteger(UInt64(key))
        value.writeRepeatingByte(UInt8(ascii: "."), count: Int(version % 5) * 40)
        return value
    }

    /// Whether the key does not exist at this version: a negative result.
    static func isAbsent(_ version: UInt64) -> Bool { version % 7 == 5 }

    /// A content that was never used.
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
        Self.value(try await loadVersion(key, for: process), of: key)
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
        // A replica may not have received the last change yet.
        let isBehind = breaks(.readFromLaggingReplica) && world.now < changedAt[key] + 50_000_000
        return isBehind ? versions[key] - 1 : versions[key]
    }

    /// Remaining time for which the way from this process to the database is cut.
    func held(_ process: Reader) -> UInt64 {
        process.databaseHeldUntil > world.now ? process.databaseHeldUntil - world.now : 0
    }
}
