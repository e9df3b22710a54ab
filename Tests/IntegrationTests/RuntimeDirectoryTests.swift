import Foundation
import IPCWire
import TestSupport
import Testing

@testable import IPC

/// Files beside the socket are removed, replaced or damaged under a running host.
@Suite(.tags(.servers), .processes) struct RuntimeDirectoryTests {
    private static let tags: [CacheTag] = ["t"]

    @Test(arguments: ["removed", "renamed", "replaced"])
    func `the journal directory goes: a writer that dies afterwards leaves nobody stale`(how: String) async throws {
        let host = try await Host(nil)
        let path = host.syncd.directory.file("journal")
        var before: WorkerJournal? = try WorkerJournal(path: path)
        var left: Intent? = try before?.begin(["before"])
        if how == "removed" {
            try FileManager.default.removeItem(atPath: path)
        } else {
            #expect(rename(path, path + ".old") == 0)
            if how == "replaced" { #expect(mkdir(path, 0o1770) == 0) }
        }
        await eventually("syncd says which directory it reads", details: { host.syncd.transcript }) {
            (try? FileStatus(path: path).identity) == host.table.journalDirectory
        }
        let journal = try WorkerJournal(path: path)
        #expect(journal.directory == host.table.journalDirectory)
        var dying: WorkerJournal? = try WorkerJournal(path: path)
        var intent: Intent? = try dying?.begin(Self.tags)
        #expect(intent != nil && left != nil)
        (dying, intent, before, left) = (nil, nil, nil, nil)
        let died = BootClock.now
        await eventually("a heartbeat comes", details: { host.syncd.transcript }) { host.table.heartbeat > died }
        #expect(host.slot("t") > 0)
        if how != "removed" { #expect(host.slot("before") > 0, "the directory that was open is read, too") }
        withExtendedLifetime(journal) {}
    }

    @Test(arguments: ["tags.table", "values.arena"])
    func `somebody truncates a file that syncd writes: its last line says so`(name: String) async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        try await client.store("k", "v", tags: ["t"])
        let path = syncd.directory.file(name)
        #expect(truncate(path, 0) == 0)
        for number in 0..<10 where syncd.child.isRunning {
            _ = try? await client.store("k\(number)", "v", tags: ["t"])
            _ = try? await client.invalidate("t")
        }
        await eventually("it has ended") { !syncd.child.isRunning }
        #expect(syncd.log.contains("another program truncated a file"), "\(syncd.transcript)")
        try await syncd.start()
        try await syncd.waitUntilAttached()
        let next = try await syncd.connect()
        #expect(try await next.present("k") == nil)
        try await next.store("k", "w")
        #expect(try await next.hit("k").text == "w")
    }

    @Test func `without a journal directory there is no heartbeat, and status says so`() async throws {
        let host = try await Host(nil)
        let path = host.syncd.directory.file("journal")
        #expect(rename(path, path + ".old") == 0)
        try host.syncd.directory.write("a file", to: "journal")
        await eventually("it does not heartbeat", details: { host.syncd.transcript }) {
            host.table.heartbeat + 1_500_000_000 < BootClock.now
        }
        #expect(try await host.syncd.status("log", "state")?.string == "isolated")
        #expect(try await host.syncd.status("log", "why")?.string?.contains(path) == true)
        let status = try await host.syncd.runTool(["status"])
        #expect(status.output.contains("DEGRADED"))
        #expect(host.syncd.log.components(separatedBy: "the journal cannot be used").count == 2, "said once")
        #expect(unlink(path) == 0)
        let mended = BootClock.now
        await eventually("it writes heartbeats again", details: { host.syncd.transcript }) {
            host.table.heartbeat > mended
        }
        #expect(try await host.syncd.status("log", "state")?.string == "attached")
        #expect(host.syncd.log.contains("the journal can be used again"))
    }

    @Test(arguments: ["tags.table", "tags.table.lock", "everything"])
    func `a syncd whose runtime directory is another one ends`(what: String) async throws {
        let host = try await Host(nil)
        let directory = host.syncd.directory
        if what == "everything" {
            for name in directory.names() { try FileManager.default.removeItem(atPath: directory.file(name)) }
        } else {
            try FileManager.default.removeItem(atPath: directory.file(what))
        }
        let first = host.syncd.child
        await eventually("it ends", details: { host.syncd.transcript }) { first.exit != nil }
        #expect(first.exit == .status(75))
        #expect(first.errors.contains("the runtime directory was removed or replaced"))
        let last = host.table.heartbeat
        try await host.syncd.start()
        try await host.syncd.waitUntilAttached()
        let next = try MappedTagTable(path: directory.file("tags.table")).table
        let now = BootClock.now
        await eventually("the next one heartbeats") { next.heartbeat > now }
        if what != "tags.table.lock" { #expect(host.table.heartbeat == last && host.table.state == .isolated) }
    }

    @Test func `a syncd that ends because another one has its directory leaves the other's socket alone`() async throws
    {
        let host = try await Host(nil)
        let (directory, first) = (host.syncd.directory, host.syncd.child)
        // Another one begins before it looks.
        first.pause()
        for name in directory.names() { try FileManager.default.removeItem(atPath: directory.file(name)) }
        let next = try await SyncdProcess(directory: directory)
        first.resume()
        await eventually("it ends", details: { host.syncd.transcript }) { first.exit != nil }
        #expect(first.exit == .status(75))
        #expect(try await next.status("server", "pid")?.number == Int(next.pid))
        #expect(directory.names().contains("syncd.sock.lock") && directory.names().contains("tags.table"))
    }

    /// A directory in memory, as in production: a busy disk needs minutes for this many files. Without room for them,
    /// one on disk.
    private static func memoryDirectory() throws -> TemporaryDirectory {
        let path = "/dev/shm"
        let space = try? FileManager.default.attributesOfFileSystem(forPath: path)[.systemFreeSize] as? NSNumber
        return try TemporaryDirectory(in: (space?.intValue ?? 0) > 1 << 30 ? path : "/tmp")
    }

    @Test func `100 000 pending invalidations: syncd answers while it appends them`() async throws {
        let host = try await Host(nil, directory: try Self.memoryDirectory())
        host.syncd.kill()
        let killed = BootClock.now
        let owner = "0123456789abcdef-77"
        for number in 1...100_000 {
            let tag = "t\(number % 5000)"
            try host.syncd.directory.write(
                "*1\r\n$\(tag.utf8.count)\r\n\(tag)\r\n", to: "journal/\(owner)-\(number).pending")
        }
        try await host.syncd.start()
        var longest = Duration.zero
        let client = try await host.syncd.connect()
        var answers = 0
        while host.table.heartbeat < killed {
            let began = ContinuousClock.now
            _ = try await client.command("PING")
            longest = max(longest, ContinuousClock.now - began)
            answers += 1
        }
        #expect(answers > 1, "it listens before all of them are in the table")
        #expect(longest < .seconds(1), "\(longest)")
        print("longest PING with 100 000 pending: \(longest)")
        await eventually("all are deleted") { host.journal("pending").isEmpty }
        #expect((0..<5000).allSatisfy { host.slot("t\($0)") > 0 })
    }
}
