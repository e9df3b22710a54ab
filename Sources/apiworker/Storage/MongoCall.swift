import NIOCore
import Synchronization

/// One operation under way. A request waits for it, a thread carries it out, and a timer watches both.
///
/// The thread can't be interrupted. When it takes too long, the request gets a failure, and the later result of the
/// thread is dropped.
final class MongoCall: Sendable {
    /// Maximum time that a request waits for a sign of life from the database.
    static let patience: TimeAmount = .seconds(2)
    /// Maximum time of an operation on the server (`maxTimeMS`). It is slightly shorter, so that the server's own abort
    /// arrives before the request gives up: the abort is a sign of life, too.
    static let serverMilliseconds: Int64 = 1900

    private struct State {
        /// The time when the database returned the last part of the result; at first the call's own beginning.
        var progressedAt: NIODeadline
        /// Whether the database has answered anything.
        var isHeard = false
        var isWaitedFor = true
        /// When a thread has begun the call.
        var begunAt: NIODeadline?
        /// Whether a write is on its way and can't be taken back.
        var isWriting = false
        /// The server where the write may land, and its deadline.
        var landing: Landing?
        /// When the server has applied the write.
        var operationTime: MongoTime?
    }

    /// The server where a write may land, and the deadline by that server's clock, in milliseconds since 1970.
    struct Landing: Equatable {
        var server: UInt32
        var deadline: Int64
    }

    /// The settlement of the write, if there is one.
    let settlement = Settlement()

    private let state: Mutex<State>
    let madeAt: NIODeadline

    init(now: NIODeadline) {
        madeAt = now
        state = Mutex(State(progressedAt: now))
    }

    // MARK: On the thread

    /// Begins the call.
    ///
    /// - Throws: the request does not wait any more.
    func begin() throws(StorageFailure) {
        let now = NIODeadline.now()
        let isWanted = state.withLock { state in
            state.begunAt = now
            return state.isWaitedFor
        }
        guard isWanted else { throw .tooLate }
    }

    /// From here on the write may happen.
    ///
    /// - Throws: the request does not wait any more, and was told that nothing happened.
    func beginWriting() throws(StorageFailure) {
        let isWanted = state.withLock { state in
            state.isWriting = state.isWaitedFor
            return state.isWriting
        }
        guard isWanted else { throw .tooLate }
    }

    /// The database returned a part of the result: there is reason to wait for more.
    func progressed() {
        let now = NIODeadline.now()
        state.withLock { state in
            state.progressedAt = now
            state.isHeard = true
        }
    }

    /// The database answered something: it is reachable, but this call takes its time.
    func heard() { state.withLock { $0.isHeard = true } }

    /// The rest of the server's time, at least 1 ms.
    var serverMilliseconds: Int64 {
        max(1, Self.serverMilliseconds - (.now() - madeAt).nanoseconds / 1_000_000)
    }

    /// Maximum time until a write that is sent now lands, in milliseconds. A write that repairs something after the
    /// request has ended gets the full time.
    var landingMilliseconds: Int64 {
        let patience = Self.patience.nanoseconds / 1_000_000
        let left = patience - (.now() - madeAt).nanoseconds / 1_000_000
        return left > 0 ? left : patience
    }

    /// A write is sent that lands on this server before that time, or never.
    func willLand(at server: UInt32, by deadline: Int64) {
        state.withLock { $0.landing = Landing(server: server, deadline: max(deadline, $0.landing?.deadline ?? 0)) }
    }

    /// The landing of a write of unknown outcome; `nil`: unknown.
    var landing: Landing? { state.withLock { $0.landing } }

    /// A write is done. A server that keeps no log of operations names no time.
    func wrote(_ reply: BSONDocument) {
        guard let time = reply["operationTime"]?.timestamp else { return }
        state.withLock { $0.operationTime = time }
    }

    func forgetTime() { state.withLock { $0.operationTime = nil } }

    /// When the server had applied the last write; `nil`: it names no time, or nothing was written.
    var operationTime: MongoTime? { state.withLock { $0.operationTime } }

    /// Whether there is time for another attempt.
    var isTimeLeft: Bool { serverMilliseconds > 1 && state.withLock { $0.isWaitedFor } }

    /// Ends the call. Returns whether the request still waits for the result.
    func finish() -> Bool {
        state.withLock { state in
            defer { state.isWaitedFor = false }
            return state.isWaitedFor
        }
    }

    // MARK: On the event loop

    /// The finding of the timer.
    enum Check: Equatable {
        /// The request does not wait any more.
        case done
        /// Check again at this time.
        case later(NIODeadline)
        /// Report the failure to the request.
        case giveUp(StorageFailure)
    }

    func check(now: NIODeadline) -> Check {
        state.withLock { state in
            guard state.isWaitedFor else { return .done }
            let deadline = state.progressedAt + Self.patience
            guard now >= deadline else { return .later(deadline) }
            state.isWaitedFor = false
            // A call that had no thread for most of its time could not hear much, and after an answer the database may just
            // be slow. Neither shows that it is unreachable.
            let isAsked = state.begunAt.map { .nanoseconds((now - $0).nanoseconds * 2) >= Self.patience } ?? false
            let isSilent = isAsked && !state.isHeard
            return .giveUp(
                StorageFailure(
                    kind: .unavailable, isOutcomeUnknown: state.isWriting, evidence: isSilent ? .silent : .none,
                    settlement: state.isWriting ? settlement : nil,
                    detail: isAsked || state.isHeard ? "no answer in time" : "all connections are busy"))
        }
    }
}

extension StorageFailure {
    /// The request does not wait any more: it was told that nothing happened.
    static let tooLate = StorageFailure(kind: .unavailable, detail: "too late to begin")
}
