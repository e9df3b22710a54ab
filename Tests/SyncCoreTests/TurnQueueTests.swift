import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// How clients share the event loop's time.
@Suite struct TurnQueueTests {
    private static let millisecond: UInt64 = 1_000_000

    /// A host on which each request takes a while.
    private static func host(nanosecondsPerRequest: UInt64 = 50_000) -> TracedHost {
        let host = TracedHost()
        host.nanosecondsPerRequest = nanosecondsPerRequest
        return host
    }

    private func answers(_ client: TracedClient) -> [Substring] {
        client.received.split(separator: "\r\n").filter { !$0.hasPrefix("$") }
    }

    /// Sends them at one go, each with its number.
    private func send(_ client: TracedClient, pings numbers: Range<Int>, _ host: TracedHost) {
        host.loop.submit(.received(client.id, TracedClient.bytes(numbers.map { "PING \($0)" })))
    }

    @Test func `a client's turn ends after a millisecond, and what is left is answered later, in order`() {
        let host = Self.host()
        let client = host.connect()
        send(client, pings: 0..<100, host)
        #expect((2...21).contains(answers(client).count))
        let other = host.connect(pid: 2)
        send(other, pings: 0..<1, host)
        #expect(answers(other).count == 1, "its turn comes in between")
        for _ in 0..<50 { host.fire(.slice) }
        #expect(answers(client) == (0..<100).map { "\($0)" })
    }

    @Test func `all turns together end after some milliseconds, for sockets and timers to be looked at`() {
        let host = Self.host()
        let clients = (0..<40).map { host.connect(pid: Int32($0)) }
        for client in clients { send(client, pings: 0..<100, host) }
        var answered = clients.reduce(0) { $0 + answers($1).count }
        #expect(answered <= 120, "of 4000")
        // Late, and postponed.
        host.fire(.slice)
        for _ in 0..<10 {
            let began = host.timers[.slice] ?? 0
            host.fire(.slice)
            #expect(host.now - began < 10 * Self.millisecond)
            let now = clients.reduce(0) { $0 + answers($1).count }
            #expect(now > answered, "somebody has a turn")
            answered = now
        }
        for _ in 0..<200 { host.fire(.slice) }
        #expect(clients.allSatisfy { answers($0).count == 100 }, "all have theirs in the end")
    }

    /// A task that is due when a slice ends goes before the sockets, so that other clients never have a turn.
    @Test(arguments: [2, 8]) func `the next slice is asked for when this one has ended`(count: Int) throws {
        let host = Self.host()
        let greedy = (0..<count).map { _ in host.connect() }
        for client in greedy { send(client, pings: 0..<1000, host) }
        for _ in 0..<5 {
            host.fire(.slice)
            #expect(try #require(host.timers[.slice]) >= host.now + TurnQueue.pauseNanoseconds)
        }
    }

    /// As on a busy machine: NIO runs every task that is due before it looks at its sockets again.
    @Test func `a slice that comes late is postponed once`() throws {
        let host = Self.host()
        let client = host.connect()
        send(client, pings: 0..<100, host)
        let before = answers(client).count
        host.now = try #require(host.timers[.slice]) + Self.millisecond
        host.fire(.slice)
        #expect(answers(client).count == before)
        #expect(try #require(host.timers[.slice]) >= host.now + TurnQueue.pauseNanoseconds)
        host.now += Self.millisecond
        host.fire(.slice)
        #expect(answers(client).count > before, "but not twice")
    }

    /// Redis can resume hundreds of connections by one read.
    @Test func `clients that go on when their requests are answered share the slice`() {
        var limits = Limits()
        limits.requestsInFlight = 1
        // A new table acknowledges nothing for one trust window.
        let host = TracedHost(limits: limits, table: .inMemory(madeAt: 1_000_000_000_000))
        let clients = (0..<100).map { _ in host.connect() }
        for client in clients { client.send("INVALIDATE TAGS a", "PING 1") }
        host.nanosecondsPerRequest = Self.millisecond
        host.fire(.deadline)
        let answered = clients.count { answers($0).count == 2 }
        #expect((1...8).contains(answered), "\(answered)")
        for _ in 0..<50 { host.fire(.slice) }
        #expect(clients.allSatisfy { answers($0).count == 2 })
    }

    @Test func `a process that has used least goes first`() {
        let host = Self.host()
        let greedy = (0..<20).map { _ in host.connect() }
        for client in greedy { send(client, pings: 0..<100, host) }
        for _ in 0..<3 { host.fire(.slice) }
        let modest = host.connect(pid: 2)
        send(modest, pings: 0..<1, host)
        #expect(answers(modest).isEmpty, "the time of this slice is used up")
        host.fire(.slice)
        #expect(answers(modest).count == 1)
        #expect(greedy.contains { answers($0).count < 100 })
    }

    @Test func `use of long ago does not count`() {
        let host = Self.host()
        let (former, other) = (host.connect(pid: 1), host.connect(pid: 2))
        send(former, pings: 0..<100, host)
        for _ in 0..<50 { host.fire(.slice) }
        #expect(answers(former).count == 100)
        // Each heartbeat halves it.
        for _ in 0..<10 { host.fire(.heartbeat) }
        send(other, pings: 0..<40, host)
        for _ in 0..<20 { host.fire(.slice) }
        #expect(answers(other).count == 40)
        // One request takes more than a slice.
        host.nanosecondsPerRequest = 6 * Self.millisecond
        let third = host.connect(pid: 3)
        send(third, pings: 0..<1, host)
        send(other, pings: 0..<1, host)
        send(former, pings: 0..<1, host)
        #expect(answers(other).count == 40 && answers(former).count == 100, "there is no time left")
        host.fire(.slice)
        #expect(answers(former).count == 101 && answers(other).count == 40)
    }

    @Test func `a client that was closed meanwhile is passed over`() {
        let host = Self.host()
        let (first, second) = (host.connect(pid: 1), host.connect(pid: 2))
        send(first, pings: 0..<100, host)
        send(second, pings: 0..<100, host)
        host.loop.submit(.disconnected(first.id))
        for _ in 0..<50 { host.fire(.slice) }
        #expect(answers(second).count == 100)
    }
}
