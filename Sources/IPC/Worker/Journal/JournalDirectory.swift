import IPCWire
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The journal as syncd sees it (docs/consistency.md, "Writing"): files of workers, and pending invalidations of syncd
/// itself. All files were written by other processes and are trusted only as far as they can be checked.
package final class JournalDirectory: Sendable {
    /// Path of the directory.
    package let path: String
    private let owner: String
    private let nextNumber = Atomic<UInt64>(1)
    private let open: @Sendable () throws(SystemError) -> any JournalStorage
    private let places: Mutex<Places>

    private struct Places {
        /// The directory at the path, when it was last opened.
        var current: any JournalStorage
        /// Previous directories at the path, by their numbers: workers may still write there.
        var former: [UInt64: any JournalStorage] = [:]
        var nextNumber: UInt64 = 1
        /// Sizes of syncd's pending files in the file system, in bytes; `nil`: not counted yet.
        var pending: [String: Int]?
    }

    /// Opens the directory. A missing one is created with the mode 1770: workers may add files, and only the owner of a
    /// file and of the directory may delete or rename it.
    package convenience init(path: String) throws(SystemError) {
        let open: @Sendable () throws(SystemError) -> any JournalStorage = { () throws(SystemError) in
            if mkdir(path, 0o1770) == 0 { chmod(path, 0o1770) }
            return try SystemJournalStorage(path: path)
        }
        self.init(try open(), path: path, owner: JournalFileName.newOwner(processID: getpid()), open: open)
    }

    /// The directory in `files`. `owner`: a name that was never used. `open`: opens the directory at the path if it is
    /// not `files` any more.
    package init(
        _ files: any JournalStorage, path: String, owner: String,
        open: @escaping @Sendable () throws(SystemError) -> any JournalStorage = { () throws(SystemError) in
            throw .missing
        }
    ) {
        self.path = path
        self.owner = owner
        self.open = open
        places = Mutex(Places(current: files))
    }

    private var files: any JournalStorage { places.withLock { $0.current } }

    /// The identity of the directory that was last opened.
    package var identity: FileIdentity { files.identity }

    /// Begins to read the directory at the path, and every previous one that may still get files. Throws if the path
    /// names no readable directory.
    package func read() throws(SystemError) -> JournalReading {
        try follow()
        let (current, former) = places.withLock { ($0.current, $0.former) }
        var reading = JournalReading()
        try reading.add(current, prefix: "")
        for number in former.keys.sorted() {
            guard let files = former[number] else { continue }
            if try !reading.add(files, prefix: "\(number)/") { places.withLock { $0.former[number] = nil } }
        }
        return reading
    }

    /// Opens the directory at the path if it is another one, and creates a missing one.
    private func follow() throws(SystemError) {
        if files.isDirectory(at: path) || breaks(.directoryNotCompared) { return }
        let fresh = try open()
        places.withLock { places in
            places.former[places.nextNumber] = places.current
            places.nextNumber += 1
            places.current = fresh
        }
    }

    /// All files, unknown ones as foreign, in the order of their names. Locks are not listed, and of living owners'
    /// intents only the name.
    package func scan() throws(SystemError) -> [JournalFile] {
        var reading = try read()
        return try reading.next(.max) { _, isLiving, _ in !isLiving }.sorted { $0.name < $1.name }
    }

    /// The directory of a file that was read, and its name there.
    private func place(_ name: String) -> (files: (any JournalStorage)?, name: String) {
        guard let slash = name.firstIndex(of: "/") else { return (files, name) }
        let number = UInt64(name[..<slash]) ?? 0
        return (places.withLock { $0.former[number] }, String(name[name.index(after: slash)...]))
    }

    /// Whether the process with this owner name lives, which is when it holds its lock. If that cannot be determined it
    /// counts as dead: then its writes are invalidated too early and once more later, instead of never.
    package func isOwnerAlive(_ owner: String) -> Bool {
        JournalReading.isAlive(owner, in: files)
    }

    /// Deletes a file; a missing one is no error.
    package func remove(_ name: String) throws(SystemError) {
        let place = place(name)
        do throws(SystemError) {
            try place.files?.remove(place.name)
        } catch .missing {}
        places.withLock { _ = $0.pending?.removeValue(forKey: name) }
    }

    /// Stores a pending invalidation of syncd.
    ///
    /// - Returns: the name of the file.
    @discardableResult
    package func writePending(_ tags: [ByteBuffer]) throws(SystemError) -> String { try writeFile([tags]) }

    /// Stores pending invalidations of syncd, in as few files as possible.
    ///
    /// - Returns: false, with some of them not written, if all such files together would take more than `limit` bytes
    ///   of the file system.
    package func writePending(_ invalidations: [[ByteBuffer]], limit: Int) throws(SystemError) -> Bool {
        var rest = invalidations[...]
        while !rest.isEmpty {
            var bytes = 0
            let fitting = rest.prefix { tags in
                defer { bytes += JournalFileFormat.bytes(tags) }
                return bytes == 0 || bytes + JournalFileFormat.bytes(tags) <= JournalFileFormat.comfortableBytes
            }
            let needed = JournalFileFormat.kept(fitting.reduce(0) { $0 + JournalFileFormat.bytes($1) })
            guard try pendingBytes() + needed <= limit else { return false }
            let name = try writeFile(Array(fitting))
            places.withLock { $0.pending?[name] = needed }
            rest = rest.dropFirst(fitting.count)
        }
        return true
    }

    /// Size of all files with pending invalidations, those of earlier syncds included.
    private func pendingBytes() throws(SystemError) -> Int {
        let known = places.withLock { $0.pending }
        if let known { return known.values.reduce(0, +) }
        var found: [String: Int] = [:]
        for name in try files.names() where JournalFileName(name)?.kind == .pending {
            found[name] = JournalFileFormat.kept(1)
        }
        places.withLock { $0.pending = found }
        return found.values.reduce(0, +)
    }

    private func writeFile(_ invalidations: [[ByteBuffer]]) throws(SystemError) -> String {
        let number = nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue
        let name = JournalFileName(owner: owner, number: number, kind: .pending).text
        try write(name, JournalFileFormat.encode(invalidations))
        return name
    }

    /// Writes the file that means "replace the incarnation".
    package func writeMarker() throws(SystemError) { try write(JournalFileName.marker, ByteBuffer()) }

    /// Deletes unneeded files of dead owners: their locks, unless another file of theirs is still there, and files
    /// without a final name.
    package func removeLeftovers() throws(SystemError) {
        let names = try files.names()
        let busy = Set(names.compactMap { JournalFileName($0)?.owner })
        for name in names {
            let owner: String?
            if let holder = JournalFileName.ownerOfLock(name) {
                owner = busy.contains(holder) ? nil : holder
            } else {
                owner = ownerOfUnnamed(name)
            }
            if let owner, !isOwnerAlive(owner) { try remove(name) }
        }
    }

    private func ownerOfUnnamed(_ name: String) -> String? {
        guard name.hasPrefix(JournalFileName.temporaryPrefix) else { return nil }
        return JournalFileName(String(name.dropFirst(JournalFileName.temporaryPrefix.count)))?.owner
    }

    /// The file is complete before it gets its name. Throws if the directory was replaced since it was read.
    private func write(_ name: String, _ content: ByteBuffer) throws(SystemError) {
        try follow()
        let files = files
        let temporary = JournalFileName.temporaryPrefix + name
        do throws(SystemError) {
            try files.write(temporary, content)
        } catch .exists {
            // A file of this name was left by a syncd that was killed here.
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
}
