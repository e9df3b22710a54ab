import IPCWire

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A file descriptor that is closed with its last reference.
final class FileDescriptor: Sendable {
    let number: Int32

    /// Opens a file for this process only, without following a link and without waiting for the other end of a pipe.
    init(path: String, flags: Int32, mode: mode_t = 0) throws(SystemError) {
        number = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode)
        guard number >= 0 else { throw .last }
    }

    /// The same, with a name inside an open directory.
    init(name: String, in directory: FileDescriptor, flags: Int32, mode: mode_t = 0) throws(SystemError) {
        number = openat(directory.number, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode)
        guard number >= 0 else { throw .last }
    }

    deinit { close(number) }

    /// The result of fstat(2).
    func status() throws(SystemError) -> FileStatus {
        var status = stat()
        guard fstat(number, &status) == 0 else { throw .last }
        return FileStatus(status)
    }
}

/// The used part of a file's status.
struct FileStatus: Sendable, Hashable {
    var identity: FileIdentity
    var bytes: Int
    var isRegular: Bool
    /// A number that differs after every change of the file, and for every other file of the same name.
    var version: UInt64

    init(_ status: stat) {
        identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        bytes = Int(status.st_size)
        isRegular = status.st_mode & S_IFMT == S_IFREG
        func nanoseconds(_ time: timespec) -> UInt64 {
            UInt64(bitPattern: Int64(time.tv_sec)) &* 1_000_000_000 &+ UInt64(bitPattern: Int64(time.tv_nsec))
        }
        var mixed = identity.inode
        for number in [nanoseconds(status.st_mtim), nanoseconds(status.st_ctim), UInt64(bitPattern: Int64(bytes))] {
            mixed = (mixed ^ (mixed >> 29)) &* 0xbf58_476d_1ce4_e5b9 &+ number
        }
        version = mixed
    }

    /// The result of lstat(2) for a path. A link is not followed, as when files are opened here.
    init(path: String) throws(SystemError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw .last }
        self.init(status)
    }

    /// The status of a name inside an open directory, by fstatat(2).
    init(name: String, in directory: FileDescriptor) throws(SystemError) {
        var status = stat()
        guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { throw .last }
        self.init(status)
    }

    /// Whether both are one file: neither renamed nor replaced, however often it was opened.
    func isSameFile(as other: FileStatus) -> Bool { identity == other.identity }
}
