import IPCWire
import Testing

@testable import SyncCore

/// Logs that take the place of the one that was applied.
@Suite struct OtherLogTests {
    private let server = HarnessServer()

    /// A failover loses what this host has acknowledged; another host has made the log anew and is as far as this one.
    @Test func `what a log lost is invalidated in the next one`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        let own = host.request(.invalidate(tags: [.text("t")], event: nil))
        #expect(own == .integer(1))
        host.disconnect()
        server.data.flushAll()
        let theirs = Incarnation(high: 5, low: 6)
        server.replaceElsewhere(theirs)
        server.appendElsewhere("x", isPublished: false)
        // Values that hosts of the new log have filled by now lack the write.
        let filled = server.position
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        #expect(server.incarnation == theirs)
        #expect(host.slot("*") > filled)
        #expect(server.entries.last?.body.tags == [.text("*")])
        let count = server.entries.count
        host.disconnect()
        host.connect()
        host.settle()
        #expect(server.entries.count == count, "once")
    }

    /// The log is flushed, and made anew by another host, after it was inspected and before its entries are read.
    @Test func `entries of another log are not those that are missing`() throws {
        for tag in ["a", "b"] { server.appendElsewhere(tag, isPublished: false) }
        let host = EngineHarness(.redis, server: server)
        _ = host.take()
        host.event(.commandsConnected)
        host.event(.subscriptionConnected(server.identity))
        let question = try #require(host.upstreamCommands().first { if case .inspect = $0 { true } else { false } })
        host.event(try #require(server.execute(question)))
        let read = try #require(host.upstreamCommands().first { if case .read = $0 { true } else { false } })
        server.data.flushAll()
        server.replaceElsewhere(Incarnation(high: 5, low: 6))
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

    private func foreign(_ notices: [Notice]) -> [Incarnation] {
        notices.compactMap { if case .foreignLog(let incarnation) = $0 { incarnation } else { nil } }
    }

    private func publish(_ incarnation: Incarnation, to host: EngineHarness, position: LogPosition = 1) {
        let body = LogEntryBody(origin: 7, nonce: 1, eventChannel: nil, tags: [.text("x")])
        host.event(.published(incarnation, LogEntry(position: position, body: body)))
    }

    /// Another deployment uses our channel: an older version with another database, or the same namespace elsewhere.
    @Test func `entries of another deployment are a warning and cost no cache`() {
        let host = EngineHarness.attached(server)
        let (epoch, theirs) = (host.epoch, Incarnation(high: 9, low: 9))
        for position in LogPosition.all(1...100) { publish(theirs, to: host, position: position) }
        #expect(foreign(host.takeNotices()) == [theirs], "told once")
        #expect(host.state == .attached && host.epoch == epoch && host.slot("x") == 0)
        publish(Incarnation(high: 9, low: 10), to: host)
        #expect(foreign(host.takeNotices()).isEmpty, "once a minute")
        host.advance(milliseconds: 60_000)
        publish(Incarnation(high: 9, low: 11), to: host)
        #expect(foreign(host.takeNotices()) == [Incarnation(high: 9, low: 11)])
        #expect(host.state == .attached && host.epoch == epoch)
    }

    @Test func `an entry of the log that replaced ours raises the epoch`() {
        let host = EngineHarness.attached(server)
        let (epoch, theirs) = (host.epoch, Incarnation(high: 9, low: 9))
        server.data.flushAll()
        server.replaceElsewhere(theirs)
        server.appendElsewhere("x")
        host.deliver()
        #expect(host.epoch == epoch + 1, "at once")
        #expect(foreign(host.takeNotices()).isEmpty)
        host.settle()
        #expect(host.state == .attached && host.table.incarnation == theirs && host.slot("x") == 1)
    }

    @Test func `a probe that was under way proves nothing of a log that came after it`() {
        let host = EngineHarness.attached(server)
        let (epoch, theirs) = (host.epoch, Incarnation(high: 9, low: 9))
        host.isLinked = false
        host.advance(milliseconds: 250)
        let probes = host.upstreamCommands().filter { if case .probe = $0 { true } else { false } }
        #expect(probes.count == 1)
        for probe in probes {
            guard let answer = server.execute(probe) else { continue }
            server.replaceElsewhere(theirs)
            publish(theirs, to: host)
            host.event(answer)
        }
        #expect(host.epoch == epoch)
        host.isLinked = true
        host.advance(milliseconds: 300)
        #expect(host.epoch == epoch + 1)
    }
}
