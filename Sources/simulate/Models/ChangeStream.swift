import IPC
import IPCWire
import NIOCore

extension Database {
    /// A change of a register, as the change stream shows it. The number stands for its time and for the token behind it.
    struct Change {
        var number: UInt64
        var key: Int
        /// The version that it made.
        var version: UInt64
        /// The change is on a primary only that has lost the other members.
        var isUncommitted: Bool
    }

    static func time(_ number: UInt64) -> OperationTime {
        OperationTime(seconds: 1, increment: UInt32(truncatingIfNeeded: number))
    }

    /// Notes that a command has changed these registers.
    func note(_ keys: [Int], isUncommitted: Bool) -> UInt64 {
        lastChange += 1
        for key in keys {
            changes.append(
                Change(number: lastChange, key: key, version: versions[key], isUncommitted: isUncommitted))
            if !isUncommitted { notedVersions[key] = versions[key] }
        }
        noted(lastChange, keys)
        return lastChange
    }

    /// A program that knows nothing of syncd changes a register.
    func writeDirectly(_ key: Int) -> UInt64 {
        if world.now < aloneUntil, formerContents[key] == nil { formerContents[key] = contents[key] }
        change(key, to: newContent())
        return note([key], isUncommitted: world.now < aloneUntil)
    }

    /// A majority has everything, or what it does not have never happened.
    func endUncommitted(isDeposed: Bool) {
        if isDeposed {
            undone(Set(changes.filter(\.isUncommitted).map(\.number)))
            changes.removeAll(where: \.isUncommitted)
        }
        for index in changes.indices where changes[index].isUncommitted {
            changes[index].isUncommitted = false
            notedVersions[changes[index].key] = changes[index].version
        }
    }

    /// The oldest changes are forgotten.
    func forgetChanges() {
        guard let last = changes.last else { return }
        changes.removeAll()
        firstKept = last.number
    }

    /// The changes behind a token that the stream shows, in the order of the log of operations.
    func committed(after number: UInt64) -> [Change] {
        Array(changes.drop { $0.number <= number }.prefix { !$0.isUncommitted })
    }

    /// The token that stands before everything to come.
    var present: UInt64 { changes.first(where: \.isUncommitted).map { $0.number - 1 } ?? lastChange }
}

/// The change stream of the database, as one worker reads it.
// Unchecked: everything in a simulation runs on its one thread.
struct SimulatedChanges: ChangeSource, @unchecked Sendable {
    let database: Database
    let worker: SimulatedWorker

    static let name = "simulated"

    static func token(_ number: UInt64) -> ByteBuffer { ByteBuffer(string: "\(number)") }
    static func number(_ token: ByteBuffer) -> UInt64 { UInt64(String(buffer: token)) ?? 0 }

    private var world: World { database.world }

    /// - Returns: the answer of the database, after the ways there and back.
    private func asked<Value>(
        wait: UInt64 = 0, _ body: @escaping () -> Value
    ) async throws(ChangeSourceFailure) -> Value {
        let isFailing = !world.areFaultsOver && world.random.percent(database.plan.failingLoads)
        let held = database.held(worker)
        let way = database.latency(isSlow: world.random.percent(5))
        let value: Value? = await withUnsafeContinuation { continuation in
            world.after(held + way + wait, worker, "changes read") { continuation.resume(returning: body()) }
        }
        guard let value, !isFailing else { throw .interrupted("the connection is lost") }
        return value
    }

    func open(after token: ByteBuffer?) async throws(ChangeSourceFailure) -> (ChangeCursor, token: ByteBuffer) {
        let start = token.map(Self.number)
        let opened = try await asked { start.map { $0 >= database.firstKept ? $0 : nil } ?? database.present }
        guard let opened else {
            database.figures.add("goal: history of changes lost")
            throw .historyLost("the oldest change is newer")
        }
        let cursor = Cursor(opened)
        return (
            ChangeCursor(next: { () async throws(ChangeSourceFailure) in try await next(cursor) }, close: {}),
            token: Self.token(opened)
        )
    }

    // Unchecked: everything in a simulation runs on its one thread.
    private final class Cursor: @unchecked Sendable {
        var number: UInt64
        init(_ number: UInt64) { self.number = number }
    }

    private typealias Change = Database.Change

    private func next(_ cursor: Cursor) async throws(ChangeSourceFailure) -> ChangeBatch {
        func read(_ wait: UInt64 = 0) async throws(ChangeSourceFailure) -> (found: [Change], present: UInt64)? {
            try await asked(wait: wait) {
                guard database.firstKept <= cursor.number else { return nil }
                return (database.committed(after: cursor.number), database.present)
            }
        }
        var batch = try await read()
        if batch?.found.isEmpty == true { batch = try await read(300_000_000) }
        guard let batch else { throw .historyLost("the cursor is too old") }
        let changes = batch.found.map {
            DocumentChange(collection: "keys", key: "\($0.key)", time: Database.time($0.number))
        }
        // A quiet stream has tokens, too.
        cursor.number = batch.found.last?.number ?? max(cursor.number, world.random.oneIn(2) ? batch.present : 0)
        return ChangeBatch(changes: changes, token: Self.token(cursor.number))
    }
}
