import IPCWire
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A system call that failed.
package struct SystemError: Error, Sendable, Hashable, CustomStringConvertible {
    /// `errno` after the call.
    package var code: Int32

    package init(code: Int32) { self.code = code }

    /// The error that the last call of this thread left behind.
    static var last: SystemError { SystemError(code: errno) }

    package static let missing = SystemError(code: ENOENT)
    package static let exists = SystemError(code: EEXIST)

    /// Whether the file system is full.
    package var isLackOfRoom: Bool { code == ENOSPC || code == EDQUOT }
    /// Whether descriptors or memory ran out: the same call may succeed later.
    var isShortage: Bool { [EMFILE, ENFILE, ENOMEM].contains(code) }

    /// The text of strerror(3).
    package var description: String {
        guard let text = strerror(code) else { return "error \(code)" }
        return String(cString: text)
    }
}

extension SystemError {
    /// The reason of a connection error, for people. SwiftNIO's texts for a failed system call name its functions, and
    /// say "connection reset" also where no process listens.
    package static func text(of error: any Error) -> String {
        if let error = error as? IOError { return SystemError(code: error.errnoCode).description }
        if case .connectTimeout? = error as? ChannelError { return "no answer" }
        return "\(error)"
    }
}
