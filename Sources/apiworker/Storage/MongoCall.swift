import NIOCore
import Synchronization

/// One operation on its way: somebody waits for it, a thread carries it out, and a timer watches both.
///
/// The thread can't be interrupted. When it takes too long, who waits gets a failure, and what the thread brings
/// later is dropped.
final class MongoCall: Sendable {
    /// How long somebody waits for a sign of life from the database.
    static let patience: TimeAmount = .seconds(2)
    /// How long an operation may take on the server (`maxTimeMS`). A bit less: the server's own refusal to go on
    /// should get here before nobody waits any more, as it is a sign of life, too.
    static let serverMilliseconds: Int64 = 1900

    private struct State {
        /// When the database brought a part of the result, at first the call's own beginning.
        var progressedAt: NIODeadline
        /// Whether it has answered anything.
        var isHeard = false
        var isWaitedFor = true
        /// A thread has taken it up.
        var isBegun = false
        /// A write is on its way and can't be taken back.
        var isWriting = false
        /// Where it may land, and until when.
        var landing: Landing?
    }

    /// Where a write may land, and until when by that server's clock, in milliseconds since 1970.
    struct Landing: Equatable {
        var server: UInt32
        var deadline: Int64
    }

    /// Of the write, if there is one.
    let settlement = Settlement()

    private let state: Mutex<State>
    let madeAt: NIODeadline

    init(now: NIODeadline) {
        madeAt = now
        state = Mutex(State(progressedAt: now))
    }

    // MARK: On the thread

    /// Takes the call up.
    ///
    /// - Throws: nobody waits any more.
    func begin() throws(StorageFailure) {
        let isWanted = state.withLock { state in
            state.isBegun = true
            return state.isWaitedFor
        }
        guard isWanted else { throw .tooLate }
    }

    /// From here on the write may happen.
    ///
    /// - Throws: nobody waits any more, and was told that nothing happened.
    func beginWriting() throws(StorageFailure) {
        let isWanted = state.withLock { state in
            state.isWriting = state.isWaitedFor
            return state.isWriting
        }
        guard isWanted else { throw .tooLate }
    }

    /// The database answered with a part of the result: there is reason to wait for more.
    func progressed() {
        let now = NIODeadline.now()
        state.withLock { state in
            state.progressedAt = now
            state.isHeard = true
        }
    }

    /// The database answered with something: it is there, but this call takes its time.
    func heard() { state.withLock { $0.isHeard = true } }

    /// What is left of the server's time, at least 1 ms.
    var serverMilliseconds: Int64 {
        max(1, Self.serverMilliseconds - (.now() - madeAt).nanoseconds / 1_000_000)
    }

    /// How long a write that is sent now may take until it lands, in milliseconds. One that repairs something when
    /// nobody waits any more gets all of it.
    var landingMilliseconds: Int64 {
        let patience = Self.patience.nanoseconds / 1_000_000
        let left = patience - (.now() - madeAt).nanoseconds / 1_000_000
        return left > 0 ? left : patience
    }

    /// A write is sent that lands there before that time, or never.
    func willLand(at server: UInt32, by deadline: Int64) {
        state.withLock { $0.landing = Landing(server: server, deadline: max(deadline, $0.landing?.deadline ?? 0)) }
    }

    /// What is known about the end of a write of unknown outcome; `nil`: nothing.
    var landing: Landing? { state.withLock { $0.landing } }

    /// Whether a write was on its way.
    var isWriting: Bool { state.withLock { $0.isWriting } }

    /// Whether it is worth while to try once more.
    var isTimeLeft: Bool { serverMilliseconds > 1 && state.withLock { $0.isWaitedFor } }

    /// The thread is done. Whether somebody still waits for what it brings.
    func finish() -> Bool {
        state.withLock { state in
            defer { state.isWaitedFor = false }
            return state.isWaitedFor
        }
    }

    // MARK: On the event loop

    /// What a timer finds.
    enum Check: Equatable {
        /// Nobody waits any more.
        case done
        /// Look again then.
        case later(NIODeadline)
        /// Tell who waits.
        case giveUp(StorageFailure)
    }

    func check(now: NIODeadline) -> Check {
        state.withLock { state in
            guard state.isWaitedFor else { return .done }
            let deadline = state.progressedAt + Self.patience
            guard now >= deadline else { return .later(deadline) }
            state.isWaitedFor = false
            // Without a thread it was never asked, and after an answer it may just be slow: neither says that it is
            // not there.
            let isSilent = state.isBegun && !state.isHeard
            return .giveUp(
                StorageFailure(
                    kind: .unavailable, isOutcomeUnknown: state.isWriting, evidence: isSilent ? .silent : .none,
                    settlement: state.isWriting ? settlement : nil, detail: "no answer in time"))
        }
    }
}

extension StorageFailure {
    /// Nobody waits any more: whoever did was told that nothing happened.
    static let tooLate = StorageFailure(kind: .unavailable, detail: "too late to begin")
}
