import IPCWire

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The file in which a value arena outlives the syncd that writes it, and the file with the readers' marks beside it.
package enum ValueArenaFile {
    /// The reason why a syncd has a smaller arena than it was asked for, or another one than before.
    package enum Notice: Sendable, Hashable {
        /// The previous file could not be used.
        case replaced(reason: String)
        /// There is no room for more. 0 bytes: there is no arena.
        case smaller(bytes: Int, wanted: Int, SystemError)
    }

    /// Takes over the arena at `path`, or creates one: complete before it gets its name, with all its memory reserved. If
    /// there is not enough room for it, a smaller one. Call this only while holding the lock of the tag table.
    ///
    /// - Parameter bytes: of the whole file, at most; 0: none.
    package static func take(path: String, bytes: Int) -> (ValueArenaWriter?, [Notice]) {
        guard bytes > 0 else {
            unlink(path)
            unlink(marks(path))
            return (nil, [])
        }
        var notices: [Notice] = []
        let bytes = max(bytes, ValueArenaLayout.byteCountRange.lowerBound)
        let shape = ValueArenaLayout.Shape(byteCount: bytes)
        do {
            let (arena, _) = try open(path: path, boot: bootID(), isWritable: true)
            let present = arena.shape.byteCount
            // One that is too small because there was no room stays while there is none.
            let isLack = present < shape.byteCount && present + room(beside: path) < shape.byteCount
            guard arena.shape == shape || isLack else { throw ValueArenaLayout.Fault.otherSize(bytes: present) }
            guard let writer = ValueArenaWriter(arena) else { throw ValueArenaLayout.Fault.damaged }
            if isLack { notices.append(.smaller(bytes: present, wanted: bytes, SystemError(code: ENOSPC))) }
            return (writer, notices)
        } catch let error as SystemError where error == .missing {
            // The first start, or a wiped directory.
        } catch {
            notices.append(.replaced(reason: "\(error)"))
        }
        var (size, lack) = (bytes, SystemError(code: 0))
        while size >= ValueArenaLayout.byteCountRange.lowerBound {
            do {
                let writer = try create(path: path, shape: ValueArenaLayout.Shape(byteCount: size))
                if size < bytes { notices.append(.smaller(bytes: size, wanted: bytes, lack)) }
                return (writer, notices)
            } catch {
                (size, lack) = (size / 2, error)
            }
        }
        unlink(path)
        notices.append(.smaller(bytes: 0, wanted: bytes, lack))
        return (nil, notices)
    }

    /// Free bytes of the file system.
    private static func room(beside path: String) -> Int {
        var space = statvfs()
        guard statvfs(path, &space) == 0 else { return .max }
        return Int(clamping: UInt64(space.f_bavail) * UInt64(space.f_frsize))
    }

    /// Path of the marks of the arena at `path`.
    static func marks(_ path: String) -> String { path + ".marks" }

    static func open(
        path: String, boot: (UInt64, UInt64)?, isWritable: Bool
    ) throws -> (ValueArena, FileStatus) {
        let range = ValueArenaLayout.byteCountRange
        let (mapped, status) = try Mapping.open(
            path: path, sizes: range.lowerBound / 2...range.upperBound, isWritable: isWritable)
        guard let map = mapped else { throw ValueArenaLayout.Fault.otherSize(bytes: status.bytes) }
        let shape: ValueArenaLayout.Shape
        do {
            shape = try ValueArena.validateHeader(map.memory, fileBytes: status.bytes, boot: boot)
        } catch {
            map.unmap()
            throw error
        }
        var marks = try? self.marks(path: self.marks(path), shape)
        if marks == nil, isWritable { marks = try? newMarks(path: self.marks(path), shape) }
        return (arena(map, shape, marks: marks), status)
    }

    private static func arena(_ map: Mapping, _ shape: ValueArenaLayout.Shape, marks: Mapping?) -> ValueArena {
        ValueArena(memory: map.memory, marks: marks?.memory, shape: shape) { _ in
            map.unmap()
            marks?.unmap()
        }
    }

    /// Maps the marks. Any member of the group may write them, and truncate them.
    private static func marks(path: String, _ shape: ValueArenaLayout.Shape) throws -> Mapping {
        let (mapped, status) = try Mapping.open(
            path: path, sizes: shape.indexWords...shape.indexWords, isWritable: true, isHint: true)
        guard let map = mapped else { throw ValueArenaLayout.Fault.otherSize(bytes: status.bytes) }
        return map
    }

    /// Marks in place of those that are missing or have another size.
    private static func newMarks(path: String, _ shape: ValueArenaLayout.Shape) throws -> Mapping {
        let temporary = path + ".new"
        _ = try Mapping.file(temporary, bytes: shape.indexWords, mode: 0o660)
        guard rename(temporary, path) == 0 else {
            unlink(temporary)
            throw SystemError.last
        }
        return try marks(path: path, shape)
    }

    private static func create(
        path: String, shape: ValueArenaLayout.Shape
    ) throws(SystemError) -> ValueArenaWriter? {
        let temporary = "\(path).new"
        do throws(SystemError) {
            let marksFile = try Mapping.file(marks(temporary), bytes: shape.indexWords, mode: 0o660)
            let arenaFile = try Mapping.file(temporary, bytes: shape.byteCount, mode: 0o640)
            let map = try Mapping(arenaFile, bytes: shape.byteCount, isWritable: true)
            let marks = try Mapping(marksFile, bytes: shape.indexWords, isWritable: true, isHint: true)
            ValueArena.initializeHeader(map.memory, shape: shape, boot: bootID())
            guard rename(self.marks(temporary), self.marks(path)) == 0, rename(temporary, path) == 0 else {
                throw SystemError.last
            }
            return ValueArenaWriter(arena(map, shape, marks: marks))
        } catch {
            unlink(temporary)
            unlink(marks(temporary))
            throw error
        }
    }

    /// The random id of the machine's boot, as two numbers; 0 where the kernel does not show it.
    private static func bootID() -> (UInt64, UInt64) {
        guard let file = try? FileDescriptor(path: "/proc/sys/kernel/random/boot_id", flags: O_RDONLY) else {
            return (0, 0)
        }
        let digits = withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { buffer in
            let count = max(0, read(file.number, buffer.baseAddress, buffer.count))
            return String(decoding: buffer[..<count], as: UTF8.self).filter(\.isHexDigit)
        }
        guard let id = Incarnation(digits) else { return (0, 0) }
        return (id.high, id.low)
    }
}
