import Logging
import Synchronization

/// Whether the database can be used at this moment, by the results of the last operations. Logs each change once, with
/// the driver's reason, and not once per request.
final class DatabaseHealth: Sendable {
    private struct State {
        var isReachable = true
        /// Reasons that were logged since the database was last reachable.
        var reasons: Set<String> = []
    }

    /// Maximum number of reasons that are logged for one outage. There are more only if the servers' answers change all
    /// the time.
    private static let maximumReasons = 16

    private let state = Mutex(State())
    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    /// False from the first call without a usable answer to the first answer.
    var isReachable: Bool { state.withLock { $0.isReachable } }

    /// The database has answered.
    func noteAnswer() {
        let wasReachable = state.withLock { state in
            defer { state = State() }
            return state.isReachable
        }
        if !wasReachable { logger.notice("MongoDB is reachable again") }
    }

    /// An operation has failed.
    func note(_ failure: StorageFailure) {
        switch failure.evidence {
        case .none: break
        case .answered: noteAnswer()
        case .silent: say("MongoDB is unreachable", failure.detail)
        case .unusable: say("MongoDB can't be used", failure.detail)
        }
    }

    private func say(_ message: Logger.Message, _ detail: String) {
        let isNew = state.withLock { state in
            state.isReachable = false
            return state.reasons.count < Self.maximumReasons && state.reasons.insert(detail).inserted
        }
        if isNew { logger.warning(message, metadata: ["detail": "\(detail)"]) }
    }
}
