import Foundation
import IPCWire
import NIOCore
import TestSupport
import Testing

@testable import IPC

/// docs/consistency.md, "The value arena".
@Suite struct ValueArenaFileTests {
    private static let bytes = 2 << 20
    private let directory: TemporaryDirectory
    private var path: String { directory.file("values.arena") }

    init() throws { directory = try TemporaryDirectory() }

    private func take(_ bytes: Int = bytes) throws -> (writer: ValueArenaWriter, notices: [ValueArenaFile.Notice]) {
        let (writer, notices) = ValueArenaFile.take(path: path, bytes: bytes)
        return (try #require(writer), notices)
    }

    private func put(_ value: String, _ writer: ValueArenaWriter) {
        let entry = ArenaEntry(
            incarnation: .none, asOf: 1, deadline: .max, tags: [], value: ByteBuffer(string: value))
        writer.insert(entry, for: ByteBuffer(string: "k"), now: 0)
    }

    private func read(_ mapped: MappedArena, by table: TagTable) -> String? {
        let key = ByteBuffer(string: "k")
        return mapped.arena.hit(for: key, hash: TagHash.key(key), keepsSlots: false, by: table, clock: { 5 })?.value
            .map { String(buffer: $0) }
    }

    private func attached(_ table: TagTable) -> TagTable {
        table.setState(.attached)
        table.setHeartbeat(5)
        table.setFreshAsOf(5)
        return table
    }

    private func attributes(_ name: String) throws -> (mode: Int?, bytes: Int?) {
        let all = try FileManager.default.attributesOfItem(atPath: directory.file(name))
        return (all[.posixPermissions] as? Int, all[.size] as? Int)
    }

    @Test func `a new arena is complete, and workers read it without writing`() throws {
        let (writer, notices) = try take()
        #expect(notices.isEmpty && directory.names() == ["values.arena", "values.arena.marks"])
        #expect(try attributes("values.arena").mode == 0o640 && attributes("values.arena.marks").mode == 0o660)
        let bytes = try #require(try attributes("values.arena").bytes)
        #expect(bytes == writer.arena.shape.byteCount && bytes <= Self.bytes && bytes > Self.bytes - 8192)
        put("v", writer)
        #expect(read(try MappedArena(path: path), by: attached(.inMemory())) == "v")
    }

    @Test func `its values are there for the next syncd, and for those who have mapped it`() throws {
        put("v", try take().writer)
        let mapped = try MappedArena(path: path)
        let (next, notices) = try take()
        #expect(notices.isEmpty && next.entry(for: ByteBuffer(string: "k")) != nil)
        put("w", next)
        #expect(read(mapped, by: attached(.inMemory())) == "w" && mapped.isFile(at: path))
    }

    @Test func `another size makes another file`() throws {
        put("v", try take().writer)
        let mapped = try MappedArena(path: path)
        #expect(try take(4 << 20).writer.count == 0)
        #expect(!mapped.isFile(at: path))
        #expect(read(mapped, by: attached(.inMemory())) == "v", "the rule still decides on what is mapped")
        #expect(ValueArenaFile.take(path: path, bytes: 0).0 == nil && directory.names().isEmpty)
    }

    @Test(arguments: [
        ("magic", 0), ("layout", 8), ("ring", 16), ("index", 24), ("boot", 32), ("tail", 64), ("head", 72),
    ])
    func `a file that is no arena of this boot is replaced, and the reason told`(what: String, offset: UInt64) throws {
        put("v", try take().writer)
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        try file.seek(toOffset: offset)
        try file.write(contentsOf: [7, 7, 7, 7, 7, 7, 7, 7])
        let (writer, notices) = try take()
        #expect(writer.count == 0 && notices.count == 1, "\(what)")
        guard case .replaced(let reason)? = notices.first else { throw TestFailure("\(notices)") }
        #expect(reason.contains("value arena"))
    }

    @Test func `any other file at the path is replaced`() throws {
        try directory.write("short", to: "values.arena")
        #expect(try take().notices.count == 1)
    }

    /// A file system that is full: what is reserved is there, and what is not is not used.
    @Test(.enabled(if: geteuid() == 0, "only root can mount"), arguments: [(8, true), (1, false)])
    func `too little room makes a smaller arena, or none`(megabytes: Int, fits: Bool) throws {
        let folder = directory.file("small")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        guard mount("tmpfs", folder, "tmpfs", 0, "size=\(megabytes)m") == 0 else {
            throw TestFailure("no tmpfs: \(String(cString: strerror(errno)))")
        }
        defer { umount2(folder, Int32(MNT_DETACH)) }
        let (writer, notices) = ValueArenaFile.take(path: folder + "/values.arena", bytes: 64 << 20)
        #expect((writer != nil) == fits)
        guard case .smaller(let bytes, wanted: 64 << 20, SystemError(code: ENOSPC))? = notices.first else {
            throw TestFailure("\(notices)")
        }
        #expect(bytes == (fits ? 4 << 20 : 0))
        guard let writer else { return }
        let entry = ArenaEntry(
            incarnation: .none, asOf: 1, deadline: .max, tags: [], value: ByteBuffer(repeating: 1, count: 500_000))
        var short = entry
        short.value = ByteBuffer(repeating: 1, count: 100_000)
        for number in 0..<20 {
            writer.insert(entry, for: ByteBuffer(string: "\(number)"), now: 0)
            writer.insert(short, for: ByteBuffer(string: "short \(number)"), now: 0)
        }
        #expect(writer.byteCount > bytes / 4 * 3, "all of its memory can be written")
        let count = writer.count
        for _ in 0..<3 {
            let (next, notices) = ValueArenaFile.take(path: folder + "/values.arena", bytes: 64 << 20)
            #expect(next?.count == count, "it stays while there is no more room")
            guard case .smaller(bytes: writer.arena.shape.byteCount, wanted: 64 << 20, _)? = notices.first else {
                throw TestFailure("\(notices)")
            }
        }
    }

    @Test func `marks that are missing or have another size are made anew`() throws {
        put("v", try take().writer)
        for spoil in [{ unlink(path + ".marks") }, { truncate(path + ".marks", 1) }] {
            #expect(spoil() == 0)
            #expect(try take().writer.count == 1)
            #expect(try attributes("values.arena.marks").mode == 0o660)
            #expect(try attributes("values.arena.marks").bytes ?? 0 > 1)
        }
    }

    /// Without the guard, the kernel ends the process.
    @Test func `a reader of truncated files finds nothing, and lives`() throws {
        let tablePath = directory.file("tags.table")
        let (table, _) = try TagTableFile.openOrCreate(path: tablePath, slotBits: 16)
        table.setState(.attached)
        put("v", try take().writer)
        let (mapped, mappedTable) = (try MappedArena(path: path), try MappedTagTable(path: tablePath).table)
        #expect(truncate(path, 4096) == 0 && truncate(path + ".marks", 0) == 0)
        #expect(read(mapped, by: attached(.inMemory())) == nil)
        #expect(truncate(path, 0) == 0)
        #expect(read(mapped, by: attached(.inMemory())) == nil)
        #expect(truncate(tablePath, 4096) == 0)
        #expect(mappedTable.state == .attached && mappedTable.slot(7).number > 1 << 60, "every value is invalidated")
        #expect(truncate(tablePath, 0) == 0)
        #expect(mappedTable.state == .isolated)
    }
}
