import IPC
import IPCWire
import NIOCore
import NIOPosix
import SyncCore

/// The reason why a connection to Redis, or an attempt to connect, has ended.
struct ConnectionLoss: Error, Sendable, Equatable {
    /// The event and, if there is one, the remedy. Never a password.
    var reason: String
    /// The settings are at fault (user, password, permission, certificate): another attempt at once does not help.
    var isDenied = false
    /// A server took the connection and did not answer in TLS.
    var isHandshakeMissing = false
    /// A reply was too long: a smaller piece may be requested.
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

    /// A connection that could not be made to any address of a server.
    init(connecting failures: [AddressRace.Failure], to target: String) {
        let texts = failures.prefix(Self.maximumShown).map { failure in
            let text = Self.text(failure.error)
            return failures.count == 1 ? text : "\(failure.address.ipAddress ?? "?"): \(text)"
        }
        let rest = failures.count - texts.count
        self.init(
            "cannot connect to \(target): \(texts.joined(separator: "; "))" + (rest > 0 ? "; and \(rest) more" : ""))
    }

    private static let maximumShown = 4

    /// The system's text, without the names of NIO's functions.
    static func text(_ error: any Error) -> String {
        switch error {
        case let error as ChannelError:
            if case .connectTimeout(let limit) = error {
                return
                    "no answer within \(limit.nanoseconds / 1_000_000_000) s: is the address right, and the network up?"
            }
            return "\(error)"
        default: return SystemError.text(of: error)
        }
    }

    /// A connection that broke.
    init(broken error: any Error) { self.init("the connection broke: \(Self.text(error))") }
}

/// Error replies of Redis that mean that an optional command is forbidden, as in many managed services.
enum ForbiddenCommand {
    /// Whether the reply means that the user may not run the command, and nothing about the server's state.
    static func isRefusal(_ text: ByteBuffer) -> Bool {
        let message = String(buffer: text)
        if message.hasPrefix("NOPERM") { return true }
        return message.hasPrefix("ERR") && !message.contains("max number of clients")
    }
}
