import Foundation
import TestSupport
import Testing

@testable import IPC

@Suite struct TagTableFileTests {
    private let directory: TemporaryDirectory
    private var path: String { directory.file("tags.table") }

    init() throws { directory = try TemporaryDirectory() }

    @Test func `a new table is complete and isolated`() throws {
        let (table, created) = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        #expect(created)
        #expect(table.state == .isolated)
        #expect(table.epoch > 0)
        #expect(table.slotCount == 1 << 16)
        #expect(directory.names() == ["tags.table"])
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
        #expect(size == TagTableLayout.byteCount(slotBits: 16))
    }

    @Test func `what is written is seen by who has mapped it, also through the next opening`() throws {
        let (first, _) = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        let mapped = try MappedTagTable(path: path)
        first.setEpoch(41)
        #expect(mapped.table.epoch == 41)
        let (second, created) = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        #expect(!created)
        second.raise(TagHash.everything, to: 5)
        #expect(mapped.table.slot(mapped.table.slotIndex(TagHash.everything)) == 5)
        #expect(mapped.isFile(at: path))
    }

    @Test func `looking at all of it leaves none of it in memory, and loses nothing`() throws {
        let (table, _) = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        table.raise(TagHash.everything, to: 5)
        let full = try residentKilobytes { for index in UInt32(0)..<(1 << 16) { _ = table.slot(index) } }
        #expect(full >= TagTableLayout.byteCount(slotBits: 16) / 1024 - 4)
        let rest = try residentKilobytes { _ = table.greatestSlot }
        #expect(rest == 0)
        #expect(table.slot(table.slotIndex(TagHash.everything)) == 5 && table.greatestSlot == 5)
    }

    /// How much of the file is mapped into this process after `body`.
    private func residentKilobytes(after body: () -> Void) throws -> Int {
        body()
        let maps = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
        let lines = String(decoding: try maps.readToEnd() ?? Data(), as: UTF8.self).split(separator: "\n")
        let first = try #require(lines.firstIndex { $0.hasSuffix(path) })
        let resident = try #require(lines[first...].first { $0.hasPrefix("Rss:") })
        return Int(resident.split(separator: " ")[1]) ?? -1
    }

    @Test func `a damaged file is replaced, not written over`() throws {
        let (old, _) = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        let mapped = try MappedTagTable(path: path)
        let handle = try #require(FileHandle(forWritingAtPath: path))
        handle.write(Data("NOTATABLE".utf8))
        let (_, created) = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        #expect(created)
        #expect(!mapped.isFile(at: path))
        old.setApplied(3)
        #expect(mapped.table.applied == 3, "who still maps the old file is not harmed")
    }

    @Test func `another size is another table`() throws {
        _ = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        let (table, created) = try TagTableFile.openOrCreate(path: path, slotBits: 17)
        #expect(created)
        #expect(table.slotCount == 1 << 17)
    }

    @Test(arguments: [0, 100, 4096, 4097, 4096 + (8 << 16) - 1])
    func `a short file is refused before it is believed`(bytes: Int) throws {
        _ = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        let content = try Data(contentsOf: URL(fileURLWithPath: path)).prefix(bytes)
        try content.write(to: URL(fileURLWithPath: directory.file("short")))
        #expect(throws: TagTableFileError.unusable(path: directory.file("short"), .tooShort(bytes: bytes))) {
            try MappedTagTable(path: directory.file("short"))
        }
    }

    @Test func `what is no file is refused`() throws {
        #expect(throws: TagTableFileError.notAFile(path: directory.path)) {
            try MappedTagTable(path: directory.path)
        }
        #expect(throws: TagTableFileError.self) { try TagTableFile.openOrCreate(path: directory.path) }
        #expect(throws: TagTableFileError.system(path: path, .missing)) { try MappedTagTable(path: path) }
    }

    @Test(
        arguments: [72, 96, 104, 4096, 4096 + 8 * 65_535] as [UInt64], [UInt64.max, 1 << 53])
    func `a number that no syncd stores makes a table unusable, and a new one is made`(
        offset: UInt64, number: UInt64
    ) throws {
        _ = try TagTableFile.openOrCreate(path: path, slotBits: 16)
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        try file.seek(toOffset: offset)
        try file.write(contentsOf: withUnsafeBytes(of: number.littleEndian) { Data($0) })
        let (mapped, origin) = try TagTableFile.take(path: path, slotBits: 16)
        guard case .replaced(let reason) = origin else {
            Issue.record("it is used")
            return
        }
        #expect(reason.contains("damaged") && reason.contains("\(number)"))
        #expect(mapped.table.greatestSlot == 0 && mapped.table.epoch.number <= 1 << 52)
        #expect(try TagTableFile.take(path: path, slotBits: 16).1 == .existing)
    }
}
