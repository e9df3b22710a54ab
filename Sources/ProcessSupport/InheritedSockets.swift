#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A socket that the service manager opened before it started this process (sd_listen_fds(3)).
public struct InheritedSocket: Sendable, Hashable {
    /// The descriptor. The process owns it now.
    public let descriptor: Int32
    /// `FileDescriptorName=` of the socket unit; `unknown` if none was given.
    public let name: String

    /// The kind of socket that a program can serve on.
    public enum Kind: String, Sendable {
        case unix = "AF_UNIX"
        case internet = "AF_INET or AF_INET6"

        fileprivate func includes(_ domain: Int32) -> Bool {
            switch self {
            case .unix: domain == AF_UNIX
            case .internet: domain == AF_INET || domain == AF_INET6
            }
        }
    }
}

/// The sockets that the service manager passed.
public struct InheritedSockets: Sendable, Hashable {
    /// The first descriptor, SD_LISTEN_FDS_START.
    static let firstDescriptor: Int32 = 3
    /// systemd's name for a descriptor without a name.
    static let unnamed = "unknown"

    /// The sockets in the order of their descriptors.
    public let all: [InheritedSocket]

    /// Sockets meant for another process (`LISTEN_PID`) are ignored. The descriptors are closed on exec from here on.
    ///
    /// - Throws: `LISTEN_FDS` or `LISTEN_FDNAMES` is meant for this process and is malformed.
    public init(
        environment: [String: String] = ProcessEnvironment.current, processID: Int32 = getpid()
    ) throws(ConfigurationError) {
        guard let count = environment["LISTEN_FDS"], environment["LISTEN_PID"] == String(processID) else {
            all = []
            return
        }
        guard count.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let count = Int32(count),
            (0...1024).contains(count)
        else {
            throw ConfigurationError(
                key: "LISTEN_FDS", "LISTEN_FDS: \"\(LogText.escaped(count))\" is no number of sockets; unset it")
        }
        var names = [String](repeating: Self.unnamed, count: Int(count))
        if let given = environment["LISTEN_FDNAMES"], count > 0 {
            names = given.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard names.count == Int(count) else {
                throw ConfigurationError(
                    key: "LISTEN_FDNAMES",
                    "LISTEN_FDNAMES: \(names.count) names for \(count) sockets; give one for each, or unset it")
            }
        }
        all = names.enumerated().map { index, name in
            InheritedSocket(descriptor: Self.firstDescriptor + Int32(index), name: name)
        }
        for socket in all { _ = fcntl(socket.descriptor, F_SETFD, FD_CLOEXEC) }
    }

    init(_ all: [InheritedSocket]) { self.all = all }

    /// The socket to serve on: the only one, named `name` or unnamed; `nil` if none was passed.
    ///
    /// - Throws: there is another one, or it is not a listening stream socket of this kind. Serving on another socket
    ///   than the configured one would only look as if it worked.
    public func listener(named name: String, kind: InheritedSocket.Kind) throws(ConfigurationError) -> Int32? {
        guard let socket = all.first else { return nil }
        guard all.count == 1 else {
            let names = all.map { LogText.escaped($0.name) }.joined(separator: ", ")
            throw ConfigurationError(
                key: "LISTEN_FDS", "LISTEN_FDS: \(all.count) sockets were handed over (\(names)); hand over one")
        }
        guard socket.name == name || socket.name == Self.unnamed || socket.name.hasSuffix(".socket") else {
            throw ConfigurationError(
                key: "LISTEN_FDNAMES",
                "LISTEN_FDNAMES: descriptor \(socket.descriptor) is named \"\(LogText.escaped(socket.name))\"; set FileDescriptorName=\(name)"
            )
        }
        if let problem = socket.problem(as: kind) {
            throw ConfigurationError(
                key: "LISTEN_FDS",
                "LISTEN_FDS: descriptor \(socket.descriptor) (\(LogText.escaped(socket.name))) \(problem); hand over a listening \(kind.rawValue) stream socket"
            )
        }
        return socket.descriptor
    }
}

extension InheritedSocket {
    /// The reason why connections can't be accepted on the socket; `nil` if they can.
    fileprivate func problem(as kind: Kind) -> String? {
        guard let domain = option(SO_DOMAIN) else {
            return errno == EBADF ? "is not open" : "is not a socket"
        }
        guard kind.includes(domain) else { return "is of another address family" }
        guard option(SO_TYPE) == Int32(SOCK_STREAM.rawValue) else { return "is not a stream socket" }
        guard option(SO_ACCEPTCONN) == 1 else { return "does not listen" }
        return nil
    }

    private func option(_ name: Int32) -> Int32? {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }

    /// The path that a Unix socket is bound to; `nil` for an abstract or nameless one.
    public static func unixPath(of descriptor: Int32) -> String? {
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard result == 0, address.sun_family == sa_family_t(AF_UNIX) else { return nil }
        let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? MemoryLayout<sa_family_t>.size
        let bytes = withUnsafeBytes(of: &address.sun_path) {
            $0.prefix(max(0, Int(length) - offset)).prefix { $0 != 0 }
        }
        guard !bytes.isEmpty else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }
}
