import IPCWire
import Testing

@testable import SyncCore

/// Logs that take the place of the one that was applied.
@Suite struct OtherLogTests {
    private let server = ModelServer()

    /// A failover loses what this host has acknowledged; another host has made the log anew and is as far as this one.
    @Test func whatALogLostIsInvalidatedInTheNextOne() throws {
        let host = BrainHarness.attached(server)
        host.client(1)
        let own = host.request(.invalidate(tags: [.text("t")], event: nil))
        #expect(own == .integer(1))
        host.disconnect()
        server.flushAll()
        let theirs = Incarnation(high: 5, low: 6)
        server.record = (theirs, server.identity)
        server.appendElsewhere("x", isPublished: false)
        // What the new log's hosts have filled by now knows nothing of the write.
        let filled = server.position
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        #expect(server.record?.incarnation == theirs)
        #expect(host.slot("*") > filled)
        #expect(server.entries.last?.body.tags == [.text("*")])
        let count = server.entries.count
        host.disconnect()
        host.connect()
        host.settle()
        #expect(server.entries.count == count, "once")
    }

    /// The log is flushed, and made anew by another host, after it was inspected and before its entries are read.
    @Test func entriesOfAnotherLogAreNotThoseThatAreMissing() throws {
        for tag in ["a", "b"] { server.appendElsewhere(tag) }
        server.record = (Incarnation(high: 3, low: 4), server.identity)
        let host = BrainHarness(.redis, server: server)
        _ = host.take()
        host.event(.commandsConnected)
        host.event(.subscriptionConnected(server.identity))
        let question = try #require(host.upstreamCommands().first { if case .inspect = $0 { true } else { false } })
        host.event(try #require(server.execute(question)))
        let read = try #require(host.upstreamCommands().first { if case .read = $0 { true } else { false } })
        server.flushAll()
        server.record = (Incarnation(high: 5, low: 6), server.identity)
        for tag in ["c", "d"] { server.appendElsewhere(tag) }
        host.event(try #require(server.execute(read)))
        #expect(host.applied == 0, "they are not applied as the other log's")
        host.isLinked = true
        host.event(.commandsDisconnected(reason: "cut"))
        host.event(.commandsConnected)
        host.settle()
        #expect(host.state == .attached)
        #expect(host.table.incarnation == Incarnation(high: 5, low: 6))
        #expect(host.slot("c") == 1)
    }
}
