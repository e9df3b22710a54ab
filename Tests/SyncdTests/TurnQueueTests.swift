import IPC
import IPCWire
import Logging
import NIOCore
import NIOEmbedded
import SyncCore
import TestSupport
import Testing

@testable import syncd

/// How connections share the event loop's time. The clock goes on whenever somebody looks at it, so that each request
/// takes a while.
@Suite struct TurnQueueTests {
    private static let millisecond: UInt64 = 1_000_000

    @Test func `a connection's turn ends after a millisecond, and what is left is answered later, in order`() throws {
        let stage = try Stage(nanosecondsPerLook: 50_000)
        let client = try stage.connect(pid: 1)
        try client.send(pings: 100)
        #expect((2...20).contains(client.answers.count))
        #expect(client.connection.isSuspended)
        let others = try stage.connect(pid: 2)
        try others.send(pings: 1)
        #expect(others.answers.count == 1, "its turn comes in between")
        for _ in 0..<50 { stage.go() }
        #expect(client.answers == (0..<100).map { "\($0)" } && !client.connection.isSuspended)
    }

    @Test func `all turns together end after some milliseconds, for sockets and timers to be looked at`() throws {
        let stage = try Stage(nanosecondsPerLook: 50_000)
        let clients = try (0..<40).map { try stage.connect(pid: Int32($0)) }
        for client in clients { try client.send(pings: 100) }
        var answered = clients.reduce(0) { $0 + $1.answers.count }
        #expect(answered < 100, "of 4000")
        for _ in 0..<10 {
            let began = stage.time
            stage.go()
            #expect(stage.time - began < 10 * Self.millisecond)
            let now = clients.reduce(0) { $0 + $1.answers.count }
            #expect(now > answered, "somebody has a turn")
            answered = now
        }
        for _ in 0..<200 { stage.go() }
        #expect(clients.allSatisfy { $0.answers.count == 100 }, "all have theirs in the end")
    }

    @Test func `a process that has used least goes first`() throws {
        let stage = try Stage(nanosecondsPerLook: 50_000)
        let greedy = try (0..<20).map { _ in try stage.connect(pid: 1) }
        for client in greedy { try client.send(pings: 100) }
        for _ in 0..<3 { stage.go() }
        let modest = try stage.connect(pid: 2)
        try modest.send(pings: 1)
        #expect(modest.answers.isEmpty, "the time of this slice is used up")
        stage.go()
        #expect(modest.answers.count == 1)
        #expect(greedy.contains { $0.answers.count < 100 })
    }

    @Test func `use of long ago does not count`() throws {
        let stage = try Stage(nanosecondsPerLook: 50_000)
        let (former, other) = (try stage.connect(pid: 1), try stage.connect(pid: 2))
        try former.send(pings: 100)
        for _ in 0..<50 { stage.go() }
        #expect(former.answers.count == 100)
        // Each heartbeat halves it.
        for _ in 0..<10 { stage.go(by: .milliseconds(100)) }
        try other.send(pings: 40)
        for _ in 0..<20 { stage.go() }
        #expect(other.answers.count == 40)
        // One request takes a slice.
        stage.nanosecondsPerLook = 3_000_000
        let third = try stage.connect(pid: 3)
        try third.send(pings: 1)
        try other.send(pings: 1)
        try former.send(pings: 1)
        #expect(other.answers.count == 40 && former.answers.count == 100, "there is no time left")
        stage.go()
        #expect(former.answers.count == 101 && other.answers.count == 40)
    }

    @Test func `a connection that was closed meanwhile is passed over`() throws {
        let stage = try Stage(nanosecondsPerLook: 50_000)
        let (first, second) = (try stage.connect(pid: 1), try stage.connect(pid: 2))
        try first.send(pings: 100)
        try second.send(pings: 100)
        first.channel.close(promise: nil)
        for _ in 0..<50 { stage.go() }
        #expect(second.answers.count == 100)
    }
}

/// A daemon without sockets.
private final class Stage {
    let loop = EmbeddedEventLoop()
    let daemon: Daemon
    private let directory: TemporaryDirectory
    private let clock = Clock()

    private final class Clock {
        var time: UInt64 = 1_000_000_000_000
        var step: UInt64 = 0
        func look() -> UInt64 {
            time += step
            return time
        }
    }

    var time: UInt64 { clock.time }
    var nanosecondsPerLook: UInt64 {
        get { clock.step }
        set { clock.step = newValue }
    }

    init(nanosecondsPerLook: UInt64) throws {
        directory = try TemporaryDirectory()
        let paths = try RuntimePaths(socket: directory.file("syncd.sock"))
        let configuration = DaemonConfiguration(
            paths: paths, mode: .embedded, endpoint: nil, tls: nil, namespace: "syncd", limits: Limits(), slotBits: 16,
            inheritedSocket: nil, bridge: .none, source: "test")
        daemon = Daemon(
            configuration: configuration, table: .inMemory(), journal: try JournalDirectory(path: paths.journal),
            ownsTable: { true }, eventLoop: loop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            clock: { [clock] in clock.look() })
        daemon.start()
        self.nanosecondsPerLook = nanosecondsPerLook
    }

    func connect(pid: Int32) throws -> Client {
        let connection = daemon.makeConnection(peer: Peer(pid: pid, uid: 0))
        let channel = EmbeddedChannel(handler: connection, loop: loop)
        try channel.connect(to: SocketAddress(unixDomainSocketPath: "/nowhere"), promise: nil)
        return Client(connection: connection, channel: channel)
    }

    /// The event loop goes round once.
    func go(by time: TimeAmount = .microseconds(100)) { loop.advanceTime(by: time) }
}

private final class Client {
    let connection: WorkerConnection
    let channel: EmbeddedChannel
    private var sent = 0
    private var received = ""

    init(connection: WorkerConnection, channel: EmbeddedChannel) {
        self.connection = connection
        self.channel = channel
    }

    /// Sends them at one go, each with its number.
    func send(pings count: Int) throws {
        var text = ""
        for number in sent..<sent + count { text += "*2\r\n$4\r\nPING\r\n$\("\(number)".count)\r\n\(number)\r\n" }
        sent += count
        try channel.writeInbound(ByteBuffer(string: text))
    }

    /// The answers so far.
    var answers: [Substring] {
        while let part = try? channel.readOutbound(as: ByteBuffer.self) { received += String(buffer: part) }
        return received.split(separator: "\r\n").filter { !$0.hasPrefix("$") }
    }
}
