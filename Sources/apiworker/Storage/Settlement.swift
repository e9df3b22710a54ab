import Synchronization

/// The end of a write of unknown outcome: it cannot land in the database any more.
///
/// Waiting tasks are resumed once, in the order of waiting. ``finish()`` may be called by any thread, and more than
/// once.
final class Settlement: Sendable, Equatable {
    private enum State {
        case open([CheckedContinuation<Void, Never>])
        case finished
    }

    private let state = Mutex(State.open([]))

    static func == (left: Settlement, right: Settlement) -> Bool { left === right }

    /// The write cannot land any more.
    func finish() {
        let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            guard case .open(let waiting) = state else { return [] }
            state = .finished
            return waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Returns when the write cannot land any more. Does not heed cancellation.
    func wait() async {
        await withCheckedContinuation { continuation in
            let isFinished = state.withLock { state -> Bool in
                guard case .open(let waiting) = state else { return true }
                state = .open(waiting + [continuation])
                return false
            }
            if isFinished { continuation.resume() }
        }
    }

    var isFinished: Bool {
        state.withLock { state in
            if case .finished = state { true } else { false }
        }
    }
}
