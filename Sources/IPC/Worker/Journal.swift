import IPCWire
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Why nothing can be written into the journal.
struct JournalError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What could not be done.
    enum Step: String, Sendable { case open, lock, write }

    var step: Step
    var path: String
    var cause: SystemError

    var label: String { "journal-\(step.rawValue)" }
    var description: String {
        "the journal directory \(path) can't be used (\(step.rawValue)): \(cause); check its owner, mode and free space"
    }
}

/// A worker's part of the journal (docs/consistency.md, "Writing", step 1): what it is about to invalidate, where
/// syncd finds it if this process dies.
///
/// The owner's lock is held for as long as this object lives. The kernel lets go of it when the process dies,
/// however it dies: that is how syncd knows whose intents are left behind.
final class Journal: Sendable {
    let owner: String
    private let path: String
    private let directory: FileDescriptor
    private let lock: FileDescriptor
    private let status: FileStatus
    private let nextNumber = Atomic<UInt64>(1)

    /// Takes part in the journal in the directory at `path`, under a name that nobody has had.
    init(path: String, owner: String = JournalName.newOwner(processID: getpid())) throws(JournalError) {
        self.path = path
        self.owner = owner
        do {
            directory = try FileDescriptor(path: path, flags: O_RDONLY | O_DIRECTORY)
            status = try directory.status()
        } catch {
            throw JournalError(step: .open, path: path, cause: error)
        }
        do {
            lock = try Self.lock(owner, in: directory)
        } catch {
            throw JournalError(step: .lock, path: path, cause: error)
        }
    }

    /// Locked before it has its name: syncd never sees the free lock of a living owner.
    private static func lock(_ owner: String, in directory: FileDescriptor) throws(SystemError) -> FileDescriptor {
        let temporary = JournalName.temporaryPrefix + owner
        let file = try FileDescriptor(
            name: temporary, in: directory, flags: O_RDWR | O_CREAT | O_EXCL, mode: FileDescriptor.journalMode)
        guard fchmod(file.number, FileDescriptor.journalMode) == 0, flock(file.number, LOCK_EX | LOCK_NB) == 0,
            renameat(directory.number, temporary, directory.number, owner + JournalName.lockSuffix) == 0
        else {
            let error = SystemError.last
            unlinkat(directory.number, temporary, 0)
            throw error
        }
        return file
    }

    deinit {
        // Files that are left keep their meaning: an owner without a lock is a dead one.
        unlinkat(directory.number, owner + JournalName.lockSuffix, 0)
    }

    /// Whether `path` still names the directory that this journal writes to.
    func isDirectory(at path: String) -> Bool {
        guard let current = try? FileStatus(path: path) else { return false }
        return current.isSameFile(as: status)
    }

    /// Writes down what is about to be invalidated. A few microseconds: the directory is in memory (tmpfs).
    func begin(_ tags: [ByteBuffer]) throws(JournalError) -> Intent {
        let number = nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue
        let name = JournalName(owner: owner, number: number, kind: .intent)
        do {
            try directory.writeNewFile(name.text, JournalContent.encode(tags))
        } catch {
            throw JournalError(step: .write, path: path, cause: error)
        }
        return Intent(name: name, journal: self)
    }

    fileprivate func rename(_ name: JournalName, to kind: JournalFile.Kind) -> Bool {
        var renamed = name
        renamed.kind = kind
        return renameat(directory.number, name.text, directory.number, renamed.text) == 0
    }

    fileprivate func delete(_ name: JournalName) { unlinkat(directory.number, name.text, 0) }
}

/// One write that is written down. It is either deleted or becomes owed or an orphan, once.
struct Intent: Sendable {
    fileprivate let name: JournalName
    fileprivate let journal: Journal

    /// The invalidation is in the log, or there was nothing to invalidate.
    func delete() { journal.delete(name) }

    /// Nobody has taken the invalidation: from now on it is syncd's. False if that could not be written down.
    func becomeOwed() -> Bool { journal.rename(name, to: .owed) }

    /// The write may still reach the database: from now on it is syncd's. False if that could not be written down.
    func becomeOrphan() -> Bool { journal.rename(name, to: .orphan) }

    /// Whether it is written down in this journal.
    func isIn(_ journal: Journal?) -> Bool { journal === self.journal }
}

extension FileDescriptor {
    /// syncd may run as another user and must read what workers write. Nobody else reaches the files: the
    /// directory is open to syncd's group only.
    static let journalMode: mode_t = 0o644

    /// Writes a whole new file into this directory, or leaves none.
    func writeNewFile(_ name: String, _ content: ByteBuffer) throws(SystemError) {
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
}
