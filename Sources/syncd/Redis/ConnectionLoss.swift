import IPC
import IPCWire
import NIOCore
import NIOPosix
import SyncCore

/// Why a connection to Redis, or a try to make one, came to its end.
struct ConnectionLoss: Error, Sendable, Equatable {
    /// What happened and, where there is one, the remedy. Never a password.
    var reason: String
    /// The settings are at fault (user, password, permission, certificate): trying again at once does not help.
    var isDenied = false
    /// A reply was too long: a smaller piece may be asked for.
    var isTooLong = false

    init(_ reason: String, isDenied: Bool = false) {
        self.reason = reason
        self.isDenied = isDenied
    }

    /// An error reply of Redis.
    init(redisError text: ByteBuffer) {
        let failure = UpstreamFailure(redisError: text)
        reason = failure.message
        if case .denied = failure { isDenied = true }
    }

    /// A connection that could not be made.
    init(connecting error: any Error, to target: String) {
        reason = "cannot connect to \(target): \(Self.text(error))"
    }

    /// A connection that broke.
    init(broken error: any Error) { self.init("the connection broke: \(SystemError.text(of: error))") }

    private static func text(_ error: any Error) -> String {
        guard let error = error as? NIOConnectionError else { return SystemError.text(of: error) }
        if let last = error.connectionErrors.last { return text(last.error) }
        if error.dnsAError != nil || error.dnsAAAAError != nil {
            return "the name \(error.host) cannot be resolved"
        }
        return "no address of \(error.host) answers"
    }
}

/// Error replies of Redis by which an optional command is told to be out of reach, as many managed servers do.
enum ForbiddenCommand {
    /// Whether the reply means "this command is not for you", and nothing about the server's state.
    static func isRefusal(_ text: ByteBuffer) -> Bool {
        let message = String(buffer: text)
        if message.hasPrefix("NOPERM") { return true }
        return message.hasPrefix("ERR") && !message.contains("max number of clients")
    }
}
