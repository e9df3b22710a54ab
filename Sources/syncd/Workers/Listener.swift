import Glibc
import IPC
import NIOCore
import NIOPosix
import ProcessSupport
import SyncCore

/// The reason why the runtime directory cannot be used.
struct RuntimeDirectoryError: Error, CustomStringConvertible {
    var description: String
    var status: ExitStatus
}

/// The socket and the files beside it: locks, tag table, journal. Table and journal have a separate lock: a daemon with
/// another socket in the same directory must not use them.
struct RuntimePaths: Sendable {
    let socket: String

    var lock: String { socket + ".lock" }
    var tableLock: String { table + ".lock" }
    var table: String { RuntimeDirectory.tagTable(socketPath: socket) }
    var arena: String { RuntimeDirectory.arena(socketPath: socket) }
    var journal: String { RuntimeDirectory.journal(socketPath: socket) }
    var report: String { RuntimeDirectory.report(socketPath: socket) }
    var directory: String {
        let end = socket.lastIndex(of: "/") ?? socket.startIndex
        return end == socket.startIndex ? "/" : String(socket[..<end])
    }

    /// Bytes of a value arena that suits this machine: 64 MiB, but at most a sixteenth of the memory, and half of the room in
    /// the file system beside the arena that is there. A power of two, so that it is the same at each start.
    var suitableCacheBytes: Int {
        var (space, file) = (statvfs(), stat())
        var room = Int.max
        if statvfs(directory, &space) == 0 {
            room = Int(clamping: UInt64(space.f_bavail)) * Int(clamping: UInt64(space.f_frsize))
        }
        if stat(arena, &file) == 0 { room += Int(file.st_size) }
        let memory = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        let most = max(1, min(64 << 20, memory / 16, room / 2))
        return 1 << (Int.bitWidth - 1 - most.leadingZeroBitCount)
    }

    /// The kernel's limit is 107 bytes and a terminator; 103 is portable.
    static let maximumSocketPathBytes = 103

    init(socket: String) throws(RuntimeDirectoryError) {
        guard socket.hasPrefix("/") else {
            throw RuntimeDirectoryError(
                description: "SYNCD_SOCKET=\(socket): the path must be absolute and not an abstract socket",
                status: .configuration)
        }
        guard socket.utf8.count <= Self.maximumSocketPathBytes else {
            throw RuntimeDirectoryError(
                description:
                    "SYNCD_SOCKET=\(socket): a socket path has at most \(Self.maximumSocketPathBytes) bytes, this one has \(socket.utf8.count)",
                status: .configuration)
        }
        self.socket = socket
    }

    /// Creates the directory if it is missing.
    func prepare() throws(RuntimeDirectoryError) {
        if mkdir(directory, 0o750) == 0 { return }
        let reason = errno
        var status = stat()
        if reason == EEXIST, stat(directory, &status) == 0, status.st_mode & S_IFMT == S_IFDIR { return }
        throw RuntimeDirectoryError(
            description:
                "\(directory): cannot be used as a directory (\(String(cString: strerror(reason)))); make it, or set SYNCD_SOCKET to a path in another one",
            status: .configuration)
    }

    /// Removes an earlier daemon's socket. Only while the lock is held, and if no process listens there: the socket of
    /// a living daemon, or of any other program, is never touched.
    func removeStaleSocket() throws(RuntimeDirectoryError) {
        var status = stat()
        guard lstat(socket, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw RuntimeDirectoryError(
                description: "\(socket): there is something that is not a socket; remove it or set SYNCD_SOCKET",
                status: .configuration)
        }
        if let address = UnixAddress(socket), address.isInUse {
            throw RuntimeDirectoryError(
                description: "\(socket): another program listens there; stop it or set SYNCD_SOCKET",
                status: .configuration)
        }
        unlink(socket)
    }
}

/// Exclusive use of one socket path and the files beside it, as long as the value lives.
final class RuntimeLock: Sendable {
    private let path: String
    private let descriptor: CInt
    /// Device and inode of the locked file.
    private let identity: (dev_t, ino_t)

    /// Takes the lock, or throws an error that names the holder.
    init(_ path: String) throws(RuntimeDirectoryError) {
        self.path = path
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o640)
        guard descriptor >= 0 else {
            throw RuntimeDirectoryError(
                description:
                    "\(path): \(String(cString: strerror(errno))); run syncd as the owner of the directory, or set SYNCD_SOCKET to a path in another one",
                status: .configuration)
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            var text = [UInt8](repeating: 0, count: 32)
            let count = read(descriptor, &text, text.count)
            let holder = String(decoding: text.prefix(max(0, count)).prefix { $0 != 10 }, as: UTF8.self)
            Glibc.close(descriptor)
            throw RuntimeDirectoryError(
                description:
                    "another syncd (pid \(holder.isEmpty ? "unknown" : holder)) holds \(path); stop it, or set SYNCD_SOCKET to a path in another directory",
                status: .temporaryFailure)
        }
        var ours = stat()
        fstat(descriptor, &ours)
        identity = (ours.st_dev, ours.st_ino)
        let pid = Array("\(getpid())\n".utf8)
        ftruncate(descriptor, 0)
        pwrite(descriptor, pid, pid.count, 0)
    }

    deinit { Glibc.close(descriptor) }

    /// Whether the path still names the locked file.
    var isHeld: Bool {
        var named = stat()
        return lstat(path, &named) == 0 && identity == (named.st_dev, named.st_ino)
    }
}

/// Listens on the Unix socket and makes a connection for each client.
enum Listener {
    /// Maximum number of pending connects: a restart of all workers must not exceed it.
    private static let backlog: Int32 = 4096

    static func listen(
        _ configuration: DaemonConfiguration, daemon: NIOLoopBound<Daemon>, group: MultiThreadedEventLoopGroup
    ) async throws -> any Channel {
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: backlog)
            // An urgent byte is read like any other: otherwise epoll would report input, and read would find none.
            .childChannelOption(.socketOption(.init(rawValue: SO_OOBINLINE)), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            // A client that has closed its side still gets its replies: some requests are not answered in the turn in
            // which they are read.
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.recvAllocator, value: WorkerConnection.requestBuffer)
            .childChannelOption(.writeBufferWaterMark, value: WorkerConnection.waterMark)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = WorkerConnection(peer: Self.peer(of: channel), loop: daemon.value.loop)
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
        // Closing it leaves the path alone, and later connects wait for the next daemon.
        if let inherited = configuration.inheritedSocket { return try await bootstrap.withBoundSocket(inherited).get() }
        // Owner and group may connect; the socket has its mode from the start.
        let old = umask(0o117)
        defer { umask(old) }
        return try await bootstrap.bind(unixDomainSocketPath: configuration.paths.socket).get()
    }

    /// `struct ucred` of the kernel.
    private struct Credentials {
        var pid: Int32 = 0
        var uid: UInt32 = 0
        var gid: UInt32 = 0
    }

    /// The peer's process, as the kernel reports it. A client's own claims are not used.
    private static func peer(of channel: any Channel) -> Peer {
        guard let provider = channel as? any SocketOptionProvider else { return Peer(pid: 0, uid: .max) }
        let credentials: EventLoopFuture<Credentials> = provider.unsafeGetSocketOption(
            level: .socket, name: .init(rawValue: SO_PEERCRED))
        var peer = Peer(pid: 0, uid: .max)
        // The future is complete: this runs on the channel's own loop.
        credentials.assumeIsolated().whenSuccess { peer = Peer(pid: $0.pid, uid: $0.uid) }
        return peer
    }
}
