import IPCWire
import NIOCore

/// The journal's files for the rules of the journal: names with bytes, and locks that end with their process. The
/// simulator implements it with a directory in memory.
package protocol JournalStorage: AnyObject, Sendable {
    /// All names, in any order.
    func names() throws(SystemError) -> [String]
    /// Writes a whole new file, or leaves none. Throws ``SystemError/exists`` if there is one by that name.
    func write(_ name: String, _ content: ByteBuffer) throws(SystemError)
    func read(_ name: String) throws(SystemError) -> JournalReadResult
    /// Replaces what has the new name.
    func rename(_ name: String, to newName: String) throws(SystemError)
    func remove(_ name: String) throws(SystemError)
    /// Creates a locked file. The lock is held as long as the returned object lives. The file is locked before it gets
    /// its name.
    func lock(_ name: String) throws(SystemError) -> any JournalLock
    /// Whether a process holds this file's lock. If that cannot be determined, the lock counts as free.
    func isLocked(_ name: String) -> Bool
    /// Whether `path` still names this directory.
    func isDirectory(at path: String) -> Bool
    /// The identity of the directory.
    var identity: FileIdentity { get }
    /// A number that changes with a file; 0 if there is none.
    func version(_ name: String) -> UInt64
}

/// A file lock that its process holds.
package protocol JournalLock: AnyObject, Sendable {}

/// The result of reading a journal file.
package enum JournalReadResult: Sendable {
    case bytes(ByteBuffer)
    /// No regular file, too large, or not readable.
    case foreign
    /// Deleted or renamed since the directory was read.
    case gone
}
