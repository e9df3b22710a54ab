import Foundation
import IPCWire
import TestSupport
import Testing

@testable import IPC

/// The tags of journal files that workers leave behind are in the table before the next heartbeat.
@Suite(.tags(.servers), .processes) struct JournalProcessTests {
    private static func journal(of host: Host) throws -> WorkerJournal {
        try WorkerJournal(path: host.syncd.directory.file("journal"))
    }

    private static func tags(_ tags: String...) -> [CacheTag] { tags.map { CacheTag($0) } }

    private func start(_ home: Home) async throws -> (RedisServer?, Host) {
        let redis = home == .redis ? try await RedisServer() : nil
        return (redis, try await Host(redis))
    }

    @Test func `what was left before it started is gone, but for what the living need`() async throws {
        let (_, host) = try await start(.embedded)
        let living = try Self.journal(of: host)
        let directory = host.syncd.directory
        let lock = try #require(directory.names(in: "journal").first { $0.hasSuffix(".lock") })
        host.syncd.kill()
        let dead = "0123456789abcdef-77"
        for name in ["\(dead).lock", ".new-\(dead)-1.pending"] {
            #expect(FileManager.default.createFile(atPath: directory.file("journal/\(name)"), contents: nil))
        }
        try await host.syncd.start()
        await eventually("they are gone") { directory.names(in: "journal") == [lock] }
        withExtendedLifetime(living) {}
    }

    @Test(arguments: Home.allCases) func `pending invalidations`(home: Home) async throws {
        let (redis, host) = try await start(home)
        let journal = try Self.journal(of: host)
        for number in 1...50 {
            #expect(try journal.begin(Self.tags("t\(number)")).becomePending())
            // A reader that sees a heartbeat that is younger than the file sees the invalidation, too.
            let written = BootClock.now
            await eventually("a heartbeat comes", details: { host.syncd.transcript }) { host.table.heartbeat > written }
            #expect(host.slot("t\(number)") > 0)
        }
        await eventually("the files are gone") { host.journal("pending").isEmpty }
        #expect(host.slot("never") == 0)
        withExtendedLifetime(redis) {}
    }

    @Test(arguments: Home.allCases) func `a writer that died, and one that lives`(home: Home) async throws {
        let (redis, host) = try await start(home)
        let living = try Self.journal(of: host)
        let begun = BootClock.now
        let intent = try living.begin(Self.tags("living"))
        var dying: WorkerJournal? = try Self.journal(of: host)
        var left: Intent? = try dying?.begin(Self.tags("dead"))
        #expect(left != nil)
        await eventually("heartbeats pass") { host.table.heartbeat > BootClock.now - 50_000_000 }
        #expect(host.slot("dead") == 0 && host.slot("living") == 0, "their owners live")
        // The kernel lets go of the lock when the last descriptor is closed, as it does for a dead process.
        left = nil
        dying = nil
        let died = BootClock.now
        await eventually("a heartbeat comes") { host.table.heartbeat > died }
        let first = host.slot("dead")
        #expect(first > 0)
        #expect(host.journal("intent").count == 2, "kept: its write may still be on its way")
        await eventually("the living one hangs for 3 s", details: { host.syncd.transcript }) {
            host.slot("living") > 0
        }
        // The time counts from the reading before the one that found it.
        #expect(BootClock.now - begun >= 2_800_000_000)
        await eventually("the dead one's is appended once more", details: { host.syncd.transcript }) {
            host.slot("dead") > first
        }
        #expect(BootClock.now - died >= 5_000_000_000, "after 5 s")
        #expect(host.journal("intent").count == 2, "its write may still be on its way")
        intent.delete()
        withExtendedLifetime(redis) {}
    }

    @Test func `an orphan is appended again, also by the next syncd`() async throws {
        let (_, host) = try await start(.embedded)
        let journal = try Self.journal(of: host)
        #expect(try journal.begin(Self.tags("orphan")).becomeOrphan())
        await eventually("it is appended") { host.slot("orphan") > 0 }
        let first = host.slot("orphan")
        try await host.syncd.restart()
        await host.waitUntilAttached()
        #expect(host.slot("orphan") > first, "before the first heartbeat of the next")
        let second = host.slot("orphan")
        await eventually("it is appended again", details: { host.syncd.transcript }) { host.slot("orphan") > second }
        #expect(host.journal("orphan").count == 1, "its write may still land")
    }

    @Test(arguments: Home.allCases) func `what came while syncd was down is in the table before its first heartbeat`(
        home: Home
    ) async throws {
        let (redis, host) = try await start(home)
        let journal = try Self.journal(of: host)
        try await host.client.store("key", "old", tags: ["users"])
        for number in 1...3 {
            host.syncd.kill()
            #expect(try journal.begin(Self.tags("users", "t\(number)")).becomePending())
            let before = host.table.heartbeat
            try await host.syncd.start()
            await eventually("it writes heartbeats") { host.table.heartbeat > before && host.isAttached }
            #expect(host.slot("t\(number)") > 0)
            #expect(try await host.syncd.connect().fetch("key").value == nil)
        }
        withExtendedLifetime(redis) {}
    }

    @Test func `while Redis is away the files stay`() async throws {
        let (redis, host) = try await start(.redis)
        let journal = try Self.journal(of: host)
        redis?.kill()
        await host.waitUntilIsolated()
        #expect(try journal.begin(Self.tags("pending")).becomePending())
        try await host.deferred("deferred")
        let written = BootClock.now
        await eventually("it goes on with heartbeats") { host.table.heartbeat > written + 300_000_000 }
        #expect(host.journal("pending").count == 2)
        #expect(host.slot("pending") == 0, "nobody trusts a cache now")
        try await redis?.start()
        await host.waitUntilAttached()
        #expect(host.slot("pending") > 0 && host.slot("deferred") > 0)
        await eventually("the files are deleted") { host.journal("pending").isEmpty }
    }

    @Test(
        .enabled(if: UndeletableFile.obstacle == nil, "\(UndeletableFile.obstacle ?? "")"), arguments: Home.allCases)
    func `a file that cannot be deleted is appended once and logged once, and syncd goes on with heartbeats`(home: Home)
        async throws
    {
        let redis = home == .redis ? try await RedisServer() : nil
        let host = try await Host(redis, ["LOG_LEVEL": "notice"])
        let journal = try Self.journal(of: host)
        host.syncd.kill()
        #expect(try journal.begin(Self.tags("stuck")).becomePending())
        let name = try #require(host.journal("pending").first)
        let file = try UndeletableFile(host.syncd.directory.file("journal/\(name)"))
        try await host.syncd.start()
        await host.waitUntilAttached()
        #expect(host.slot("stuck") > 0)
        let applied = host.table.applied
        let started = BootClock.now
        // Its deletion is tried again after 10 s.
        await eventually("it writes heartbeats for 11 s", within: .seconds(60), details: { host.syncd.transcript }) {
            host.table.heartbeat > started + 11_000_000_000
        }
        #expect(host.table.applied == applied, "appended again")
        #expect(host.isAttached && host.journal("pending") == [name])
        #expect(try await host.syncd.status("log", "undeletable")?.number == 1)
        let complaint = "files of the journal cannot be deleted"
        func lines() -> [Substring] { host.syncd.log.split(separator: "\n").filter { $0.contains(complaint) } }
        #expect(lines().count == 1, "\(host.syncd.log)")
        #expect(lines().first?.contains(name) == true)
        #expect(lines().first?.contains("lsattr") == true, "the remedy")
        file.release()
        await eventually("it is deleted", details: { host.syncd.transcript }) { host.journal("pending").isEmpty }
        // The file has changed with its attribute, so that it counts as another one.
        #expect(host.table.applied <= applied + 1)
        let end = host.table.applied
        await eventually("that is logged, too") { host.syncd.log.contains("files of the journal can be deleted again") }
        let log = host.syncd.log
        let released = BootClock.now
        await eventually("it writes heartbeats for a second") { host.table.heartbeat > released + 1_000_000_000 }
        #expect(host.syncd.log == log && host.table.applied == end)
        #expect(try await host.syncd.status("log", "undeletable")?.number == 0)
        withExtendedLifetime((redis, journal)) {}
    }

    @Test func `nonsense in the journal: what can't be read invalidates everything, what is foreign is left alone`()
        async throws
    {
        let (_, host) = try await start(.embedded)
        try await host.client.store("key", "old", tags: ["users"])
        let owner = JournalFileName.newOwner(processID: 1)
        try host.syncd.directory.write("precious", to: "journal/notes.txt")
        try host.syncd.directory.write("*1\r\n$5\r\nuse", to: "journal/\(owner)-1.intent")
        await eventually("an intent that was never complete is deleted") { host.journal("intent").isEmpty }
        #expect(try await host.client.hit("key").text == "old", "its write had not begun")
        try host.syncd.directory.write("garbage", to: "journal/\(owner)-2.pending")
        await eventually("everything is invalidated") { host.slot("*") > 0 }
        #expect(try await host.client.fetch("key").value == nil)
        await eventually("it is deleted") { host.journal("pending").isEmpty }
        #expect(host.syncd.directory.names(in: "journal").contains("notes.txt"))
    }

    @Test func `the marker kills every cached value`() async throws {
        let (redis, host) = try await start(.redis)
        try await host.client.store("key", "old", tags: ["users"])
        #expect(try await host.client.hit("key").text == "old")
        let incarnation = host.table.incarnation
        try host.syncd.directory.write("", to: "journal/syncd.marker")
        await eventually("it is obeyed", details: { host.syncd.transcript }) {
            !host.syncd.directory.names(in: "journal").contains("syncd.marker") && host.isAttached
        }
        #expect(host.table.incarnation != incarnation)
        #expect(try await host.client.fetch("key").value == nil)
        withExtendedLifetime(redis) {}
    }
}
