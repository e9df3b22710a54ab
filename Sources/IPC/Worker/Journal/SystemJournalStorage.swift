import IPCWire
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A directory of the file system.
final class SystemJournalStorage: JournalStorage {
    private let directory: FileDescriptor
    private let status: FileStatus

    init(path: String) throws(SystemError) {
        directory = try FileDescriptor(path: path, flags: O_RDONLY | O_DIRECTORY)
        status = try directory.status()
    }

    func names() throws(SystemError) -> [String] {
        // A separate descriptor: closedir closes it, and its reading position begins at the start.
        let descriptor = openat(directory.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .last }
        guard let stream = fdopendir(descriptor) else {
            let error = SystemError.last
            close(descriptor)
            throw error
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw .last }
        return names
    }

    func write(_ name: String, _ content: ByteBuffer) throws(SystemError) {
        try directory.writeNewFile(name, content)
    }

    func read(_ name: String) throws(SystemError) -> JournalReadResult {
        do throws(SystemError) {
            let file = try FileDescriptor(name: name, in: directory, flags: O_RDONLY)
            let status = try file.status()
            guard status.isRegular, status.bytes <= JournalFileFormat.maximumBytes else { return .foreign }
            return .bytes(file.content(upTo: status.bytes))
        } catch .missing {
            return .gone
        } catch {
            // The file is sound, but this process lacks resources: the content must not be skipped.
            if error.isShortage { throw error }
            return .foreign
        }
    }

    func rename(_ name: String, to newName: String) throws(SystemError) {
        guard renameat(directory.number, name, directory.number, newName) == 0 else { throw .last }
    }

    func remove(_ name: String) throws(SystemError) {
        guard unlinkat(directory.number, name, 0) == 0 else { throw .last }
    }

    func lock(_ name: String) throws(SystemError) -> any JournalLock {
        let temporary = JournalFileName.temporaryPrefix + name
        let file = try FileDescriptor(
            name: temporary, in: directory, flags: O_RDWR | O_CREAT | O_EXCL, mode: FileDescriptor.journalMode)
        guard fchmod(file.number, FileDescriptor.journalMode) == 0, flock(file.number, LOCK_EX | LOCK_NB) == 0,
            renameat(directory.number, temporary, directory.number, name) == 0
        else {
            let error = SystemError.last
            unlinkat(directory.number, temporary, 0)
            throw error
        }
        return file
    }

    func isLocked(_ name: String) -> Bool {
        guard let file = try? FileDescriptor(name: name, in: directory, flags: O_RDONLY) else { return false }
        return flock(file.number, LOCK_SH | LOCK_NB) != 0
    }

    func isDirectory(at path: String) -> Bool {
        guard let current = try? FileStatus(path: path) else { return false }
        return current.isSameFile(as: status)
    }

    var identity: FileIdentity { status.identity }

    func version(_ name: String) -> UInt64 { (try? FileStatus(name: name, in: directory).version) ?? 0 }
}

extension FileDescriptor: JournalLock {}

extension FileDescriptor {
    /// syncd may run as another user and must read the workers' files. Nobody else reaches them: the directory is open
    /// to syncd's group only.
    fileprivate static let journalMode: mode_t = 0o644

    /// Writes a whole new file into this directory, or leaves none.
    fileprivate func writeNewFile(_ name: String, _ content: ByteBuffer) throws(SystemError) {
        let file = try FileDescriptor(
            name: name, in: self, flags: O_WRONLY | O_CREAT | O_EXCL, mode: Self.journalMode)
        do throws(SystemError) {
            guard fchmod(file.number, Self.journalMode) == 0 else { throw .last }
            try file.append(content)
        } catch {
            unlinkat(number, name, 0)
            throw error
        }
    }

    private func append(_ content: ByteBuffer) throws(SystemError) {
        var rest = content
        while rest.readableBytes > 0 {
            let written = rest.withUnsafeReadableBytes { write(number, $0.baseAddress, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                throw .last
            }
            rest.moveReaderIndex(forwardBy: written)
        }
    }

    /// The content up to `count` bytes from the start.
    fileprivate func content(upTo count: Int) -> ByteBuffer {
        var content = ByteBuffer()
        while content.readableBytes < count {
            let missing = count - content.readableBytes
            let got = content.writeWithUnsafeMutableBytes(minimumWritableBytes: missing) { memory in
                max(0, read(number, memory.baseAddress, missing))
            }
            if got == 0 { break }
        }
        return content
    }
}
