import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Pending invalidations of the journal are in the log before the heartbeat that makes workers trust the table again.
@Suite struct JournalTests {
    private func item(_ kind: JournalItem.Kind, _ name: String = "w-1", tags: [String] = ["t"]) -> JournalItem {
        JournalItem(name: name, kind: kind, tags: tags.map { .text($0) })
    }

    @Test func `a pending file is appended before the heartbeat and then removed`() {
        let host = EngineHarness(.embedded)
        let before = host.table.heartbeat
        host.journal = [item(.pending)]
        host.advance(milliseconds: 100)
        #expect(host.slot("t") == 1)
        #expect(host.journal.isEmpty)
        #expect(host.table.heartbeat > before)
    }

    /// However much is pending, only as much is under way as the server accepts in time, and no stack grows with it.
    @Test(arguments: [LogMode.embedded, .redis]) func `many invalidations are pending`(mode: LogMode) {
        let server = HarnessServer()
        let host = mode == .redis ? EngineHarness.attached(server) : EngineHarness(.embedded)
        host.journal = (0..<2000).map { item(.pending, "w-\($0)", tags: ["t\($0 % 100)"]) }
        host.advance(milliseconds: 200)
        #expect((8...9).contains(host.applied), "many files, few entries")
        #expect((0..<100).allSatisfy { host.slot("t\($0)") > 0 })
        #expect(host.journal.isEmpty)
        #expect(host.state == .attached)
    }

    /// No other host could read the entry, nor one with more tags than that.
    @Test func `what no invalidation may have invalidates everything`() {
        let long = EngineHarness(.embedded)
        long.journal = [item(.pending, tags: [String(repeating: "t", count: 1026)])]
        long.advance(milliseconds: 100)
        #expect(long.slot("*") == 1 && long.journal.isEmpty)
        let host = EngineHarness(.embedded)
        host.journal = [item(.pending, tags: (0..<1025).map { "t\($0)" })]
        host.advance(milliseconds: 100)
        #expect(host.slot("*") == 0 && host.slot("t1023") == 1 && host.slot("t1024") == 2 && host.journal.isEmpty)
    }

    @Test func `an unreadable file invalidates everything`() {
        let host = EngineHarness(.embedded)
        host.journal = [item(.pending, tags: [])]
        host.advance(milliseconds: 100)
        #expect(host.slot("*") == 1)
    }

    @Test func `an incomplete intent of a dead owner is only removed`() {
        let host = EngineHarness(.embedded)
        host.journal = [item(.incomplete)]
        host.advance(milliseconds: 100)
        #expect(host.applied == 0)
        #expect(host.journal.isEmpty)
    }

    @Test func `no heartbeat without the journal`() {
        let host = EngineHarness(.embedded)
        let before = host.table.heartbeat
        host.isJournalReadable = false
        host.advance(milliseconds: 1000)
        #expect(host.table.heartbeat == before)
        host.isJournalReadable = true
        host.advance(milliseconds: 100)
        #expect(host.table.heartbeat > before)
    }

    @Test func `the journal is read when a client ends`() {
        let host = EngineHarness(.embedded)
        host.client(1)
        host.now += 50_000_000
        host.journal = [item(.pending)]
        host.close(1)
        #expect(host.slot("t") == 1)
    }

    @Test func `the heartbeat carries the time from before the journal was read`() {
        let host = EngineHarness.attached(HarnessServer())
        host.isLinked = false
        host.journal = [item(.pending)]
        host.now += 100_000_000
        host.heartbeat()
        let sampled = host.now
        let before = host.table.heartbeat
        #expect(before < sampled, "the append is on its way: no heartbeat yet")
        let command = host.take().compactMap { effect -> UpstreamCommand? in
            if case .upstream(.append(let id, let append)) = effect { .append(id, append) } else { nil }
        }
        host.now += 30_000_000
        host.isLinked = true
        if let answer = command.first.flatMap({ host.server?.execute($0) }) { host.event(answer) }
        #expect(host.table.heartbeat == sampled)
        #expect(host.slot("t") == 1)
    }

    @Test func `while isolated the files stay`() {
        let host = EngineHarness(.redis, server: HarnessServer())
        host.journal = [item(.pending)]
        host.advance(milliseconds: 500)
        #expect(host.journal.count == 1)
        #expect(host.state == .isolated)
        host.connect()
        host.settle()
        #expect(host.journal.isEmpty)
        #expect(host.slot("t") == 1)
        #expect(host.state == .attached)
    }

    @Test func `what is deferred during a journal pass is in the table before attaching`() {
        let host = EngineHarness.attached(HarnessServer())
        host.client(1)
        host.isLinked = false
        host.request(.invalidate(tags: [.text("t")], event: nil))
        host.advance(milliseconds: 250, heartbeats: false)
        #expect(host.state == .isolated)
        // The server answers again, command by command.
        for command in host.upstreamCommands() {
            if case .inspect = command, let answer = host.server?.execute(command) { host.event(answer) }
        }
        host.heartbeat()
        let append = host.take().compactMap { effect -> UpstreamCommand? in
            if case .upstream(.append(let id, let append)) = effect { .append(id, append) } else { nil }
        }
        var limits = Limits()
        limits.pendingAppends = 1
        host.adopt(limits)
        #expect(host.request(.invalidate(tags: [.text("u")], event: nil)) == .simple(.deferred))
        host.isLinked = true
        if let answer = append.first.flatMap({ host.server?.execute($0) }) { host.event(answer) }
        #expect(host.slot("t") > 0)
        #expect(host.slot("u") > 0, "the answer DEFERRED was given: nobody may believe an older value")
        #expect(host.state == .attached)
    }

    /// The replacement that a marker asks for has happened, but its answer is on its way: what is deferred now may be
    /// in caches that other hosts filled in the new log.
    @Test(arguments: [1, 3]) func `what is deferred during a replacement is not covered by it`(count: Int) throws {
        var limits = Limits()
        limits.pending = 1
        let server = HarnessServer()
        let host = EngineHarness(.redis, server: server, limits: limits)
        host.connect()
        host.settle()
        host.client(1)
        host.disconnect()
        host.advance(milliseconds: 3000)
        #expect(host.state == .isolated)
        for _ in 0..<3 { #expect(host.request(.invalidate(tags: [.text("t")], event: nil)) == .simple(.deferred)) }
        #expect(host.journal.map(\.kind) == [.marker])
        let before = server.replacements
        // Command by command, until the answer to the replacement is held back.
        _ = host.take()
        host.event(.commandsConnected)
        host.event(.subscriptionConnected(server.identity))
        var held: UpstreamEvent?
        for _ in 0..<20 where held == nil {
            for command in host.upstreamCommands() {
                guard let answer = server.execute(command) else { continue }
                if case .replace = command { held = answer } else { host.event(answer) }
            }
            if held == nil { host.advance(milliseconds: 100) }
        }
        let answer = try #require(held)
        #expect(server.replacements == before + 1)
        server.appendElsewhere("x")
        let filled = server.position
        for _ in 0..<count { #expect(host.request(.invalidate(tags: [.text("u")], event: nil)) == .simple(.deferred)) }
        host.isLinked = true
        host.event(answer)
        host.settle()
        #expect(host.state == .attached)
        #expect(host.journal.isEmpty)
        if count == 1 {
            #expect(host.slot("u") > filled, "it was named, and is appended")
        } else {
            #expect(server.replacements == before + 2, "too many to name: the log is replaced once more")
        }
    }

    /// Redis has the connection and answers nothing: syncd writes heartbeats, so that it does not count as dead, and
    /// does not send pending invalidations again and again.
    @Test func `while Redis is silent heartbeats go on and pending invalidations wait`() throws {
        let host = EngineHarness.attached(HarnessServer())
        host.client(1)
        host.isLinked = false
        host.request(.invalidate(tags: [.text("t")], event: nil))
        host.advance(milliseconds: 300)
        #expect(host.state == .isolated)
        for _ in 0..<20 {
            host.advance(milliseconds: 100)
            #expect(host.now - host.table.heartbeat <= 200_000_000)
        }
        #expect(host.journal.count == 1)
        let appends = host.upstreamCommands().filter { if case .append = $0 { true } else { false } }
        #expect(appends.count == 1, "the one that was not answered")
    }

    /// Redis is 100 ms away, and a client writes in each round trip.
    @Test func `clients that write all the time do not keep a host isolated`() throws {
        let host = EngineHarness.attached(HarnessServer())
        host.client(1)
        host.isLinked = false
        host.request(.invalidate(tags: [.text("t")], event: nil))
        host.advance(milliseconds: 300)
        #expect(host.state == .isolated)
        var commands = host.upstreamCommands()
        var rounds = 0
        while host.state == .isolated, rounds < 20 {
            rounds += 1
            host.request(.invalidate(tags: [.text("u\(rounds)")], event: nil))
            for command in commands { if let answer = host.server?.execute(command) { host.event(answer) } }
            host.advance(milliseconds: 100)
            commands = host.upstreamCommands()
        }
        #expect(host.state == .attached, "after \(rounds) round trips")
    }

    /// Another host replaced the log before the marker was written, and this host does not know it: caches may have
    /// been filled in the new log without the pending invalidations.
    @Test func `a replacement by somebody else does not cover a marker`() throws {
        var limits = Limits()
        limits.pending = 1
        let server = HarnessServer()
        let host = EngineHarness(.redis, server: server, limits: limits)
        host.connect()
        host.settle()
        host.client(1)
        host.isLinked = false
        let theirs = Incarnation(high: 7, low: 7)
        server.replaceElsewhere(theirs)
        server.appendElsewhere("x", isPublished: false)
        host.advance(milliseconds: 2500)
        #expect(host.state == .isolated)
        limits.pendingAppends = 0
        host.adopt(limits)
        for _ in 0..<3 { #expect(host.request(.invalidate(tags: [.text("t")], event: nil)) == .simple(.deferred)) }
        host.adopt(Limits())
        #expect(host.journal.map(\.kind) == [.marker])
        host.advance(milliseconds: 100)
        let asked = host.upstreamCommands().contains { if case .replace = $0 { true } else { false } }
        #expect(asked, "it is asked for, and gets lost with the connection")
        let before = server.replacements
        host.disconnect()
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        #expect(host.journal.isEmpty)
        #expect(server.replacements == before + 1)
        #expect(server.incarnation != theirs)
    }

    @Test func `a new table acknowledges no write for one trust window`() {
        let madeAt: BootTime = 1_000_000_000_000
        let table = TagTable.inMemory(madeAt: madeAt)
        // The syncd that made it is killed at once; the next one knows.
        _ = EngineHarness(.embedded, table: table, now: madeAt)
        let host = EngineHarness(.embedded, table: table, now: madeAt + 1_000_000)
        host.client(1)
        host.advance(milliseconds: 100)
        #expect(host.request(.invalidate(tags: [.text("t")], event: nil)) == nil)
        let request = host.lastRequest
        #expect(host.slot("t") == 1, "the table has it at once")
        host.advance(milliseconds: 800)
        #expect(host.answer(to: request) == nil)
        host.advance(milliseconds: 200)
        #expect(host.answer(to: request) == .integer(1))
    }

    @Test func `an embedded log goes on where the table ends`() {
        let first = EngineHarness(.embedded)
        first.client(1)
        for _ in 0..<3 { _ = first.request(.invalidate(tags: [.text("t")], event: nil)) }
        let second = EngineHarness(.embedded, table: first.table)
        #expect(second.applied == 3)
        #expect(second.epoch == first.epoch + 1)
        #expect(second.table.incarnation == first.table.incarnation)
    }
}
