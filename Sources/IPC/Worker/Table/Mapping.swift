import IPCWire

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A tag table or a value arena, mapped from a file that a syncd of this host made.
package struct Mapped<Content: Sendable>: Sendable {
    fileprivate let content: Content
    private let isNamed: @Sendable (String) -> Bool

    init(_ content: Content, file: FileStatus) {
        self.init(content) { path in
            guard let current = try? FileStatus(path: path) else { return false }
            return current.isSameFile(as: file)
        }
    }

    /// Content that is mapped already; `isNamed` returns whether a path still names it.
    package init(_ content: Content, isNamed: @escaping @Sendable (String) -> Bool) {
        self.content = content
        self.isNamed = isNamed
    }

    /// Whether `path` still names the mapped file. A mapping keeps a deleted file alive, but no process writes to it.
    package func isFile(at path: String) -> Bool { isNamed(path) }
}

package typealias MappedTagTable = Mapped<TagTable>

extension MappedTagTable {
    package var table: TagTable { content }

    /// Maps the file at `path`. Its size and header are checked before its content is trusted.
    package init(path: String) throws(TagTableFileError) {
        let (table, file) = try TagTableFile.open(path: path, isWritable: false)
        self.init(table, file: file)
    }
}

package typealias MappedArena = Mapped<ValueArena>

extension MappedArena {
    package var arena: ValueArena { content }

    /// Maps the file at `path`, and the marks beside it if they can be written.
    package init(path: String) throws {
        let (arena, file) = try ValueArenaFile.open(path: path, boot: nil, isWritable: false)
        self.init(arena, file: file)
    }
}

/// A file mapped into memory, shared, and guarded against its truncation.
struct Mapping: Sendable {
    // Unchecked: the address is fixed; the memory is only accessed by the atomics of TagTable and ValueArena.
    nonisolated(unsafe) let memory: UnsafeMutableRawPointer
    private let bytes: Int

    /// - Parameter isHint: nobody relies on the content, also where it is written.
    init(_ file: FileDescriptor, bytes: Int, isWritable: Bool, isHint: Bool = false) throws(SystemError) {
        let protection = isWritable ? PROT_READ | PROT_WRITE : PROT_READ
        guard let memory = mmap(nil, bytes, protection, MAP_SHARED, file.number, 0), memory != MAP_FAILED else {
            throw .last
        }
        self.memory = memory
        self.bytes = bytes
        TruncationGuard.add(memory, bytes: bytes, isWriter: isWritable && !isHint)
    }

    /// Maps an existing file. No mapping: it is no regular file, or its size is not one of `sizes`. A file shorter than
    /// its map would kill the reader.
    static func open(
        path: String, sizes: ClosedRange<Int>, isWritable: Bool, isHint: Bool = false
    ) throws(SystemError) -> (Mapping?, FileStatus) {
        let file = try FileDescriptor(path: path, flags: isWritable ? O_RDWR : O_RDONLY)
        let status = try file.status()
        guard status.isRegular, sizes.contains(status.bytes) else { return (nil, status) }
        return (try Mapping(file, bytes: status.bytes, isWritable: isWritable, isHint: isHint), status)
    }

    /// A new file of zeros whose memory is reserved: otherwise a full file system would kill its users.
    static func file(_ path: String, bytes: Int, mode: mode_t) throws(SystemError) -> FileDescriptor {
        // A file of this name is left over from a start that was killed here; the lock excludes other processes.
        unlink(path)
        let file = try FileDescriptor(path: path, flags: O_RDWR | O_CREAT | O_EXCL, mode: mode)
        guard fchmod(file.number, mode) == 0, ftruncate(file.number, off_t(bytes)) == 0 else { throw .last }
        let code = posix_fallocate(file.number, 0, off_t(bytes))
        guard code == 0 else { throw SystemError(code: code) }
        return file
    }

    /// Removes the pages from this process. The file keeps them, and needed ones are loaded again from there.
    func forget() { madvise(memory, bytes, MADV_DONTNEED) }

    func unmap() {
        TruncationGuard.remove(memory)
        munmap(memory, bytes)
    }
}
