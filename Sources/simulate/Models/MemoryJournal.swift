import IPC
import NIOCore

/// A journal directory in memory. Locks belong to processes and end with them, as in the kernel.
// Unchecked: everything in a simulation runs on its one thread.
final class MemoryJournal: JournalFiles, @unchecked Sendable {
    private let world: World
    private var contents: [String: ByteBuffer] = [:]
    private var versions: [String: UInt64] = [:]
    private var changes: UInt64 = 0
    private var locks: [String: Process] = [:]
    /// No file can be made: the file system is full.
    var isFull = false
    /// All operations fail: the directory belongs to another user.
    var isClosed = false
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

    /// Deletes all files: owners keep their locks, but no other process can see them.
    func empty() {
        contents = [:]
        locks = [:]
        generation += 1
    }

    /// Deletes the directory with its files.
    func wipe() {
        empty()
        isDeleted = true
    }

    var fileCount: Int { contents.count }

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

    func read(_ name: String) throws(SystemError) -> JournalFileContent {
        if isClosed { return .foreign }
        return contents[name].map { .bytes($0) } ?? .gone
    }

    func rename(_ name: String, to newName: String) throws(SystemError) {
        if isClosed { throw Self.denied }
        guard let content = contents.removeValue(forKey: name) else { throw .missing }
        contents[newName] = content
        versions[newName] = versions.removeValue(forKey: name)
    }

    func remove(_ name: String) throws(SystemError) {
        if isClosed { throw Self.denied }
        guard contents.removeValue(forKey: name) != nil || locks.removeValue(forKey: name) != nil else {
            throw .missing
        }
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
