import IPCWire

/// The reason why a host is isolated and no cache of it is trusted. Remedies are in docs/operations.md.
package enum IsolationReason: Sendable, Hashable {
    case starting
    /// The command connection ended, or there is none. The text has the cause.
    case disconnected(String)
    /// The server refuses a command that syncd needs.
    case failed(UpstreamFailure)
    case replica
    /// An append was not accepted within this time.
    case lateAppend(nanoseconds: UInt64)
    /// No probe was confirmed within this time.
    case lateProbe(nanoseconds: UInt64)
    case tooManyAppends
    /// Too many invalidations are pending to name them: the log is replaced.
    case tooMuchPending
    case noLog, logVanished, otherLog, otherProcess, logWentBack, logChanged, otherKeys, entriesMissing
    case unexpectedReply
}

extension IsolationReason: CustomStringConvertible {
    package var description: String {
        switch self {
        case .starting: "starting"
        case .disconnected(let why): why
        case .failed(let failure): failure.message
        case .replica: "the server is a replica"
        case .lateAppend(let limit): "Redis has not taken an invalidation within \(Self.text(limit))"
        case .lateProbe(let limit): "Redis has not answered a probe for \(Self.text(limit))"
        case .tooManyAppends: "too many appends wait for Redis"
        case .tooMuchPending: "too many invalidations are pending to name them"
        case .noLog: "there is no log in Redis"
        case .logVanished: "the log vanished from Redis"
        case .otherLog: "Redis holds another log"
        case .otherProcess: "Redis is another process than the one that held the log"
        case .logWentBack: "the log in Redis went back"
        case .logChanged: "the log in Redis changed"
        case .otherKeys: "the keys of the log in Redis hold something else"
        case .entriesMissing: "entries are missing in Redis"
        case .unexpectedReply: "an unexpected answer to an append"
        }
    }

    /// The time in whole seconds, or in milliseconds.
    private static func text(_ nanoseconds: UInt64) -> String {
        nanoseconds % 1_000_000_000 == 0 ? "\(nanoseconds / 1_000_000_000) s" : "\(nanoseconds / 1_000_000) ms"
    }
}
