import IPCWire
import NIOCore

/// What journal files are to the rules of the journal: names with bytes, and locks that end with their process.
/// The simulator puts a directory in its own memory in place of the file system.
package protocol JournalStorage: AnyObject, Sendable {
    /// All names, in any order.
    func names() throws(SystemError) -> [String]
    /// Writes a whole new file, or leaves none. Throws ``SystemError/exists`` if there is one by that name.
    func write(_ name: String, _ content: ByteBuffer) throws(SystemError)
    func read(_ name: String) throws(SystemError) -> JournalReadResult
    /// Replaces what has the new name.
    func rename(_ name: String, to newName: String) throws(SystemError)
    func remove(_ name: String) throws(SystemError)
    /// Makes a file that is locked for as long as what is returned lives. It has no name but locked.
    func lock(_ name: String) throws(SystemError) -> any JournalLock
    /// Whether somebody holds this file's lock. Where that can't be seen, nobody does.
    func isLocked(_ name: String) -> Bool
    /// Whether `path` still names this directory.
    func isDirectory(at path: String) -> Bool
    /// Which directory it is.
    var identity: FileIdentity { get }
    /// A number that changes with a file; 0 if there is none.
    func version(_ name: String) -> UInt64
}

/// A file lock that its process holds.
package protocol JournalLock: AnyObject, Sendable {}

/// What reading a journal file brings.
package enum JournalReadResult: Sendable {
    case bytes(ByteBuffer)
    /// No regular file, too large, or not for us to read.
    case foreign
    /// Deleted or renamed since the directory was read.
    case gone
}
