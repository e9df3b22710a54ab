import IPCWire

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

extension TagTableFile {
    /// Creates a new file, complete before it gets its name, and maps it.
    static func create(path: String, slotBits: Int) throws(TagTableFileError) -> (TagTable, FileStatus) {
        let temporary = "\(path).new"
        do {
            // A file of this name is left over from a start that was killed here; the lock excludes other processes.
            unlink(temporary)
            // Workers read the file through their group; only syncd writes.
            let file = try FileDescriptor(path: temporary, flags: O_RDWR | O_CREAT | O_EXCL, mode: 0o640)
            let bytes = TagTableLayout.byteCount(slotBits: slotBits)
            guard fchmod(file.number, 0o640) == 0, ftruncate(file.number, off_t(bytes)) == 0 else {
                throw SystemError.last
            }
            // Memory that is not reserved would kill its first user when the file system is full.
            let reserved = posix_fallocate(file.number, 0, off_t(bytes))
            guard reserved == 0 else { throw SystemError(code: reserved) }
            let map = try Mapping(file, bytes: bytes, isWritable: true)
            TagTable.initializeHeader(
                map.memory, slotBits: slotBits, epoch: randomEpoch(), madeAt: BootClock.now)
            guard rename(temporary, path) == 0 else { throw SystemError.last }
            let table = TagTable(
                memory: map.memory, slotBits: slotBits, forget: { _ in map.forget() }, release: { _ in map.unmap() })
            return (table, try file.status())
        } catch {
            unlink(temporary)
            if let error = error as? SystemError { throw .system(path: path, error) }
            throw .notAFile(path: path)
        }
    }

    /// A random epoch differs from those of earlier files, in all likelihood, and leaves room above it for every rise
    /// that may come.
    private static func randomEpoch() -> Epoch { Epoch(.random(in: 1...(WireLimits.maximumNumber / 2))) }
}

/// A file mapped into memory, shared, and guarded against its truncation.
struct Mapping: Sendable {
    // Unchecked: the address is fixed; the memory is only accessed by the atomics of TagTable.
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

    /// Removes the pages from this process. The file keeps them, and needed ones are loaded again from there.
    func forget() { madvise(memory, bytes, MADV_DONTNEED) }

    func unmap() {
        TruncationGuard.remove(memory)
        munmap(memory, bytes)
    }
}
