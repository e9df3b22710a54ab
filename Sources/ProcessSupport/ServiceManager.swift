#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The service manager that started this process, as sd_notify(3) describes it: datagrams of `NAME=value` lines to
/// the socket that `NOTIFY_SOCKET` names. Without one, nothing is sent.
public final class ServiceManager: Sendable {
    /// A message to the service manager.
    public enum Message: Sendable, Hashable {
        /// Start or reload is complete.
        case ready
        /// The configuration is being read again; ``ready`` follows.
        case reloading(monotonicMicroseconds: UInt64)
        /// The process is ending.
        case stopping
        /// One line for people: what the process is doing.
        case status(String)
        /// The process is alive. Must be sent more often than ``Watchdog/timeoutNanoseconds``.
        case watchdog
    }

    /// Maximum time that an important message waits for room in the manager's queue.
    private static let patienceMilliseconds: Int32 = 1000

    private let address: UnixAddress?
    private let descriptor: Int32

    /// - Parameter environment: the process's own by default. A `NOTIFY_SOCKET` that is neither a path nor an
    ///   abstract name is ignored, as sd_notify(3) does with kinds it doesn't know.
    public init(environment: [String: String] = ProcessEnvironment.current) {
        address = environment["NOTIFY_SOCKET"].flatMap { UnixAddress($0) }
        descriptor = address == nil ? -1 : socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Whether there is a service manager.
    public var isPresent: Bool { descriptor >= 0 }

    /// Sends the message in one datagram. Never fails: a manager that doesn't listen is no reason to end.
    ///
    /// - Parameter isWaiting: wait up to a second for room in the manager's queue. Not for an event loop, except at the
    ///   start and the end of the process.
    /// - Returns: whether it was sent.
    @discardableResult
    public func notify(_ messages: Message..., isWaiting: Bool = false) -> Bool {
        guard isPresent, let address else { return false }
        let bytes = Array(messages.map(\.line).joined(separator: "\n").utf8)
        if send(bytes, to: address) { return true }
        guard isWaiting, errno == EAGAIN || errno == EWOULDBLOCK else { return false }
        var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        poll(&request, 1, Self.patienceMilliseconds)
        return send(bytes, to: address)
    }

    private func send(_ bytes: [UInt8], to address: UnixAddress) -> Bool {
        address.withSocketAddress { pointer, length in
            sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT), pointer, length)
                == bytes.count
        }
    }
}

extension ServiceManager.Message {
    /// A reload that begins now: systemd compares its time with that of the signal it sent.
    public static var reloadingNow: ServiceManager.Message {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return .reloading(monotonicMicroseconds: UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1000)
    }

    /// The line of the message. A status is always one line.
    var line: String {
        switch self {
        case .ready: "READY=1"
        case .reloading(let time): "RELOADING=1\nMONOTONIC_USEC=\(time)"
        case .stopping: "STOPPING=1"
        case .status(let text): "STATUS=\(LogText.escaped(text))"
        case .watchdog: "WATCHDOG=1"
        }
    }
}

/// The address of a Unix socket: a path, or an abstract name, written with `@` in front.
public struct UnixAddress: Sendable, Hashable {
    /// The content of `sun_path`; an abstract name begins with a zero byte and has none at its end.
    let bytes: [UInt8]

    /// `nil` if the text is neither, or too long.
    public init?(_ text: String) {
        let capacity = MemoryLayout.size(ofValue: sockaddr_un().sun_path)
        guard text.utf8.count > 1, text.utf8.count < capacity else { return nil }
        switch text.utf8.first {
        case UInt8(ascii: "/"): bytes = Array(text.utf8) + [0]
        case UInt8(ascii: "@"): bytes = [0] + text.utf8.dropFirst()
        default: return nil
        }
    }

    /// Whether a program listens there, or may do so: only a refused connection shows that none does.
    public var isInUse: Bool {
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        let isConnected = withSocketAddress { connect(descriptor, $0, $1) } == 0
        return isConnected || ![ECONNREFUSED, ENOENT].contains(errno)
    }

    func withSocketAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? MemoryLayout<sa_family_t>.size
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(offset + bytes.count)) }
        }
    }
}
