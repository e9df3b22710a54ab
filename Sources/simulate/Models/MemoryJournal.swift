import IPC
import NIOCore

/// A journal directory in memory. Locks belong to processes and end with them, as in the kernel.
// Unchecked: everything in a simulation runs on its one thread.
final class MemoryJournal: JournalStorage, @unchecked Sendable {
    private let world: World
    private var contents: [String: ByteBuffer] = [:]
    private var versions: [String: UInt64] = [:]
    private var changes: UInt64 = 0
    private var locks: [String: Process] = [:]
    /// No file can be made: the file system is full.
    var isFull = false
    /// All operations fail: the directory belongs to another user.
    var isClosed = false
    /// syncd may delete nothing: the directory is somebody else's, and sticky.
    var keepsFromSyncd = false
    /// Nobody can ever delete the next file that somebody wants to: it is immutable.
    var keepsNext = false
    /// Files that are immutable.
    private var kept: Set<String> = []
    /// Which syncd has tried last to delete a file, and could not.
    private var triedBy: [String: Process] = [:]
    /// syncd could not delete a file. `isInherited`: an earlier syncd could not, either.
    var notRemoved: (_ name: String, _ isInherited: Bool) -> Void = { _, _ in }
    /// The directory was deleted; processes that have opened it see an empty one.
    private(set) var isDeleted = false
    /// The directory was renamed; processes that have opened it continue with it.
    var isMoved = false

    private static let full = SystemError(code: 28)
    private static let denied = SystemError(code: 13)

    init(world: World) {
        self.world = world
        identity = FileIdentity(device: 1, inode: world.random.next())
    }

    private final class Lock: JournalLock {}

    /// Number of times that all files were deleted.
    private(set) var generation = 0

    /// Files that could not be renamed when the directory was closed, and who tried.
    private var unrenamed: [String: Process] = [:]

    /// Whether a file of this process still has a name that it should not have.
    func hasUnrenamedFile(of process: Process) -> Bool { unrenamed.values.contains { $0 === process } }

    /// Deletes all files: owners keep their locks, but no other process can see them.
    func empty() {
        contents = [:]
        locks = [:]
        kept = []
        triedBy = [:]
        generation += 1
    }

    /// Deletes the directory with its files.
    func wipe() {
        empty()
        isDeleted = true
    }

    /// Files that are not immutable. Those without their name yet, which could not be renamed or deleted, are left to the
    /// next syncd's start.
    var deletableFiles: [String] { contents.keys.filter { !kept.contains($0) && !$0.hasPrefix(".") }.sorted() }

    /// Immutable files, without the intents of living owners, which syncd does not try to delete.
    var immutableFiles: Int {
        let living = locks.filter(\.value.isAlive).keys.map { $0.dropLast(".lock".count) }
        return kept.filter { name in !(name.hasSuffix(".intent") && living.contains { name.hasPrefix($0) }) }.count
    }

    /// Whether an owner lives that can't delete its intent: syncd appends that again and again.
    var hasLivingImmutableFile: Bool { immutableFiles < kept.count }

    func names() throws(SystemError) -> [String] {
        if isClosed { throw Self.denied }
        return (Array(contents.keys) + Array(locks.keys)).sorted()
    }

    func write(_ name: String, _ content: ByteBuffer) throws(SystemError) {
        if isDeleted { throw .missing }
        if isClosed { throw Self.denied }
        if isFull { throw Self.full }
        guard contents[name] == nil else { throw .exists }
        contents[name] = content
        changes += 1
        versions[name] = changes
    }

    func read(_ name: String) throws(SystemError) -> JournalReadResult {
        if isClosed { return .foreign }
        return contents[name].map { .bytes($0) } ?? .gone
    }

    func rename(_ name: String, to newName: String) throws(SystemError) {
        if isClosed {
            if let process = world.current { unrenamed[name] = process }
            throw Self.denied
        }
        if kept.contains(newName) { throw Self.denied }
        guard let content = contents.removeValue(forKey: name) else { throw .missing }
        unrenamed[name] = nil
        contents[newName] = content
        versions[newName] = versions.removeValue(forKey: name)
        if kept.remove(name) != nil { kept.insert(newName) }
    }

    func remove(_ name: String) throws(SystemError) {
        if isClosed { throw Self.denied }
        if contents[name] != nil, isKept(name) { throw Self.denied }
        guard contents.removeValue(forKey: name) != nil || locks.removeValue(forKey: name) != nil else {
            throw .missing
        }
    }

    /// Locks are no matter here: they end with their process, whether their file can be deleted or not.
    private func isKept(_ name: String) -> Bool {
        if keepsNext, !name.hasPrefix(".") {
            keepsNext = false
            kept.insert(name)
        }
        let syncd = world.current as? SimulatedSyncd
        guard kept.contains(name) || keepsFromSyncd && syncd != nil else { return false }
        if let syncd {
            notRemoved(name, triedBy[name].map { $0 !== syncd } ?? false)
            triedBy[name] = syncd
        }
        return true
    }

    func lock(_ name: String) throws(SystemError) -> any JournalLock {
        if isDeleted { throw .missing }
        if isClosed { throw Self.denied }
        if isFull { throw Self.full }
        locks[name] = world.current
        return Lock()
    }

    func isLocked(_ name: String) -> Bool { locks[name]?.isAlive ?? false }

    func isDirectory(at path: String) -> Bool { !isDeleted && !isMoved }

    let identity: FileIdentity

    func version(_ name: String) -> UInt64 { versions[name] ?? 0 }
}
