import IPCWire
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The reason why nothing can be written into the journal.
package struct WorkerJournalError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The step that failed.
    enum Step: String, Sendable { case open, lock, write }

    var step: Step
    var path: String
    var cause: SystemError

    package var description: String {
        "the journal directory \(path) can't be used (\(step.rawValue)): \(cause); check its owner, mode and free space"
    }
}

/// A worker's part of the journal (docs/consistency.md, "Writing", step 1): the tags of writes under way, which syncd
/// finds there if this process dies.
///
/// The owner's lock is held for as long as this object lives. The kernel lets go of it when the process dies,
/// however it dies: that is how syncd knows whose intents are left behind.
package final class WorkerJournal: Sendable {
    let owner: String
    private let path: String
    private let files: any JournalStorage
    private let lock: any JournalLock
    private let nextNumber = Atomic<UInt64>(1)

    /// Takes part in the journal in the directory at `path`, under a name that was never used.
    convenience init(path: String, owner: String = JournalFileName.newOwner(processID: getpid()))
        throws(WorkerJournalError)
    {
        do {
            try self.init(SystemJournalStorage(path: path), path: path, owner: owner)
        } catch let error as SystemError {
            throw WorkerJournalError(step: .open, path: path, cause: error)
        } catch {
            throw (error as? WorkerJournalError) ?? WorkerJournalError(step: .open, path: path, cause: .missing)
        }
    }

    /// Takes part in the journal in `files`.
    package init(_ files: any JournalStorage, path: String, owner: String) throws(WorkerJournalError) {
        self.path = path
        self.owner = owner
        self.files = files
        do {
            // Locked before it has its name: syncd never sees the free lock of a living owner.
            lock = try files.lock(owner + JournalFileName.lockSuffix)
        } catch {
            throw WorkerJournalError(step: .lock, path: path, cause: error)
        }
    }

    deinit {
        // Files that are left keep their meaning: an owner without a lock is a dead one.
        try? files.remove(owner + JournalFileName.lockSuffix)
    }

    /// Whether `path` still names the directory that this journal writes to.
    func isDirectory(at path: String) -> Bool { files.isDirectory(at: path) }

    /// The identity of the directory.
    var directory: FileIdentity { files.identity }

    /// Records the tags of a write. This takes a few microseconds: the directory is in memory (tmpfs).
    ///
    /// `other`: the journal to be used instead if this one's directory was replaced.
    func begin(
        _ tags: [CacheTag], other: @escaping @Sendable () -> WorkerJournal? = { nil }
    ) throws(WorkerJournalError) -> Intent {
        Intent(tags: tags, place: Intent.Place(name: try write(tags), journal: self), other: other)
    }

    fileprivate func write(_ tags: [CacheTag]) throws(WorkerJournalError) -> JournalFileName {
        let number = nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue
        let name = JournalFileName(owner: owner, number: number, kind: .intent)
        do {
            try files.write(name.text, JournalFileFormat.encode([tags.map(\.bytes)]))
        } catch {
            throw WorkerJournalError(step: .write, path: path, cause: error)
        }
        return name
    }

    fileprivate func rename(_ name: JournalFileName, to kind: JournalFileName.Kind) -> Bool {
        var renamed = name
        renamed.kind = kind
        do {
            try files.rename(name.text, to: renamed.text)
            return true
        } catch {
            return false
        }
    }

    fileprivate func delete(_ name: JournalFileName) { try? files.remove(name.text) }
}

/// One recorded write. Its file is either deleted or becomes a pending invalidation or an orphan, once.
final class Intent: Sendable {
    /// The file of the record.
    fileprivate struct Place {
        var name: JournalFileName
        var journal: WorkerJournal
    }

    private let tags: [CacheTag]
    private let place: Mutex<Place>
    private let other: @Sendable () -> WorkerJournal?

    fileprivate init(tags: [CacheTag], place: consuming Place, other: @escaping @Sendable () -> WorkerJournal?) {
        self.tags = tags
        self.place = Mutex(place)
        self.other = other
    }

    /// The invalidation is in the log, or there was nothing to invalidate. For an orphan: it was appended once more,
    /// since its write can't land any more.
    func delete() {
        let place = place.withLock { $0 }
        place.journal.delete(place.name)
    }

    /// The invalidation is pending: from now on the file belongs to syncd. False if the renaming failed.
    func becomePending() -> Bool { become(.pending) }

    /// The write may still reach the database: from now on the file belongs to syncd. False if the renaming failed.
    func becomeOrphan() -> Bool { become(.orphan) }

    /// The file may have gone with its directory: it is then written once more, in the directory at the path now.
    private func become(_ kind: JournalFileName.Kind) -> Bool {
        let first = place.withLock { $0 }
        if first.journal.rename(first.name, to: kind) {
            place.withLock { $0.name.kind = kind }
            return true
        }
        guard let journal = other(), journal !== first.journal, let name = try? journal.write(tags) else {
            return false
        }
        let isRenamed = journal.rename(name, to: kind)
        place.withLock { place in
            place = Place(name: name, journal: journal)
            if isRenamed { place.name.kind = kind }
        }
        return isRenamed
    }

    /// The directory of the file.
    var directory: FileIdentity { place.withLock { $0.journal.directory } }

    /// Whether the file is in this journal.
    func isIn(_ journal: WorkerJournal?) -> Bool { place.withLock { $0.journal === journal } }
}
