import Logging
import Synchronization

/// Whether the database can be used at this moment, as the last operations have shown. Says so in the log when it changes,
/// with what the driver knows about the reason, and not for each request.
final class DatabaseHealth: Sendable {
    private struct State {
        var isReachable = true
        /// A line in the log says that the database is unreachable, and none that it is back.
        var isOutageLogged = false
        /// When each reason was logged last.
        var loggedAt: [String: ContinuousClock.Instant] = [:]
    }

    /// Reasons that are known at once. There are more only if the servers give other answers all the time.
    private static let maximumReasons = 16
    /// A database that is too slow for some queries is unreachable and back many times a second.
    static let betweenSameLines = Duration.seconds(10)

    private let state = Mutex(State())
    private let logger: Logger
    private let now: @Sendable () -> ContinuousClock.Instant

    init(logger: Logger, now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) {
        self.logger = logger
        self.now = now
    }

    /// False from the first call without a usable answer to the first answer.
    var isReachable: Bool { state.withLock { $0.isReachable } }

    /// The database has answered.
    func noteAnswer() {
        let isNews = state.withLock { state in
            state.isReachable = true
            defer { state.isOutageLogged = false }
            return state.isOutageLogged
        }
        if isNews { logger.notice("MongoDB is reachable again") }
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
        let now = now()
        let isNews = state.withLock { state in
            state.isReachable = false
            if let last = state.loggedAt[detail] {
                // Within one outage a reason is news once.
                if state.isOutageLogged || now < last + Self.betweenSameLines { return false }
            } else if state.loggedAt.count >= Self.maximumReasons {
                if state.isOutageLogged { return false }
                state.loggedAt = state.loggedAt.filter { now < $0.value + Self.betweenSameLines }
                if state.loggedAt.count >= Self.maximumReasons { return false }
            }
            state.loggedAt[detail] = now
            state.isOutageLogged = true
            return true
        }
        if isNews { logger.warning(message, metadata: ["detail": "\(detail)"]) }
    }
}
