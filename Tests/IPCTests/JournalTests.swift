import Foundation
import IPCTesting
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import IPC

@Suite struct JournalTests {
    private let directory: TemporaryDirectory
    private let reader: JournalDirectory
    private var path: String { directory.file("journal") }
    private let bytes = [ByteBuffer(string: "users"), ByteBuffer(bytes: [0, 13, 10, 255])]

    private var tags: [CacheTag] { bytes.map(CacheTag.init) }

    init() throws {
        directory = try TemporaryDirectory()
        reader = try JournalDirectory(path: directory.file("journal"))
    }

    @Test func `a living owner's intent is left alone`() throws {
        let journal = try WorkerJournal(path: path)
        let intent = try journal.begin(tags)
        let files = try reader.scan()
        #expect(files.map(\.kind) == [.intent])
        #expect(files.map(\.isOwnerAlive) == [true])
        #expect(files.map(\.owner) == [journal.owner])
        #expect(reader.isOwnerAlive(journal.owner))
        intent.delete()
        #expect(try reader.scan().isEmpty)
    }

    @Test func `a dead owner's intent can be read`() throws {
        var journal: WorkerJournal? = try WorkerJournal(path: path)
        let owner = try #require(journal?.owner)
        var intent: Intent? = try journal?.begin(tags)
        #expect(intent != nil)
        // The kernel lets go of the lock when the last descriptor is closed, as it does for a dead process.
        intent = nil
        journal = nil
        let files = try reader.scan()
        #expect(files.map(\.kind) == [.intent])
        #expect(files.map(\.isOwnerAlive) == [false])
        #expect(files.map(\.tags) == [bytes])
        #expect(!reader.isOwnerAlive(owner))
        for file in files { try reader.remove(file.name) }
        #expect(try reader.scan().isEmpty)
    }

    @Test func `a killed owner leaves a free lock behind`() throws {
        let owner = "0123456789abcdef-77"
        #expect(FileManager.default.createFile(atPath: "\(path)/\(owner).lock", contents: nil))
        #expect(
            FileManager.default.createFile(atPath: "\(path)/\(owner)-1.intent", contents: Data("*1\r\n$3\r\nab".utf8)))
        let file = try #require(try reader.scan().first)
        #expect(file.kind == .intent && !file.isOwnerAlive)
        #expect(file.tags == nil, "incomplete: its write had not begun")
        try reader.removeLeftovers()
        #expect(directory.names(in: "journal").contains("\(owner).lock"), "it still has a file")
        try reader.remove(file.name)
        try reader.removeLeftovers()
        #expect(directory.names(in: "journal").isEmpty)
    }

    /// The file is read when it is due. If it counted as incomplete it would be deleted, and its write might still
    /// land.
    @Test func `a dead owner's intent that is not looked at this time is not incomplete`() throws {
        let owner = "0123456789abcdef-77"
        let intent = Data("*1\r\n$5\r\nusers\r\n".utf8)
        #expect(FileManager.default.createFile(atPath: "\(path)/\(owner)-1.intent", contents: intent))
        for isWanted in [true, false] {
            var reading = try reader.read()
            let file = try #require(try reading.next(10) { _, _, _ in isWanted }.first)
            #expect(file.isRead == isWanted && (file.tags != nil) == isWanted)
            guard case .orphan? = file.demand else {
                Issue.record("\(String(describing: file.demand)), wanted: \(isWanted)")
                continue
            }
        }
    }

    @Test func `what dead owners have left is removed, and nothing of the living`() throws {
        let journal = try WorkerJournal(path: path)
        let intent = try journal.begin(tags)
        let living = try #require(directory.names(in: "journal").first { $0.hasSuffix(".lock") }?.dropLast(5))
        let dead = "0123456789abcdef-77"
        for name in ["\(dead).lock", ".new-\(dead)-3.pending", ".new-\(living)-9.pending", ".new-other", "other.lock"] {
            #expect(FileManager.default.createFile(atPath: "\(path)/\(name)", contents: nil))
        }
        try reader.removeLeftovers()
        let left = Set(directory.names(in: "journal").filter { !$0.hasSuffix(".intent") })
        #expect(left == ["\(living).lock", ".new-\(living)-9.pending", ".new-other", "other.lock"])
        intent.delete()
    }

    @Test func `renamed files are syncd's, whether the owner lives or not`() throws {
        let journal = try WorkerJournal(path: path)
        #expect(try journal.begin(tags).becomePending())
        #expect(try journal.begin(tags).becomeOrphan())
        let files = try reader.scan()
        #expect(Set(files.map(\.kind)) == [.pending, .orphan])
        #expect(files.allSatisfy { $0.tags == bytes && !$0.isOwnerAlive })
        #expect(Set(files.map(\.name)).count == 2, "numbers are never used twice")
    }

    @Test func `an intent that syncd took away can't be renamed`() throws {
        let journal = try WorkerJournal(path: path)
        let intent = try journal.begin(tags)
        for file in try reader.scan() { try reader.remove(file.name) }
        #expect(!intent.becomePending())
        intent.delete()
    }

    @Test func `what syncd writes itself`() throws {
        let name = try reader.writePending(bytes)
        try reader.writeMarker()
        try reader.writeMarker()
        let files = try reader.scan()
        #expect(files.map(\.name) == [name, "syncd.marker"])
        #expect(files.map(\.kind) == [.pending, .marker])
        #expect(files.first?.tags == bytes)
        try reader.remove("gone already")
    }

    @Test(arguments: [
        "notes.txt", "x-1.intent", "0123456789abcdef-1-01.pending", "0123456789ABCDEF-1-1.pending",
        "0123456789abcdef-1-+1.pending",
        "0123456789abcdef--1.pending", "0123456789abcdef-1-1.pending.bak", "0123456789abcdef-1-1.lock", "é-1-1.pending",
    ]) func `foreign names are reported`(name: String) throws {
        #expect(FileManager.default.createFile(atPath: "\(path)/\(name)", contents: Data("x".utf8)))
        #expect(try reader.scan().map(\.kind) == [.foreign])
    }

    @Test func `what is no plain file is reported and nobody waits for it`() throws {
        #expect(mkfifo("\(path)/0123456789abcdef-1-1.pending", 0o600) == 0)
        #expect(symlink("/etc/hostname", "\(path)/0123456789abcdef-1-2.pending") == 0)
        #expect(mkdir("\(path)/0123456789abcdef-1-3.pending", 0o700) == 0)
        let files = try reader.scan()
        #expect(files.map(\.kind) == [.foreign, .foreign, .foreign])
    }

    @Test func `a pending file of an earlier version is read and deleted`() throws {
        let name = "0123456789abcdef-1-7.owed"
        #expect(FileManager.default.createFile(atPath: "\(path)/\(name)", contents: Data("*1\r\n$1\r\na\r\n".utf8)))
        let reader = try JournalDirectory(path: path)
        let file = try #require(try reader.scan().first)
        #expect(file.name == name && file.demand == .pending && file.tags == [ByteBuffer(string: "a")])
        try reader.remove(name)
        #expect(try reader.scan().isEmpty)
    }

    @Test func `a pending file that can't be decoded has no tags`() throws {
        for (number, text) in ["", "*0\r\n", "*2\r\n$1\r\na\r\n", "hello", "*1\r\n$-1\r\n"].enumerated() {
            let name = "0123456789abcdef-1-\(number).pending"
            #expect(FileManager.default.createFile(atPath: "\(path)/\(name)", contents: Data(text.utf8)))
        }
        let files = try reader.scan()
        #expect(files.count == 5)
        #expect(files.allSatisfy { $0.kind == .pending && $0.tags == nil })
    }

    @Test func `what is pending together is one file, and older files hold one invalidation`() throws {
        let sets = (0..<1000).map { [ByteBuffer(string: "t\($0)"), ByteBuffer(string: "users")] }
        #expect(try reader.writePending(sets, limit: 1 << 20))
        #expect(directory.names(in: "journal").count == 1)
        #expect(try reader.scan().first?.tags == Array(sets.joined()))
        let older = "0123456789abcdef-1"
        #expect(
            FileManager.default.createFile(
                atPath: "\(path)/\(older)-1.pending", contents: Data("*1\r\n$1\r\na\r\n".utf8)))
        #expect(try reader.scan().first { $0.owner == older }?.tags == [ByteBuffer(string: "a")])
    }

    @Test func `what is pending takes no more of the file system than it may`() throws {
        for _ in 0..<4 { #expect(try reader.writePending([bytes], limit: 16_384)) }
        #expect(try !reader.writePending([bytes], limit: 16_384), "each takes a page")
        for file in try reader.scan() { try reader.remove(file.name) }
        #expect(try reader.writePending([bytes], limit: 16_384))
        let next = try JournalDirectory(path: path)
        #expect(try !next.writePending([bytes], limit: 4096), "what the one before it left counts")
    }

    @Test func `a directory that was renamed is read for as long as somebody may write there`() throws {
        var journal: WorkerJournal? = try WorkerJournal(path: path)
        let intent = try #require(try journal?.begin(tags))
        #expect(rename(path, path + ".old") == 0)
        #expect(try reader.scan().map(\.isOwnerAlive) == [true], "and the path names a directory again")
        #expect(journal?.isDirectory(at: path) == false && reader.identity != intent.directory)
        #expect(intent.becomePending(), "it is still there")
        let file = try #require(try reader.scan().first)
        #expect(file.kind == .pending && file.tags == bytes)
        try reader.remove(file.name)
        #expect(directory.names(in: "journal.old").filter { $0.hasSuffix(".pending") }.isEmpty)
        #expect(try reader.scan().isEmpty)
        #expect(try journal?.begin(tags).becomePending() == true)
        #expect(try reader.scan().count == 1, "its lock is held: more may come")
        for file in try reader.scan() { try reader.remove(file.name) }
        journal = nil
    }

    @Test(arguments: ["file", "link", "closed"]) func `what is no directory at the path is an error, until it is one`(
        kind: String
    ) throws {
        #expect(rename(path, path + ".old") == 0)
        switch kind {
        case "file": #expect(FileManager.default.createFile(atPath: path, contents: nil))
        case "link": #expect(symlink(path + ".old", path) == 0)
        default: #expect(symlink("/nowhere", path) == 0)
        }
        #expect(throws: SystemError.self) { try reader.scan() }
        #expect(unlink(path) == 0)
        #expect(try reader.scan().isEmpty)
        #expect(directory.names().contains("journal"), "made anew")
    }

    @Test func `a file that went with its directory is written again in the next`() throws {
        let journal = try WorkerJournal(path: path)
        let fresh = Mutex<WorkerJournal?>(nil)
        let intent = try journal.begin(tags) { fresh.withLock { $0 } }
        try FileManager.default.removeItem(atPath: path)
        #expect(!intent.becomePending(), "there is no other")
        _ = try reader.scan()
        let other = try WorkerJournal(path: path)
        fresh.withLock { $0 = other }
        #expect(intent.becomePending())
        #expect(intent.directory == reader.identity)
        #expect(try reader.scan().map(\.tags) == [bytes])
    }

    @Test func `no directory, no journal`() throws {
        #expect(throws: WorkerJournalError(step: .open, path: "\(path)/none", cause: .missing)) {
            try WorkerJournal(path: "\(path)/none")
        }
        let journal = try WorkerJournal(path: path)
        try FileManager.default.removeItem(atPath: path)
        #expect(throws: WorkerJournalError(step: .write, path: path, cause: .missing)) { try journal.begin(tags) }
        #expect(!journal.isDirectory(at: path))
        _ = try JournalDirectory(path: path)
        #expect(!journal.isDirectory(at: path), "another directory of that name")
    }
}
