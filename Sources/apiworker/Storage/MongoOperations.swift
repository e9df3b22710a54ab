import IPC
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// When the database has applied a write, for whoever invalidates its tags.
final class WriteTime: Sendable {
    private let time = Mutex<OperationTime?>(nil)

    func set(_ new: OperationTime?) { time.withLock { $0 = new } }

    /// `nil`: unknown.
    var value: OperationTime? { time.withLock { $0 } }
}

/// Runs the blocking calls of libmongoc on separate threads, behind async functions.
///
/// Every call is answered at most ``MongoCall/patience`` after the last sign of life from the database. A silent
/// database costs each request that time, and a thread. So after the first such failure, calls fail at once, until a
/// probe has been answered. They also fail at once while the server must not be used.
final class MongoOperations: Sendable {
    private let pool: MongoClientPool
    private let threads: NIOThreadPool
    /// The event loop of the timers.
    private let eventLoop: any EventLoop
    private let health: DatabaseHealth
    private let late: LateWrites

    init(pool: MongoClientPool, eventLoop: any EventLoop, logger: Logger) {
        self.pool = pool
        self.eventLoop = eventLoop
        health = DatabaseHealth(logger: logger)
        late = LateWrites(pool: pool, eventLoop: eventLoop)
        threads = NIOThreadPool(numberOfThreads: pool.size)
        threads.start()
    }

    /// Maximum number of connections, and number in use at this moment.
    var connections: (pool: Int, inUse: Int) { (pool.size, pool.usedCount) }

    /// False from the first call without an answer to the first answer.
    var isReachable: Bool { health.isReachable }

    /// Carries out `body` on a thread.
    ///
    /// - Parameters:
    ///   - isProbe: runs also while the database is known not to answer.
    /// - Throws: also when the database doesn't answer in time, while `body` may still be at work.
    ///   - time: gets the time of the write in it, before this returns.
    func run<Value: Sendable>(
        isProbe: Bool = false, time: WriteTime? = nil,
        _ body: @escaping @Sendable (MongoClient) throws(StorageFailure) -> Value
    ) async throws(StorageFailure) -> Value {
        guard isProbe || isReachable else {
            throw StorageFailure(kind: .unavailable, detail: "the database is known not to answer")
        }
        let call = MongoCall(now: .now())
        var timer: Scheduled<Void>?
        let result = await withCheckedContinuation { continuation in
            // The party that ends the wait resumes: the thread in `finish`, or the timer in `check`.
            let answer: @Sendable (Result<Value, StorageFailure>) -> Void = { continuation.resume(returning: $0) }
            timer = eventLoop.scheduleTask(in: MongoCall.patience) { [self] in
                watch(call) { answer(.failure($0)) }
            }
            threads.submit { [self] state in
                let result = state == .active ? carryOut(body, for: call) : .failure(.tooLate)
                time?.set(call.operationTime)
                if call.finish() { answer(result) }
            }
        }
        // Here, since requests run on the event loop: another thread would have to wake it up for this.
        timer?.cancel()
        return try result.get()
    }

    private func carryOut<Value>(
        _ body: (MongoClient) throws(StorageFailure) -> Value, for call: MongoCall
    ) -> Result<Value, StorageFailure> {
        do throws(StorageFailure) {
            try call.begin()
            let value = try pool.withClient(for: call, body)
            health.noteAnswer()
            call.settlement.finish()
            return .success(value)
        } catch {
            health.note(error)
            guard error.isOutcomeUnknown else {
                call.settlement.finish()
                return .failure(error)
            }
            late.add(call)
            var failure = error
            failure.settlement = call.settlement
            return .failure(failure)
        }
    }

    private func watch(_ call: MongoCall, giveUp: @escaping @Sendable (StorageFailure) -> Void) {
        switch call.check(now: .now()) {
        case .done: break
        case .later(let deadline): eventLoop.scheduleTask(deadline: deadline) { [self] in watch(call, giveUp: giveUp) }
        case .giveUp(let failure):
            // The health is updated before the request is resumed: a request that is repeated at once must not wait in
            // vain again.
            health.note(failure)
            giveUp(failure)
        }
    }
}
