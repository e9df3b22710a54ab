import IPCWire

/// The state of the host during a time, as the report counts it.
enum ReportedState: Sendable, Hashable {
    case attached
    case idle
    case isolated(ReportedReason)
}

/// Reasons for which nothing was answered from cache, without details that vary.
enum ReportedReason: String, Sendable, Hashable, CaseIterable {
    case notRunning = "not-running"
    case starting
    case disconnected
    case refused
    case denied
    case wrongRole = "wrong-role"
    case lateAppend = "late-append"
    case lateProbe = "late-probe"
    case tooManyAppends = "too-many-appends"
    case tooMuchPending = "too-much-pending"
    case noLog = "no-log"
    case logVanished = "log-vanished"
    case otherLog = "other-log"
    case otherProcess = "other-process"
    case logWentBack = "log-went-back"
    case logChanged = "log-changed"
    case damaged
    case entriesMissing = "entries-missing"
    case unexpectedReply = "unexpected-reply"
    case journal

    init(_ reason: IsolationReason) {
        self =
            switch reason {
            case .starting: .starting
            case .disconnected: .disconnected
            case .failed(.refused): .refused
            case .failed(.denied): .denied
            case .failed(.wrongRole), .replica: .wrongRole
            case .failed(.damaged), .otherKeys: .damaged
            case .lateAppend: .lateAppend
            case .lateProbe: .lateProbe
            case .tooManyAppends: .tooManyAppends
            case .tooMuchPending: .tooMuchPending
            case .noLog: .noLog
            case .logVanished: .logVanished
            case .otherLog: .otherLog
            case .otherProcess: .otherProcess
            case .logWentBack: .logWentBack
            case .logChanged: .logChanged
            case .entriesMissing: .entriesMissing
            case .unexpectedReply: .unexpectedReply
            }
    }

    /// The reason for people.
    var text: String {
        switch self {
        case .notRunning: "syncd did not run, or was stopped, or the machine slept"
        case .starting: "syncd had just started"
        case .disconnected: "there was no connection to Redis"
        case .refused: "Redis refused a command for a while"
        case .denied: "the settings of Redis, or those of syncd for it, forbade a command"
        case .wrongRole: "the server was a replica"
        case .lateAppend: "Redis took an invalidation too late"
        case .lateProbe: "Redis did not answer a probe in time"
        case .tooManyAppends: "too many appends waited for Redis"
        case .tooMuchPending: "too many invalidations were pending to name them"
        case .noLog: "there was no log in Redis"
        case .logVanished: "the log vanished from Redis"
        case .otherLog: "Redis held another log"
        case .otherProcess: "Redis was another process than the one that held the log"
        case .logWentBack: "the log in Redis went back"
        case .logChanged: "the log in Redis changed"
        case .damaged: "the keys of the log in Redis held something else"
        case .entriesMissing: "entries were missing in Redis"
        case .unexpectedReply: "an append had an unexpected answer"
        case .journal: "the journal could not be read, or its reading took long"
        }
    }
}

/// Causes for which caches of this host became cold.
enum ColdStart: String, Sendable, Hashable, CaseIterable {
    case started
    case noTable = "no-table"
    case otherHistory = "other-history"
    case incarnation
    case trimmed
    case discontinuous

    /// `nil` for reasons that concern one client.
    init?(_ reason: EpochReason) {
        switch reason {
        case .started, .tracking, .slow: return nil
        case .incarnation: self = .incarnation
        case .trimmed: self = .trimmed
        case .discontinuous: self = .discontinuous
        }
    }

    /// The cause for people.
    var text: String {
        switch self {
        case .started: "syncd started: the workers' own caches"
        case .noTable: "syncd started without a tag table: all caches of this host"
        case .otherHistory: "syncd started, and the log was not known to be the same: all caches of this host"
        case .incarnation: "the log was replaced, or another one found"
        case .trimmed: "entries were gone before they were applied"
        case .discontinuous: "the log was not the one that was applied"
        }
    }
}
