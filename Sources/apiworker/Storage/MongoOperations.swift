import Logging
import NIOCore
import NIOPosix
import Synchronization

/// Runs the blocking calls of libmongoc on threads of their own, behind async functions.
///
/// Every call is answered within ``MongoCall/budgetMilliseconds`` after the last sign of life from the database.
final class MongoOperations: Sendable {
    private let pool: MongoClientPool
    private let threads: NIOThreadPool
    /// Carries the timers.
    private let eventLoop: any EventLoop
    private let availability = Mutex(Availability())
    private let logger: Logger

    init(pool: MongoClientPool, eventLoop: any EventLoop, logger: Logger) {
        self.pool = pool
        self.eventLoop = eventLoop
        self.logger = logger
        threads = NIOThreadPool(numberOfThreads: pool.size)
        threads.start()
    }

    /// Ends the threads once they are done with what they do. Calls that have not begun fail.
    func shutDown() async {
        try? await threads.shutdownGracefully()
    }

    /// Connections at most, and how many are in use at this moment.
    var connections: (pool: Int, inUse: Int) { (pool.size, pool.usedCount) }

    /// Whether the database answered lately.
    var isReachable: Bool { availability.withLock { $0.isReachable } }

    /// Carries out `body` on a thread.
    ///
    /// - Throws: also when the database doesn't answer in time, while `body` may still be at work.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable (MongoClient) throws(StorageFailure) -> Value
    ) async throws(StorageFailure) -> Value {
        let now = NIODeadline.now()
        guard availability.withLock({ $0.admit(now: now) }) else {
            throw StorageFailure(kind: .unavailable, detail: "the database is known to be unreachable")
        }
        let call = MongoCall(now: now)
        let result = await withCheckedContinuation { continuation in
            // Whoever finds that the call is waited for resumes: the thread in `finish`, or the timer in `check`.
            let answer: @Sendable (Result<Value, StorageFailure>) -> Void = { continuation.resume(returning: $0) }
            let timer = eventLoop.scheduleTask(in: .milliseconds(MongoCall.budgetMilliseconds)) { [self] in
                watch(call) { answer(.failure($0)) }
            }
            threads.submit { [self] state in
                let result = state == .active ? carryOut(body, for: call) : .failure(.tooLate)
                timer.cancel()
                if call.finish() { answer(result) }
            }
        }
        return try result.get()
    }

    private func carryOut<Value>(
        _ body: (MongoClient) throws(StorageFailure) -> Value, for call: MongoCall
    ) -> Result<Value, StorageFailure> {
        do throws(StorageFailure) {
            guard call.isWaitedFor else { throw .tooLate }
            let value = try pool.withClient(for: call, body)
            note(.answered)
            return .success(value)
        } catch {
            note(error.outcome)
            return .failure(error)
        }
    }

    private func watch(_ call: MongoCall, giveUp: @escaping @Sendable (StorageFailure) -> Void) {
        let next: NIODeadline
        switch call.check(now: .now()) {
        case .finished: return
        case .silent: return note(.silent)
        case .later(let deadline): next = deadline
        case .giveUp(let failure, let deadline):
            giveUp(failure)
            next = deadline
        }
        eventLoop.scheduleTask(deadline: next) { [self] in watch(call, giveUp: giveUp) }
    }

    private func note(_ outcome: Availability.Outcome) {
        let isReachable = availability.withLock { availability in
            availability.ended(outcome, now: .now()) ? availability.isReachable : nil
        }
        switch isReachable {
        case true?: logger.notice("MongoDB is reachable again")
        case false?: logger.warning("MongoDB is unreachable")
        case nil: break
        }
    }
}
