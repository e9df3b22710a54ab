import IPCWire
import NIOCore

/// One reading of the journal, in parts: there may be very many files, and syncd has to answer in between. The names
/// are those of one moment; files that were deleted meanwhile are skipped.
package struct JournalReading: Sendable {
    private struct Entry {
        var directory: Int
        var name: String
    }

    private var directories: [(files: any JournalStorage, prefix: String)] = []
    private var rest: ArraySlice<Entry> = []
    /// Owners that have been checked, and whether they live.
    private var living: [String: Bool] = [:]

    /// Whether all files have been read.
    package var isAtEnd: Bool { rest.isEmpty }

    /// Adds a directory. Returns whether it has files or may get some: a file, or the lock of a living owner.
    @discardableResult
    mutating func add(_ files: any JournalStorage, prefix: String) throws(SystemError) -> Bool {
        let names = try files.names()
        var entries: [Entry] = []
        var isInUse = false
        for name in names where !name.hasPrefix(JournalFileName.temporaryPrefix) {
            if let owner = JournalFileName.ownerOfLock(name) {
                isInUse = isInUse || (!prefix.isEmpty && Self.isAlive(owner, in: files))
            } else {
                entries.append(Entry(directory: directories.count, name: name))
            }
        }
        directories.append((files, prefix))
        // A marker makes much of the rest superfluous.
        let markers = entries.filter { $0.name == JournalFileName.marker }
        rest = (markers + rest + entries.filter { $0.name != JournalFileName.marker })[...]
        return isInUse || entries.contains { JournalFileName($0.name) != nil || $0.name == JournalFileName.marker }
    }

    /// The next files, of at most `count` names. `isWanted` decides whether the content is needed, from the name,
    /// whether it is the intent of a living owner, and the version. Otherwise only the name is returned.
    package mutating func next(
        _ count: Int, isWanted: (_ name: String, _ isLiving: Bool, _ version: UInt64) -> Bool
    ) throws(SystemError) -> [JournalFile] {
        var found: [JournalFile] = []
        for _ in 0..<min(count, rest.count) {
            guard let entry = rest.popFirst() else { break }
            if let file = try file(entry, isWanted) { found.append(file) }
        }
        return found
    }

    /// `nil`: the file is deleted already.
    private mutating func file(
        _ entry: Entry, _ isWanted: (String, Bool, UInt64) -> Bool
    ) throws(SystemError) -> JournalFile? {
        let (files, prefix) = directories[entry.directory]
        var file = JournalFile(
            name: prefix + entry.name, kind: .foreign, owner: "", isOwnerAlive: false, tags: nil)
        if entry.name == JournalFileName.marker {
            file.kind = .marker
            file.version = files.version(entry.name)
            return file
        }
        guard let name = JournalFileName(entry.name) else { return file }
        if name.kind == .intent {
            let key = prefix + name.owner
            file.isOwnerAlive = living[key] ?? Self.isAlive(name.owner, in: files)
            living[key] = file.isOwnerAlive
        }
        file.version = files.version(entry.name)
        if isWanted(file.name, file.isOwnerAlive, file.version) {
            file.isRead = true
            switch try files.read(entry.name) {
            case .bytes(let bytes): file.tags = JournalFileFormat.decode(bytes)
            case .foreign: return file
            case .gone: return nil
            }
        }
        (file.kind, file.owner) = (JournalFile.Kind(name.kind), name.owner)
        return file
    }

    /// Whether the process with this owner name lives. If that cannot be determined it counts as dead: then its writes
    /// are invalidated too early and once more later, instead of never.
    static func isAlive(_ owner: String, in files: any JournalStorage) -> Bool {
        JournalFileName.isOwner(owner) && files.isLocked(owner + JournalFileName.lockSuffix)
    }
}
