import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Entries that come before their predecessors, and lies about them: a server cannot make syncd grow.
@Suite struct EarlyEntriesTests {
    let server = HarnessServer()

    private func entry(_ position: LogPosition, bytes: Int = 1) -> LogEntry {
        let tag = ByteBuffer(repeating: 0x61, count: bytes)
        return LogEntry(
            position: position, body: LogEntryBody(origin: 7, nonce: position.number, eventChannel: nil, tags: [tag]))
    }

    /// A host that is attached and whose commands the server does not answer.
    private func host(_ limits: Limits = Limits()) throws -> (EngineHarness, Incarnation) {
        let host = EngineHarness(.redis, server: server, limits: limits)
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        host.isLinked = false
        return (host, try #require(server.incarnation))
    }

    @Test(arguments: [true, false]) func `as many are kept as there is memory for`(isCounted: Bool) throws {
        var limits = Limits()
        if isCounted {
            limits.reorderEntries = 3
        } else {
            limits.reorderBytes = 3 * entry(1, bytes: 1000).body.memoryBytes
        }
        let (host, incarnation) = try host(limits)
        for position in LogPosition.all(2...10) { host.event(.published(incarnation, entry(position, bytes: 1000))) }
        #expect(host.applied == 0)
        host.event(.reply(0, .failed(.refused("nobody asked"))))
        // The first one comes by an answer to an append.
        server.entries = [entry(1)]
        let read = try #require(host.upstreamCommands().first { if case .read = $0 { true } else { false } })
        host.event(try #require(server.execute(read)))
        #expect(host.applied == 4, "1, and the three that were kept")
    }

    @Test(arguments: [true, false]) func `a reconnect forgets them`(_ isOfCommands: Bool) throws {
        let (host, incarnation) = try host()
        for position in LogPosition.all(2...10) { host.event(.published(incarnation, entry(position))) }
        host.isLinked = true
        server.entries = [entry(1)]
        server.data.position = .text("1")
        if isOfCommands {
            host.disconnectCommands()
            host.connectCommands()
        } else {
            let read = try #require(host.upstreamCommands().first { if case .read = $0 { true } else { false } })
            host.event(.subscriptionDisconnected(reason: "cut"))
            host.event(.subscriptionConnected(server.identity))
            host.event(try #require(server.execute(read)))
        }
        host.settle()
        #expect(host.applied == 1)
    }

    /// The position shows that entries are missing, once, and not again and again.
    @Test func `a position that was never given is forgotten`() throws {
        let (host, incarnation) = try host()
        let epoch = host.epoch
        host.isLinked = true
        host.event(.published(incarnation, entry(LogPosition(1 << 52))))
        host.settle()
        #expect(host.state == .attached && host.epoch <= epoch + 1)
        let after = host.epoch
        host.advance(milliseconds: 5000)
        #expect(host.state == .attached && host.epoch == after)
    }

    @Test func `what is too long for an entry invalidates everything`() throws {
        var limits = Limits()
        (limits.wire.tagBytes, limits.wire.tagsPerInvalidation) = (65_535, 2 * LogEntryBody.maximumTags)
        let (host, _) = try host(limits)
        host.isLinked = true
        host.client(1)
        let long = (0..<17).map { _ in ByteBuffer(repeating: 0x62, count: 65_535) }
        #expect(host.request(.invalidate(tags: long, event: nil)) == .integer(1))
        let many = (0...LogEntryBody.maximumTags).map { ByteBuffer(integer: UInt32($0)) }
        #expect(host.request(.invalidate(tags: many, event: nil)) == .integer(2))
        #expect(server.entries.map(\.body.tags) == [[.text("*")], [.text("*")]])
    }

    @Test func `events that wait for the server have no more memory than there is`() {
        var limits = Limits()
        limits.pendingAppendBytes = 2000
        let host = EngineHarness(.redis, server: server, limits: limits, bridge: .ofUsers)
        server.listened = BridgeRules.ofUsers.channels
        let id = String(repeating: "a", count: 200)
        for number in 0..<20 { server.publish("user:updated", #"{"userId":"\#(id)\#(number)"}"#) }
        host.deliver()
        #expect((1..<20).contains(host.journal.count), "the others are pending")
        host.connect()
        host.settle()
        // Pending invalidations are appended together.
        let tags = Set(server.entries.flatMap(\.body.tags)).filter { $0 != .text("users") }
        #expect(host.state == .attached && tags.count == 20)
    }
}
