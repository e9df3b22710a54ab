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

    /// A short name for metrics.
    package var label: String {
        switch self {
        case .system: "system"
        case .notAFile: "not-a-file"
        case .unusable: "unusable"
        }
    }

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

/// A tag table that a syncd of this host made, mapped for reading.
package struct MappedTagTable: Sendable {
    package let table: TagTable
    private let isNamed: @Sendable (String) -> Bool

    /// Maps the file at `path`. Its size and header are checked before its content is trusted.
    package init(path: String) throws(TagTableFileError) {
        let (table, file) = try TagTableFile.open(path: path, isWritable: false)
        self.init(table, file: file)
    }

    init(_ table: TagTable, file: FileStatus) {
        self.init(table) { path in
            guard let current = try? FileStatus(path: path) else { return false }
            return current.isSameFile(as: file)
        }
    }

    /// A table that is mapped already; `isNamed` returns whether a path still names it.
    package init(_ table: TagTable, isNamed: @escaping @Sendable (String) -> Bool) {
        self.table = table
        self.isNamed = isNamed
    }

    /// Whether `path` still names the mapped file. A mapping keeps a deleted file alive, but no process writes to it.
    package func isFile(at path: String) -> Bool { isNamed(path) }
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
        let status: FileStatus
        let map: Mapping
        do {
            let file = try FileDescriptor(path: path, flags: isWritable ? O_RDWR : O_RDONLY)
            status = try file.status()
            guard status.isRegular else { throw TagTableFileError.notAFile(path: path) }
            // A file shorter than its map would kill the reader: the size is checked first.
            guard status.bytes >= TagTableLayout.headerBytes,
                status.bytes <= TagTableLayout.byteCount(slotBits: TagTableLayout.slotBitsRange.upperBound)
            else { throw TagTableFileError.unusable(path: path, .tooShort(bytes: status.bytes)) }
            map = try Mapping(file, bytes: status.bytes, isWritable: isWritable)
        } catch let error as SystemError {
            throw .system(path: path, error)
        } catch let error as TagTableFileError {
            throw error
        } catch {
            throw .notAFile(path: path)
        }
        do {
            let bits = try TagTable.validateHeader(map.memory, fileBytes: status.bytes)
            let table = TagTable(
                memory: map.memory, slotBits: bits, forget: { _ in map.forget() }, release: { _ in map.unmap() })
            return (table, status)
        } catch {
            map.unmap()
            throw .unusable(path: path, error)
        }
    }
}
