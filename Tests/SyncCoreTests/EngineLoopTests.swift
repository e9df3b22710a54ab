import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// The loop around the engine: what it wants from its host, in which order.
@Suite struct EngineLoopTests {
    // MARK: Turns

    @Test func `requests that come together are answered together`() {
        let host = TracedHost()
        let client = host.connect()
        client.send("PING", "ECHO a", "PING")
        #expect(host.take() == [.write("+PONG\r\n$1\r\na\r\n+PONG\r\n")])
    }

    @Test func `a request in two pieces is answered when it is whole`() {
        let host = TracedHost()
        let client = host.connect()
        var bytes = TracedClient.bytes(["PING"])
        let rest = bytes.getSlice(at: 5, length: bytes.readableBytes - 5)
        host.loop.submit(.received(client.id, bytes.readSlice(length: 5) ?? ByteBuffer()))
        #expect(host.take() == [])
        host.loop.submit(.received(client.id, rest ?? ByteBuffer()))
        #expect(host.take() == [.write("+PONG\r\n")])
    }

    @Test func `commands leave once at the end of the turn`() {
        let host = TracedHost(.redis)
        _ = host.connect()
        host.loop.submit(.upstream(.subscriptionConnected(nil)), isLast: false)
        host.loop.submit(.upstream(.commandsConnected), isLast: false)
        #expect(host.take() == [.send("inspect")])
        host.loop.endTurn()
        #expect(host.take() == [.flushUpstream])
    }

    @Test func `an answer that comes while its command is sent belongs to the same turn`() {
        let host = TracedHost(.redis)
        host.answer = { command in
            if case .inspect(let id, _) = command { .reply(id, .failed(.refused("LOADING"))) } else { nil }
        }
        host.loop.submit(.upstream(.commandsConnected))
        #expect(host.take() == [.send("inspect"), .flushUpstream])
    }

    @Test func `a client that is told of an invalidation finds it written down`() {
        let host = TracedHost(.redis)
        let client = host.connect()
        client.send("INVALIDATE TAGS a", "INVALIDATE TAGS b")
        #expect(
            host.take() == [.journal("pending a b"), .write("+DEFERRED\r\n+DEFERRED\r\n")],
            "one file, and then the replies")
    }

    @Test func `nobody is told anything once the table is another syncd's`() {
        let host = TracedHost()
        let client = host.connect()
        host.ownsTable = false
        client.send("PING")
        #expect(host.take() == [.write("+PONG\r\n")], "no promise: nobody looks")
        client.send("INVALIDATE TAGS a")
        #expect(host.take() == [.tableLost])
        client.send("PING")
        #expect(host.take() == [])
    }

    @Test func `no heartbeat reaches a table that is another syncd's`() {
        let host = TracedHost()
        host.ownsTable = false
        let before = host.loop.engine.table.heartbeat
        host.fire(.heartbeat)
        #expect(host.take() == [.tableLost])
        #expect(host.loop.engine.table.heartbeat == before)
    }

    // MARK: A process that is stopped in the middle

    @Test func `a stopped loop goes on where it was`() {
        let host = TracedHost(.redis)
        let client = host.connect()
        host.effectsUntilStop = 1
        // The first effect is what is to be written down; the reply is the second.
        client.send("INVALIDATE TAGS a", "PING")
        #expect(host.take() == [])
        host.effectsUntilStop = .max
        host.loop.resume()
        #expect(host.take() == [.journal("pending a"), .write("+DEFERRED\r\n+PONG\r\n")])
    }

    @Test func `inputs wait while the loop stands still`() {
        let host = TracedHost()
        let (first, second) = (host.connect(), host.connect())
        host.effectsUntilStop = 0
        first.send("PING")
        second.send("ECHO b")
        #expect(host.take() == [])
        host.effectsUntilStop = .max
        host.loop.resume()
        #expect(host.take() == [.write("+PONG\r\n"), .write("$1\r\nb\r\n")])
    }

    // MARK: Reading

    @Test func `reading pauses while too many requests are not answered`() {
        var limits = Limits()
        limits.requestsInFlight = 2
        // A new table acknowledges nothing for one trust window.
        let host = TracedHost(limits: limits, table: .inMemory(madeAt: 1_000_000_000_000))
        let client = host.connect()
        client.send("INVALIDATE TAGS a", "INVALIDATE TAGS b", "INVALIDATE TAGS c")
        #expect(host.take() == [.reading(false)])
        #expect(host.loop.applied == 2, "the third is not taken")
        host.fire(.deadline)
        #expect(host.take() == [.write(":1\r\n:2\r\n"), .reading(true), .write(":3\r\n")])
    }

    @Test func `reading pauses while too many answers are not read and goes on at half`() {
        var limits = Limits()
        limits.unreadBytes = 20
        let host = TracedHost(limits: limits)
        let client = host.connect(takesAtOnce: false)
        client.send("ECHO 1234567890", "ECHO 1234567890", "PING")
        #expect(host.take() == [.reading(false), .write("$10\r\n1234567890\r\n$10\r\n1234567890\r\n")])
        client.taken()
        #expect(host.take() == [.reading(true), .write("+PONG\r\n")])
    }

    @Test func `a client whose requests take long lets others go first`() {
        let host = TracedHost()
        let client = host.connect()
        host.nanosecondsPerRequest = 600_000
        client.send("ECHO 1", "ECHO 2", "ECHO 3")
        #expect(host.take() == [.reading(false), .write("$1\r\n1\r\n$1\r\n2\r\n")])
        host.fire(.slice)
        #expect(host.take() == [.reading(true), .write("$1\r\n3\r\n")])
    }

    // MARK: Ending

    @Test func `QUIT closes when its reply is sent`() {
        let host = TracedHost()
        let client = host.connect(takesAtOnce: false)
        client.send("PING", "QUIT", "PING")
        #expect(host.take() == [.write("+PONG\r\n+OK\r\n")], "nothing is taken after it")
        client.taken()
        #expect(host.take() == [.close])
    }

    @Test func `a client that sends nothing more gets its replies`() {
        let host = TracedHost()
        let client = host.connect()
        client.send("PING")
        host.loop.submit(.inputClosed(client.id))
        #expect(host.take() == [.write("+PONG\r\n"), .close])
    }

    @Test func `a malformed frame ends the connection after its reply`() {
        let host = TracedHost()
        let client = host.connect()
        var bytes = TracedClient.bytes(["PING"])
        bytes.writeString("nonsense\r\n")
        host.loop.submit(.received(client.id, bytes))
        guard case .write(let text)? = host.take().first else {
            Issue.record("no answer")
            return
        }
        #expect(text.hasPrefix("+PONG\r\n-ERR Protocol error"))
        client.send("PING")
        #expect(host.take() == [], "nothing more is taken")
    }

    @Test func `a client that does not read is cut off`() {
        var limits = Limits()
        limits.unsentBytes = 20
        limits.unreadBytes = 1000
        let host = TracedHost(limits: limits)
        let client = host.connect(takesAtOnce: false)
        client.send("ECHO 1234567890")
        _ = host.take()
        client.send("ECHO 1234567890")
        #expect(host.take() == [.cutOff(.doesNotRead(unsentBytes: 34)), .close])
        client.send("PING")
        #expect(host.take() == [])
    }

    @Test func `a client too many is told so and closed`() {
        var limits = Limits()
        limits.clients = 1
        let host = TracedHost(limits: limits)
        _ = host.connect()
        _ = host.connect()
        #expect(host.take() == [.write("-ERR max number of clients reached\r\n"), .close])
    }

    @Test func `a syncd that ends takes no clients`() {
        let host = TracedHost()
        host.loop.beginStop()
        _ = host.connect()
        #expect(host.take() == [.write("-ERR syncd is stopping\r\n"), .close])
    }

    // MARK: Timers and journal

    @Test func `clients are answered between two parts of a long journal`() {
        let host = TracedHost()
        let client = host.connect()
        host.journal.items = (0..<1000).map { JournalItem(name: "w-\($0)", kind: .pending, tags: [.text("t")]) }
        host.journal.nanosecondsPerPart = 3_000_000
        let before = host.loop.engine.table.heartbeat
        host.fire(.heartbeat)
        #expect(host.loop.engine.table.heartbeat == before && host.timers[.journalPart] != nil, "two of four parts")
        client.send("PING")
        #expect(host.take() == [.write("+PONG\r\n")])
        host.fire(.journalPart)
        #expect(host.loop.engine.table.heartbeat > before && host.journal.items.isEmpty)
    }

    @Test func `only an earlier deadline is asked for`() {
        let host = TracedHost(limits: Limits())
        let client = host.connect()
        client.send("FETCH a")
        let first = host.timers[.deadline]
        #expect(first == host.now + Limits().leaseNanoseconds)
        host.now += 1_000_000
        client.send("FETCH b")
        #expect(host.timers[.deadline] == first)
        host.connect().send("HELLO 3", "FETCH a WAIT 100")
        #expect(host.timers[.deadline] == host.now + 100_000_000)
    }
}
