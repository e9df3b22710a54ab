import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// The shared log as one host sees it: what costs an epoch, what costs nothing, and what is never believed.
@Suite struct LogTests {
    let server = HarnessServer()

    @Test func `attaches to a fresh server after one heartbeat`() {
        let host = EngineHarness(.redis, server: server)
        #expect(host.state == .isolated)
        host.connect()
        #expect(server.incarnation != nil)
        host.settle()
        #expect(host.state == .attached)
        #expect(host.table.state == .attached)
    }

    @Test func `a start raises the epoch and rebuilds the slots`() {
        let first = EngineHarness.attached(server)
        first.client(1)
        #expect(first.request(.invalidate(tags: [.text("a")], event: nil)) == .integer(1))
        server.appendElsewhere("b")
        let second = EngineHarness.attached(server, seed: 2)
        #expect(second.applied == 2)
        #expect(second.slot("a") == 1)
        #expect(second.slot("b") == 2)
        #expect(second.firstKnownPosition == 0)
        let third = EngineHarness(.redis, server: server, table: second.table)
        #expect(third.epoch == second.epoch + 1)
        #expect(third.table.state == .isolated)
    }

    @Test func `published entries are applied in order`() {
        let host = EngineHarness.attached(server)
        server.appendElsewhere("a")
        server.appendElsewhere("b")
        host.deliver()
        #expect(host.applied == 2)
        #expect(host.slot("b") == 2)
    }

    @Test func `a gap is read from the stream at once`() {
        let host = EngineHarness.attached(server)
        server.appendElsewhere("a", isPublished: false)
        server.appendElsewhere("b")
        host.deliver()
        #expect(host.applied == 2)
        #expect(host.slot("a") == 1)
    }

    @Test func `a probe shows what was never published`() {
        let host = EngineHarness.attached(server)
        let epoch = host.epoch
        server.appendElsewhere("a", isPublished: false)
        host.advance(milliseconds: 400)
        #expect(host.applied == 1)
        #expect(host.slot("a") == 1)
        #expect(host.epoch == epoch)
        #expect(host.state == .attached)
    }

    @Test func `a short cut of the connection costs nothing`() {
        let host = EngineHarness.attached(server)
        server.appendElsewhere("a")
        host.deliver()
        let epoch = host.epoch
        host.disconnect()
        host.isListening = false
        server.appendElsewhere("b")
        host.advance(milliseconds: 500)
        host.isListening = true
        #expect(host.state == .attached)
        host.connect()
        host.settle()
        #expect(host.applied == 2)
        #expect(host.slot("b") == 2)
        #expect(host.epoch == epoch)
        #expect(host.state == .attached)
    }

    @Test func `a short cut of an empty log costs nothing`() {
        let host = EngineHarness.attached(server)
        let epoch = host.epoch
        host.disconnect()
        host.connect()
        host.settle()
        #expect(host.epoch == epoch)
        #expect(host.state == .attached)
    }

    @Test func `two seconds without an answer isolate and a return attaches without an epoch`() {
        let host = EngineHarness.attached(server)
        let epoch = host.epoch
        host.disconnect()
        host.advance(milliseconds: 2300)
        #expect(host.state == .isolated)
        #expect(host.table.state == .isolated)
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        #expect(host.epoch == epoch)
    }

    @Test func `trimmed entries raise epoch and firstKnownPosition`() {
        let host = EngineHarness.attached(server)
        server.appendElsewhere("a")
        host.deliver()
        let epoch = host.epoch
        host.disconnect()
        for _ in 0..<5 { server.appendElsewhere("b", isPublished: false) }
        server.entries.removeFirst(4)
        host.connect()
        host.settle()
        #expect(host.epoch == epoch + 1)
        #expect(host.applied == 6)
        #expect(host.firstKnownPosition == 4)
        #expect(host.state == .attached)
    }

    @Test func `a hole in the stream raises the epoch`() {
        let host = EngineHarness.attached(server)
        server.appendElsewhere("a")
        host.deliver()
        let epoch = host.epoch
        server.appendElsewhere("b", isPublished: false)
        server.appendElsewhere("c", isPublished: false)
        server.entries.removeAll { $0.position == 2 }
        host.advance(milliseconds: 600)
        #expect(host.epoch == epoch + 1)
        #expect(host.applied == 3)
        #expect(host.firstKnownPosition >= 2)
        #expect(host.state == .attached)
    }

    @Test(arguments: [0, 1]) func `another process replaces the incarnation`(lost: Int) throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == .integer(1))
        let epoch = host.epoch
        let before = try #require(server.incarnation)
        host.disconnect()
        server.restart(losing: lost)
        host.connect()
        host.settle()
        #expect(server.incarnation != before)
        #expect(host.epoch == epoch + 1)
        #expect(host.applied == 1, "positions never go back")
        #expect(host.state == .attached)
    }

    @Test func `FLUSHALL is seen by the next probe`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == .integer(1))
        let epoch = host.epoch
        server.data.flushAll()
        host.advance(milliseconds: 300, heartbeats: true)
        host.settle()
        #expect(host.epoch == epoch + 1)
        #expect(host.state == .attached)
        #expect(host.applied >= 1)
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == .integer(host.applied.number))
    }

    @Test func `an append after FLUSHALL is pending and not lost`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == .integer(1))
        let epoch = host.epoch
        server.data.flushAll()
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == .simple(.deferred))
        #expect(host.epoch > epoch)
        host.settle()
        #expect(host.state == .attached)
        #expect(host.journal.isEmpty)
        #expect(host.slot("a") == host.applied && host.slot("*") == host.applied, "the log is another one")
    }

    @Test func `two hosts on a restarted server end with one log`() throws {
        let one = EngineHarness.attached(server)
        let two = EngineHarness.attached(server, seed: 2)
        one.client(1)
        #expect(one.request(.invalidate(tags: [.text("a")], event: nil)) == .integer(1))
        two.event(.published(try #require(server.incarnation), try #require(server.entries.last)))
        one.disconnect()
        two.disconnect()
        server.restart()
        one.connect()
        let replaced = try #require(server.incarnation)
        two.connect()
        #expect(server.incarnation == replaced, "the first host wins")
        one.settle()
        two.settle()
        #expect(one.state == .attached)
        #expect(two.state == .attached)
        #expect(one.table.incarnation == two.table.incarnation)
    }

    @Test func `a host that is ahead of a new log moves it on`() throws {
        let host = EngineHarness.attached(server)
        for _ in 0..<9 { server.appendElsewhere("a") }
        host.deliver()
        host.disconnect()
        server.data.flushAll()
        let newcomer = EngineHarness.attached(server, seed: 3)
        newcomer.client(1)
        #expect(newcomer.request(.invalidate(tags: [.text("x")], event: nil)) == .integer(1))
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        #expect(server.position >= 9)
        #expect(host.applied >= 9)
        newcomer.event(.publishedUnreadable)
        newcomer.settle()
        #expect(newcomer.state == .attached)
        #expect(newcomer.table.incarnation == host.table.incarnation)
    }

    @Test func `a changed entry is another log`() {
        let host = EngineHarness.attached(server)
        server.appendElsewhere("a")
        host.deliver()
        let epoch = host.epoch
        host.disconnect()
        server.entries[0].body.nonce += 1
        host.connect()
        host.settle()
        #expect(host.epoch == epoch + 1)
        #expect(server.entries.isEmpty, "the stream was deleted")
    }

    @Test func `an append that is not taken isolates and is appended later`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.disconnect()
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == nil)
        let request = host.lastRequest
        host.advance(milliseconds: 249)
        #expect(host.answer(to: request) == nil)
        host.advance(milliseconds: 2)
        #expect(host.answer(to: request) == .simple(.deferred))
        #expect(host.state == .isolated)
        #expect(host.loop.engine.shownState(now: host.now).reason == "cut", "not: Redis is too slow")
        #expect(host.journal.map(\.tags) == [[.text("a")]])
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        #expect(host.slot("a") == 1)
        #expect(host.journal.isEmpty)
    }

    @Test func `a cut within the deadline only delays an append`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.disconnect()
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == nil)
        let request = host.lastRequest
        host.advance(milliseconds: 100)
        host.connect()
        #expect(host.answer(to: request) == .integer(1))
        #expect(host.state == .attached)
    }

    /// A server that refuses for now is asked again soon, one that refuses who we are after 5 s.
    @Test(arguments: [
        (UpstreamFailure.refused("OOM"), UInt64(1000)), (.refused("MISCONF"), 1000), (.denied("NOPERM"), 5500),
    ])
    func `a refused append is pending`(failure: UpstreamFailure, milliseconds: UInt64) {
        let host = EngineHarness.attached(server)
        host.client(1)
        server.isRefusing = failure
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == .simple(.deferred))
        #expect(host.state == .isolated)
        host.advance(milliseconds: 1000)
        #expect(host.state == .isolated)
        server.isRefusing = nil
        host.advance(milliseconds: milliseconds)
        #expect(host.state == .attached)
        #expect(host.slot("a") == 1)
    }

    /// The inspection looks sound: without the memory of the failed append the continuity check would pass each time.
    @Test func `a stream that is none is replaced`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        let before = try #require(server.incarnation)
        let epoch = host.epoch
        server.spoilStream()
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == .simple(.deferred))
        host.advance(milliseconds: 500)
        #expect(server.incarnation != before)
        #expect(host.state == .attached)
        #expect(host.epoch == epoch + 1)
        #expect(host.journal.isEmpty)
    }

    /// A value cached as of position 3 would not be older than an invalidation at position 2.
    @Test func `an append that is not beyond what is applied is none of this log`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        for _ in 0..<3 { server.appendElsewhere("a") }
        host.deliver()
        #expect(host.applied == 3)
        let epoch = host.epoch
        server.goBack(by: 2)
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == .simple(.deferred))
        #expect(host.epoch == epoch + 1)
        host.settle()
        #expect(host.state == .attached)
        #expect(host.journal.isEmpty)
        #expect(host.slot("a") > 3)
    }

    /// Nothing of this shows in the next probe: the position has gone on since.
    @Test func `a publication that is not beyond the last one is none of this log`() {
        let host = EngineHarness.attached(server)
        for _ in 0..<3 { server.appendElsewhere("a") }
        host.deliver()
        let epoch = host.epoch
        server.goBack(by: 2)
        for _ in 0..<3 { server.appendElsewhere("b") }
        host.deliver()
        #expect(host.epoch == epoch + 1)
        host.settle()
        #expect(host.state == .attached)
        #expect(host.applied > 3)
    }

    /// The publication of what is applied got lost, and another one of the same position comes.
    @Test func `a publication of what is applied is that entry or another log`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.isListening = false
        #expect(host.request(.invalidate(tags: [.text("a")], event: nil)) == .integer(1))
        host.deliver()
        host.isListening = true
        let (epoch, replacements) = (host.epoch, server.replacements)
        server.goBack(by: 1)
        for _ in 0..<3 { server.appendElsewhere("b") }
        host.deliver()
        #expect(host.epoch == epoch + 1)
        host.settle()
        #expect(host.state == .attached)
        #expect(server.replacements == replacements + 1)
    }

    /// The denial is reported once, not with each attempt.
    @Test func `a denial is noticed once`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        server.isRefusing = .denied("NOPERM")
        _ = host.request(.invalidate(tags: [.text("a")], event: nil))
        host.advance(milliseconds: 20_000)
        let denials = host.takeNotices().filter { $0 == .upstreamDenied("NOPERM") }
        #expect(denials.count == 1)
    }

    @Test func `both connections lead to one server`() {
        let host = EngineHarness.attached(server)
        host.event(.subscriptionConnected(ServerIdentity(runID: "other", replicationID: "repl-1")))
        #expect(server.reconnects == 1)
        host.event(.commandsConnected)
        #expect(server.reconnects == 2, "the subscription came first")
        host.disconnect()
        server.restart()
        server.isRefusing = .refused("LOADING")
        host.connect()
        #expect(server.reconnects == 2, "what was inspected over the connection before does not count")
        server.isRefusing = nil
        host.advance(milliseconds: 1000)
        #expect(host.state == .attached)
        #expect(server.reconnects == 2)
    }

    @Test func `a log that is replaced in vain is not replaced without a pause`() {
        let host = EngineHarness.attached(server)
        host.disconnect()
        server.isRestless = true
        host.isLinked = true
        host.event(.commandsConnected)
        let before = server.replacements
        host.advance(milliseconds: 2000)
        #expect((4...10).contains(server.replacements - before), "\(server.replacements - before) in 2 s")
        server.isRestless = false
        host.advance(milliseconds: 1000)
        #expect(host.state == .attached)
    }

    @Test func `a replica is not believed`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.disconnect()
        server.isPrimary = false
        host.connect()
        host.settle()
        #expect(host.state == .isolated)
        #expect(host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) == .fetched(.miss))
    }

    @Test func `messages of the former log are ignored`() throws {
        let host = EngineHarness.attached(server)
        let former = try #require(server.incarnation)
        server.appendElsewhere("a")
        host.deliver()
        host.disconnect()
        server.restart()
        host.connect()
        host.settle()
        let epoch = host.epoch
        host.event(
            .published(
                former, LogEntry(position: 2, body: LogEntryBody(origin: 1, nonce: 1, eventChannel: nil, tags: []))))
        #expect(host.epoch == epoch)
        #expect(host.state == .attached)
    }

    @Test func `more pending than can be named replaces the log`() throws {
        var limits = Limits()
        limits.pending = 3
        let host = EngineHarness(.redis, server: server, limits: limits)
        host.connect()
        host.settle()
        host.client(1)
        let before = try #require(server.incarnation)
        host.disconnect()
        host.advance(milliseconds: 2300)
        for _ in 0..<5 { _ = host.request(.invalidate(tags: [.text("a")], event: nil)) }
        #expect(host.journal.map(\.kind) == [.marker, .pending] || host.journal.map(\.kind) == [.marker])
        host.connect()
        host.advance(milliseconds: 1000)
        #expect(server.incarnation != before)
        #expect(host.state == .attached)
        #expect(host.journal.isEmpty)
    }

    @Test func `an entry that is published while the server is inspected is no other log`() throws {
        let host = EngineHarness.attached(server)
        server.appendElsewhere("a")
        host.deliver()
        let epoch = host.epoch
        host.event(.commandsDisconnected(reason: "cut"))
        host.isLinked = false
        host.event(.commandsConnected)
        let question = try #require(host.upstreamCommands().last)
        // The answer is on its way when another host's entry comes on the other connection.
        let answer = try #require(server.execute(question))
        server.appendElsewhere("b")
        host.deliver()
        #expect(host.applied == 2)
        host.isLinked = true
        host.event(answer)
        host.settle()
        #expect(host.epoch == epoch)
        #expect(host.state == .attached)
        #expect(host.applied == 2 && host.slot("b") == 2)
    }
}
