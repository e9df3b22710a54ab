import IPCWire

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The reason why a tag table file can't be used.
package enum TagTableFileError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file can't be opened, created or mapped.
    case system(path: String, SystemError)
    /// The path names no regular file.
    case notAFile(path: String)
    /// The file is not such a table.
    case unusable(path: String, TagTableError)

    /// The fault, with the path of the file.
    package var description: String {
        switch self {
        case .system(let path, let error): "the tag table \(path) can't be used: \(error)\(Self.remedy(error))"
        case .notAFile(let path): "the tag table \(path) is no regular file: remove it"
        case .unusable(let path, let error): "the tag table \(path) can't be used: \(error)"
        }
    }
}

extension TagTableFileError {
    private static func remedy(_ error: SystemError) -> String {
        switch error.code {
        case _ where error.isLackOfRoom: "; make room in its directory, or set a smaller SYNCD_TABLE_BITS"
        case EACCES, EPERM: "; give this process's user access to the file and to its directory"
        case EISDIR: "; remove the directory"
        default: ""
        }
    }
}

/// The origin of the table that a syncd uses.
package enum TagTableOrigin: Sendable, Hashable {
    /// An earlier syncd created it.
    case existing
    /// There was none.
    case fresh
    /// The previous one could not be used.
    case replaced(reason: String)
}

/// The file in which a tag table outlives the syncd that writes it (docs/consistency.md, "The table file").
package enum TagTableFile {
    /// Opens the table at `path` for writing, or creates a new one if there is none with this many slots: with a random
    /// epoch, and complete before it gets its name. A file is never truncated or overwritten: workers may still have
    /// mapped it. Call this only while holding syncd's lock.
    ///
    /// - Returns: the table, and whether it is a new one.
    package static func openOrCreate(
        path: String, slotBits: Int = TagTableLayout.defaultSlotBits
    ) throws(TagTableFileError) -> (TagTable, created: Bool) {
        let (mapped, origin) = try take(path: path, slotBits: slotBits)
        return (mapped.table, created: origin != .existing)
    }

    /// The same, with the details that syncd needs.
    package static func take(
        path: String, slotBits: Int
    ) throws(TagTableFileError) -> (MappedTagTable, TagTableOrigin) {
        var origin = TagTableOrigin.fresh
        do {
            let (table, file) = try open(path: path, isWritable: true)
            try validate(table, path: path)
            if table.slotCount == 1 << slotBits { return (MappedTagTable(table, file: file), .existing) }
            origin = .replaced(reason: "the table at \(path) has \(table.slotCount) slots")
        } catch .unusable(let path, let error) {
            // The file has another layout, or is damaged: a new file takes its name.
            origin = .replaced(reason: TagTableFileError.unusable(path: path, error).description)
        } catch .system(_, .missing) {
            // The first start, or a wiped directory.
        }
        let (table, file) = try create(path: path, slotBits: slotBits)
        return (MappedTagTable(table, file: file), origin)
    }

    private static func validate(_ table: TagTable, path: String) throws(TagTableFileError) {
        do {
            try table.validateSlots()
        } catch {
            throw .unusable(path: path, error)
        }
    }

    /// Maps an existing file.
    static func open(path: String, isWritable: Bool) throws(TagTableFileError) -> (TagTable, FileStatus) {
        let (mapped, status): (Mapping?, FileStatus)
        do {
            let greatest = TagTableLayout.byteCount(slotBits: TagTableLayout.slotBitsRange.upperBound)
            (mapped, status) = try Mapping.open(
                path: path, sizes: TagTableLayout.headerBytes...greatest, isWritable: isWritable)
        } catch {
            throw .system(path: path, error)
        }
        guard status.isRegular else { throw .notAFile(path: path) }
        guard let map = mapped else { throw .unusable(path: path, .tooShort(bytes: status.bytes)) }
        do {
            let bits = try TagTable.validateHeader(map.memory, fileBytes: status.bytes)
            return (table(map, slotBits: bits), status)
        } catch {
            map.unmap()
            throw .unusable(path: path, error)
        }
    }

    /// Creates a new file, complete before it gets its name, and maps it.
    private static func create(path: String, slotBits: Int) throws(TagTableFileError) -> (TagTable, FileStatus) {
        let temporary = "\(path).new"
        do throws(SystemError) {
            let bytes = TagTableLayout.byteCount(slotBits: slotBits)
            // Workers read the file through their group; only syncd writes.
            let file = try Mapping.file(temporary, bytes: bytes, mode: 0o640)
            let map = try Mapping(file, bytes: bytes, isWritable: true)
            TagTable.initializeHeader(map.memory, slotBits: slotBits, epoch: randomEpoch(), madeAt: BootClock.now)
            guard rename(temporary, path) == 0 else { throw .last }
            return (table(map, slotBits: slotBits), try file.status())
        } catch {
            unlink(temporary)
            throw .system(path: path, error)
        }
    }

    private static func table(_ map: Mapping, slotBits: Int) -> TagTable {
        TagTable(memory: map.memory, slotBits: slotBits, forget: { _ in map.forget() }, release: { _ in map.unmap() })
    }

    /// A random epoch differs from those of earlier files, in all likelihood, and leaves room above it for every rise
    /// that may come.
    private static func randomEpoch() -> Epoch { Epoch(.random(in: 1...(WireLimits.maximumNumber / 2))) }
}
