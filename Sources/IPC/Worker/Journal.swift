import IPCWire
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Why nothing can be written into the journal.
package struct JournalError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What could not be done.
    enum Step: String, Sendable { case open, lock, write }

    var step: Step
    var path: String
    var cause: SystemError

    var label: String { "journal-\(step.rawValue)" }
    package var description: String {
        "the journal directory \(path) can't be used (\(step.rawValue)): \(cause); check its owner, mode and free space"
    }
}

/// A worker's part of the journal (docs/consistency.md, "Writing", step 1): what it is about to invalidate, where
/// syncd finds it if this process dies.
///
/// The owner's lock is held for as long as this object lives. The kernel lets go of it when the process dies,
/// however it dies: that is how syncd knows whose intents are left behind.
package final class Journal: Sendable {
    let owner: String
    private let path: String
    private let files: any JournalFiles
    private let lock: any JournalLock
    private let nextNumber = Atomic<UInt64>(1)

    /// Takes part in the journal in the directory at `path`, under a name that nobody has had.
    convenience init(path: String, owner: String = JournalName.newOwner(processID: getpid())) throws(JournalError) {
        do {
            try self.init(SystemJournalFiles(path: path), path: path, owner: owner)
        } catch let error as SystemError {
            throw JournalError(step: .open, path: path, cause: error)
        } catch {
            throw (error as? JournalError) ?? JournalError(step: .open, path: path, cause: .missing)
        }
    }

    /// Takes part in the journal that `files` are.
    package init(_ files: any JournalFiles, path: String, owner: String) throws(JournalError) {
        self.path = path
        self.owner = owner
        self.files = files
        do {
            // Locked before it has its name: syncd never sees the free lock of a living owner.
            lock = try files.lock(owner + JournalName.lockSuffix)
        } catch {
            throw JournalError(step: .lock, path: path, cause: error)
        }
    }

    deinit {
        // Files that are left keep their meaning: an owner without a lock is a dead one.
        try? files.remove(owner + JournalName.lockSuffix)
    }

    /// Whether `path` still names the directory that this journal writes to.
    func isDirectory(at path: String) -> Bool { files.isDirectory(at: path) }

    /// Writes down what is about to be invalidated. A few microseconds: the directory is in memory (tmpfs).
    func begin(_ tags: [ByteBuffer]) throws(JournalError) -> Intent {
        let number = nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue
        let name = JournalName(owner: owner, number: number, kind: .intent)
        do {
            try files.write(name.text, JournalContent.encode(tags))
        } catch {
            throw JournalError(step: .write, path: path, cause: error)
        }
        return Intent(name: name, journal: self)
    }

    fileprivate func rename(_ name: JournalName, to kind: JournalFile.Kind) -> Bool {
        var renamed = name
        renamed.kind = kind
        do {
            try files.rename(name.text, to: renamed.text)
            return true
        } catch {
            return false
        }
    }

    fileprivate func delete(_ name: JournalName) { try? files.remove(name.text) }
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

    /// It became an orphan, and since then its write was settled and invalidated once more.
    func deleteOrphan() {
        var orphan = name
        orphan.kind = .orphan
        journal.delete(orphan)
    }

    /// Whether it is written down in this journal.
    func isIn(_ journal: Journal?) -> Bool { journal === self.journal }
}
