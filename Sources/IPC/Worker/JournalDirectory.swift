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
    private let files: any JournalFiles
    private let owner: String
    private let nextNumber = Atomic<UInt64>(1)

    /// Opens the directory; where there is none, it is made, with the mode 1770: workers may add files, and only
    /// the owner of a file and of the directory may delete or rename it.
    public convenience init(path: String) throws(SystemError) {
        if mkdir(path, 0o1770) == 0 { chmod(path, 0o1770) }
        self.init(
            try SystemJournalFiles(path: path), path: path, owner: JournalName.newOwner(processID: getpid()))
    }

    /// The directory that `files` are. `owner`: a name that nobody has had.
    package init(_ files: any JournalFiles, path: String, owner: String) {
        self.path = path
        self.files = files
        self.owner = owner
    }

    /// All files that mean something, in the order of their names, and all that don't, as foreign ones. Locks are
    /// not listed, and of living owners' intents only the name.
    public func scan() throws(SystemError) -> [JournalFile] {
        var living: [String: Bool] = [:]
        var found: [JournalFile] = []
        for name in try files.names() where !name.hasPrefix(JournalName.temporaryPrefix) && ownerOfLock(name) == nil {
            if let file = try file(name, living: &living) { found.append(file) }
        }
        return found
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
        return JournalName.isOwner(owner) && files.isLocked(owner + JournalName.lockSuffix)
    }

    /// Deletes a file; one that is gone already is no error.
    public func remove(_ name: String) throws(SystemError) {
        do throws(SystemError) {
            try files.remove(name)
        } catch .missing {}
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

    /// Deletes what dead owners have left and nobody needs: their locks, unless another file of theirs is still there,
    /// and files that had not got their names yet.
    public func removeLeftovers() throws(SystemError) {
        let names = try files.names()
        let busy = Set(names.compactMap { JournalName($0)?.owner })
        for name in names {
            let owner: String?
            if let holder = ownerOfLock(name) {
                owner = busy.contains(holder) ? nil : holder
            } else {
                owner = ownerOfUnnamed(name)
            }
            if let owner, !isOwnerAlive(owner) { try remove(name) }
        }
    }

    private func ownerOfLock(_ name: String) -> String? {
        guard name.hasSuffix(JournalName.lockSuffix) else { return nil }
        let owner = String(name.dropLast(JournalName.lockSuffix.count))
        return JournalName.isOwner(owner) ? owner : nil
    }

    private func ownerOfUnnamed(_ name: String) -> String? {
        guard name.hasPrefix(JournalName.temporaryPrefix) else { return nil }
        return JournalName(String(name.dropFirst(JournalName.temporaryPrefix.count)))?.owner
    }

    /// Complete before it gets its name.
    private func write(_ name: String, _ content: ByteBuffer) throws(SystemError) {
        let temporary = JournalName.temporaryPrefix + name
        do throws(SystemError) {
            try files.write(temporary, content)
        } catch .exists {
            // Left over from a syncd that was killed here.
            try files.remove(temporary)
            try files.write(temporary, content)
        }
        do throws(SystemError) {
            try files.rename(temporary, to: name)
        } catch {
            try? files.remove(temporary)
            throw error
        }
    }

    private enum Content {
        case tags([ByteBuffer])
        /// Incomplete, or not read.
        case absent
        case foreign
        /// Deleted or renamed since the directory was read.
        case gone
    }

    private func read(_ name: String) throws(SystemError) -> Content {
        switch try files.read(name) {
        case .bytes(let bytes): JournalContent.decode(bytes).map { .tags($0) } ?? .absent
        case .foreign: .foreign
        case .gone: .gone
        }
    }
}
