import NIOCore

/// Whether it is worth while to ask the database.
///
/// One that doesn't answer costs every request the whole waiting time, and a thread. So once it has been silent for
/// that long, requests fail at once, but for one at a time that tries. The first answer ends that.
struct Availability: Sendable {
    /// How an operation went.
    enum Outcome {
        /// The server answered, be it with an error.
        case answered
        /// There was no answer, and it became known quickly: a connection was closed.
        case failed
        /// There was no answer for as long as one waits.
        case silent
    }

    private enum State: Equatable {
        case reachable
        /// `isTrying`: an operation was let through and has not ended.
        case unreachable(nextTry: NIODeadline, isTrying: Bool)
    }

    /// How long after a failed try the next one is allowed. Clients are told to come back after it.
    static let pause: TimeAmount = .seconds(1)

    private var state = State.reachable

    var isReachable: Bool { state == .reachable }

    /// Whether an operation may go to the database now.
    mutating func admit(now: NIODeadline) -> Bool {
        guard case .unreachable(let nextTry, let isTrying) = state else { return true }
        guard !isTrying, now >= nextTry else { return false }
        state = .unreachable(nextTry: nextTry, isTrying: true)
        return true
    }

    /// An admitted operation ended. Returns whether that changed what is known.
    mutating func ended(_ outcome: Outcome, now: NIODeadline) -> Bool {
        let wasReachable = isReachable
        switch outcome {
        case .answered: state = .reachable
        case .failed where wasReachable: break
        case .failed, .silent: state = .unreachable(nextTry: now + Self.pause, isTrying: false)
        }
        return isReachable != wasReachable
    }
}
