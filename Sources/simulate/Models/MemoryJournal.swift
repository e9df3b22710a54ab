import IPC
import NIOCore

/// A journal directory in memory. Locks belong to processes and end with them, as the kernel's do.
// Unchecked: everything in a simulation runs on its one thread.
final class MemoryJournal: JournalStorage, @unchecked Sendable {
    private let world: World
    private var contents: [String: ByteBuffer] = [:]
    private var versions: [String: UInt64] = [:]
    private var changes: UInt64 = 0
    private var locks: [String: Process] = [:]
    /// No file can be made: the file system is full.
    var isFull = false
    /// Nothing can be done with it: the directory is not ours.
    var isClosed = false
    /// The directory was deleted; whoever has it open sees an empty one.
    private(set) var isDeleted = false
    /// It has another name now; whoever has it open goes on with it.
    var isMoved = false

    private static let full = SystemError(code: 28)
    private static let denied = SystemError(code: 13)

    init(world: World) {
        self.world = world
        identity = FileIdentity(device: 1, inode: world.random.next())
    }

    private final class Lock: JournalLock {}

    /// How often all files have been deleted.
    private(set) var generation = 0

    /// Deletes all files: who has a lock keeps it, but nobody can see that.
    func empty() {
        contents = [:]
        locks = [:]
        generation += 1
    }

    /// Deletes the directory and all that is in it.
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

    func read(_ name: String) throws(SystemError) -> JournalReadResult {
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
