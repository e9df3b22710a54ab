import NIOCore
import Synchronization

/// One operation on its way: somebody waits for it, a thread carries it out, and a timer watches both.
///
/// The thread can't be interrupted. When it takes too long, who waits gets a failure, and what the thread brings
/// later is dropped.
final class MongoCall: Sendable {
    /// How long an operation may take in all, on the server (`maxTimeMS`) and here.
    static let budgetMilliseconds: Int64 = 2000
    /// After this long without any answer, the database counts as unreachable. A bit more than the budget: what the
    /// server itself cuts off at the end of the budget still gets here.
    static let silence: TimeAmount = .milliseconds(budgetMilliseconds + 250)

    private struct State {
        /// The last sign of life from the database, at first the call's own beginning.
        var progressedAt: NIODeadline
        var isWaitedFor = true
        var isFinished = false
        /// A write is on its way and can't be taken back.
        var isWriting = false
    }

    private let state: Mutex<State>
    private let begunAt: NIODeadline

    init(now: NIODeadline) {
        begunAt = now
        state = Mutex(State(progressedAt: now))
    }

    // MARK: On the thread

    /// Whether somebody still waits.
    var isWaitedFor: Bool { state.withLock { $0.isWaitedFor } }

    /// What is left of the budget for the server, at least 1 ms.
    var maxTimeMilliseconds: Int64 {
        max(1, Self.budgetMilliseconds - (.now() - begunAt).nanoseconds / 1_000_000)
    }

    /// From here on the write may happen.
    ///
    /// - Throws: nobody waits any more, and was told that nothing happened.
    func beginWriting() throws(StorageFailure) {
        let isAllowed = state.withLock { state in
            state.isWriting = state.isWaitedFor
            return state.isWriting
        }
        guard isAllowed else { throw .tooLate }
    }

    /// The database answered with a part of the result: there is reason to wait for more.
    func progressed() {
        let now = NIODeadline.now()
        state.withLock { $0.progressedAt = now }
    }

    /// The thread is done. Whether its result is still wanted.
    func finish() -> Bool {
        state.withLock { state in
            state.isFinished = true
            defer { state.isWaitedFor = false }
            return state.isWaitedFor
        }
    }

    // MARK: On the event loop

    /// What a timer finds.
    enum Check: Equatable {
        case finished
        /// Look again then.
        case later(NIODeadline)
        /// Tell who waits, and look again then.
        case giveUp(StorageFailure, again: NIODeadline)
        /// Nothing was heard of the database for so long that it counts as unreachable.
        case silent
    }

    func check(now: NIODeadline) -> Check {
        state.withLock { state in
            guard !state.isFinished else { return .finished }
            if state.isWaitedFor {
                let deadline = state.progressedAt + .milliseconds(Self.budgetMilliseconds)
                guard now >= deadline else { return .later(deadline) }
                state.isWaitedFor = false
                let failure = StorageFailure(
                    kind: .unavailable, isDoubtful: state.isWriting, outcome: .silent, detail: "no answer in time")
                return .giveUp(failure, again: state.progressedAt + Self.silence)
            }
            let deadline = state.progressedAt + Self.silence
            return now >= deadline ? .silent : .later(deadline)
        }
    }
}

extension StorageFailure {
    /// Nobody waits any more: whoever did was told that nothing happened.
    static let tooLate = StorageFailure(kind: .unavailable, detail: "too late to begin")
}
