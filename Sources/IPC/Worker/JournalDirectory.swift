import IPCWire
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The journal as syncd sees it (docs/consistency.md, "Writing"): what workers left behind and what syncd owes
/// itself. Everything in it was written by others and is believed only as far as it can be checked.
public final class JournalDirectory: Sendable {
    /// Path of the directory.
    public let path: String
    private let directory: FileDescriptor
    private let owner = JournalName.newOwner(processID: getpid())
    private let nextNumber = Atomic<UInt64>(1)

    /// Opens the directory; where there is none, it is made, with the mode 1770: workers may add files, and only
    /// the owner of a file and of the directory may delete or rename it.
    public init(path: String) throws(SystemError) {
        self.path = path
        if mkdir(path, 0o1770) == 0 { chmod(path, 0o1770) }
        directory = try FileDescriptor(path: path, flags: O_RDONLY | O_DIRECTORY)
    }

    /// All files that mean something, in the order of their names, and all that don't, as foreign ones. Locks are
    /// not listed, and of living owners' intents only the name.
    public func scan() throws(SystemError) -> [JournalFile] {
        var living: [String: Bool] = [:]
        var files: [JournalFile] = []
        for name in try names() where !name.hasPrefix(JournalName.temporaryPrefix) && !isLock(name) {
            if let file = try file(name, living: &living) { files.append(file) }
        }
        return files
    }

    /// `nil`: it is gone already. `living` remembers which owners have been looked at.
    private func file(_ name: String, living: inout [String: Bool]) throws(SystemError) -> JournalFile? {
        func unowned(_ kind: JournalFile.Kind) -> JournalFile {
            JournalFile(name: name, kind: kind, owner: "", isOwnerAlive: false, tags: nil)
        }
        if name == JournalName.marker { return unowned(.marker) }
        guard let parsed = JournalName(name) else { return unowned(.foreign) }
        var isAlive = false
        if parsed.kind == .intent {
            isAlive = living[parsed.owner] ?? isOwnerAlive(parsed.owner)
            living[parsed.owner] = isAlive
        }
        switch isAlive ? Content.absent : try read(name) {
        case .foreign: return unowned(.foreign)
        case .gone: return nil
        case .absent:
            return JournalFile(
                name: name, kind: parsed.kind, owner: parsed.owner, isOwnerAlive: isAlive, tags: nil)
        case .tags(let tags):
            return JournalFile(
                name: name, kind: parsed.kind, owner: parsed.owner, isOwnerAlive: false, tags: tags)
        }
    }

    /// Whether the process that goes by this name lives: it holds its lock. Where that can't be seen it counts as
    /// dead: then its writes are invalidated too early and once more later, instead of never.
    public func isOwnerAlive(_ owner: String) -> Bool {
        guard JournalName.isOwner(owner),
            let file = try? FileDescriptor(name: owner + JournalName.lockSuffix, in: directory, flags: O_RDONLY)
        else { return false }
        return !file.canBeShared()
    }

    /// Deletes a file; one that is gone already is no error.
    public func remove(_ name: String) throws(SystemError) {
        guard unlinkat(directory.number, name, 0) != 0 else { return }
        let error = SystemError.last
        if error != .missing { throw error }
    }

    /// Writes down an invalidation that syncd owes.
    ///
    /// - Returns: the name of the file.
    @discardableResult
    public func writeOwed(_ tags: [ByteBuffer]) throws(SystemError) -> String {
        let number = nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue
        let name = JournalName(owner: owner, number: number, kind: .owed).text
        try write(name, JournalContent.encode(tags))
        return name
    }

    /// Writes the file that says "replace the incarnation".
    public func writeMarker() throws(SystemError) { try write(JournalName.marker, ByteBuffer()) }

    /// Deletes the locks of dead owners who left nothing else behind.
    public func removeFreeLocks() throws(SystemError) {
        let names = try names()
        let busy = Set(names.compactMap { JournalName($0)?.owner })
        for name in names where isLock(name) {
            let owner = String(name.dropLast(JournalName.lockSuffix.count))
            if !busy.contains(owner), !isOwnerAlive(owner) { try remove(name) }
        }
    }

    private func isLock(_ name: String) -> Bool {
        name.hasSuffix(JournalName.lockSuffix)
            && JournalName.isOwner(String(name.dropLast(JournalName.lockSuffix.count)))
    }

    /// Complete before it gets its name.
    private func write(_ name: String, _ content: ByteBuffer) throws(SystemError) {
        let temporary = JournalName.temporaryPrefix + name
        do {
            try directory.writeNewFile(temporary, content)
        } catch .exists {
            // Left over from a syncd that was killed here.
            unlinkat(directory.number, temporary, 0)
            try directory.writeNewFile(temporary, content)
        }
        guard renameat(directory.number, temporary, directory.number, name) == 0 else {
            let error = SystemError.last
            unlinkat(directory.number, temporary, 0)
            throw error
        }
    }

    private func names() throws(SystemError) -> [String] {
        // A descriptor of its own: closedir closes it, and its place in the directory begins at the start.
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
        return names.sorted()
    }

    private enum Content {
        case tags([ByteBuffer])
        /// Incomplete, or not read.
        case absent
        /// No regular file, too large, or not for us to read.
        case foreign
        /// Deleted or renamed since the directory was read.
        case gone
    }

    private func read(_ name: String) throws(SystemError) -> Content {
        do throws(SystemError) {
            let file = try FileDescriptor(name: name, in: directory, flags: O_RDONLY)
            let status = try file.status()
            guard status.isRegular, status.bytes <= JournalContent.maximumBytes else { return .foreign }
            guard let tags = JournalContent.decode(file.content(upTo: status.bytes)) else { return .absent }
            return .tags(tags)
        } catch .missing {
            return .gone
        } catch {
            // The file is sound, this process is not: what it says may not be passed over.
            if error.isShortage { throw error }
            return .foreign
        }
    }
}

extension FileDescriptor {
    /// Whether nobody holds this file's lock.
    fileprivate func canBeShared() -> Bool { flock(number, LOCK_SH | LOCK_NB) == 0 }

    /// Up to `count` bytes from the start.
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
