import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Requests that wait for Redis are divided among the processes that wait.
@Suite struct RequestWindowTests {
    /// A host, and a server that answers an append when the test says so.
    private final class Home {
        private let server = HarnessServer()
        private(set) var appends: [UpstreamCommand] = []
        private var lookups: [UpstreamID] = []
        let host: TracedHost

        init() {
            var limits = Limits()
            limits.requestsUnderWay = 16
            limits.requestBytesUnderWay = 100_000
            host = TracedHost(.redis, limits: limits)
            host.answer = { [unowned self] command in
                switch command {
                case .append: appends.append(command)
                case .get(let id, _): lookups.append(id)
                default: return server.execute(command)
                }
                return nil
            }
            host.loop.submit(.upstream(.subscriptionConnected(server.identity)))
            host.loop.submit(.upstream(.commandsConnected))
            host.fire(.heartbeat)
        }

        /// The server carries out the append that has waited longest.
        func answer() {
            if let event = server.execute(appends.removeFirst()) { host.loop.submit(.upstream(event)) }
        }

        /// The server has none of the values that were asked for.
        func answerLookups() {
            for id in lookups { host.loop.submit(.upstream(.reply(id, .got(entry: nil, ttlMilliseconds: 0)))) }
            lookups = []
        }

        func answerAll() { while !appends.isEmpty { answer() } }
    }

    private func send(_ client: TracedClient, _ count: Int, tag: String = "a") {
        for _ in 0..<count { client.send("INVALIDATE TAGS \(tag)") }
    }

    private func answers(_ client: TracedClient) -> Int { client.received.split(separator: "\r\n").count }

    @Test func `one process has the whole window, and the rest of its requests wait`() {
        let home = Home()
        #expect(home.host.loop.state == .attached)
        let greedy = home.host.connect(pid: 1)
        send(greedy, 100)
        #expect(home.appends.count == 16)
        for answered in 1...100 {
            home.answer()
            #expect(home.appends.count <= 16)
            #expect(home.appends.count >= min(8, 100 - answered), "Redis has always something to do")
        }
        #expect(answers(greedy) == 100)
    }

    @Test func `many connections of one process have the window together, and take turns`() {
        let home = Home()
        let clients = (0..<40).map { _ in home.host.connect(pid: 1) }
        for client in clients { send(client, 50) }
        for _ in 0..<40 * 16 {
            #expect((8...16).contains(home.appends.count))
            home.answer()
        }
        #expect(clients.allSatisfy { (1..<50).contains(answers($0)) }, "none waits until another has everything")
        home.answerAll()
        #expect(clients.allSatisfy { answers($0) == 50 })
    }

    @Test func `a connection that ends while it waits holds up nobody`() {
        let home = Home()
        let clients = (0..<40).map { _ in home.host.connect(pid: 1) }
        for client in clients { send(client, 5) }
        for client in clients[20..<39] { home.host.loop.submit(.disconnected(client.id)) }
        home.answerAll()
        #expect(clients[..<20].allSatisfy { answers($0) == 5 } && answers(clients[39]) == 5)
    }

    @Test func `long requests of many connections wait together, too`() {
        let home = Home()
        let tag = String(repeating: "t", count: 197)
        let long = (100..<300).map { "\(tag)\($0)" }.joined(separator: " ")
        let clients = (0..<20).map { _ in home.host.connect(pid: 1) }
        for client in clients { send(client, 2, tag: long) }
        while !home.appends.isEmpty {
            #expect(home.appends.count <= 3, "of 40 000 bytes each")
            home.answer()
        }
        #expect(clients.allSatisfy { answers($0) == 2 })
    }

    @Test func `another process's request goes at once, and then both have half`() {
        let home = Home()
        let (greedy, other) = (home.host.connect(pid: 1), home.host.connect(pid: 2))
        send(greedy, 100)
        send(other, 100)
        #expect(home.appends.count == 16 + 8)
        for _ in 0..<16 { home.answer() }
        #expect(answers(greedy) == 16 && answers(other) == 0)
        for _ in 0..<8 { home.answer() }
        #expect(answers(other) == 8, "none of the greedy process has gone before")
        home.answerAll()
        #expect(answers(greedy) == 100 && answers(other) == 100)
    }

    @Test func `bytes count, too`() {
        let home = Home()
        let client = home.host.connect(pid: 1)
        let tag = String(repeating: "t", count: 197)
        let long = (100..<300).map { "\(tag)\($0)" }.joined(separator: " ")
        send(client, 10, tag: long)
        #expect(home.appends.count == 3, "of 40 000 bytes each")
        home.answerAll()
        #expect(answers(client) == 10)
    }

    /// Redis compares the channel with each of them.
    @Test func `an event counts as much as its comparison with patterns costs`() {
        let home = Home()
        let (client, listener) = (home.host.connect(pid: 1), home.host.connect(pid: 2))
        let (pattern, channel) = (String(repeating: "p", count: 200), String(repeating: "c", count: 200))
        listener.send("PSUBSCRIBE *[\(pattern)]a *[\(pattern)]b *[\(pattern)]c")
        for _ in 0..<20 { client.send("INVALIDATE EVENT \(channel) x TAGS a") }
        #expect(home.appends.count == 7, "of 15 000 bytes each")
        listener.send("PUNSUBSCRIBE")
        home.answerAll()
        #expect(answers(client) == 20)
        for _ in 0..<20 { client.send("INVALIDATE EVENT \(channel) x TAGS a") }
        #expect(home.appends.count == 16)
    }

    @Test func `requests of a closed connection are under way as before`() {
        let home = Home()
        for _ in 0..<10 {
            let client = home.host.connect(pid: 1)
            send(client, 100)
            home.host.loop.submit(.disconnected(client.id))
        }
        #expect(home.appends.count == 16)
        home.answerAll()
        let client = home.host.connect(pid: 1)
        send(client, 100)
        #expect(home.appends.count == 16)
    }

    @Test(arguments: [1, 2] as [Int32]) func `a lookup of a closed connection ends`(next pid: Int32) {
        let home = Home()
        for number in 0..<16 {
            let client = home.host.connect(pid: pid == 1 ? 1 : Int32(100 + number))
            client.send("FETCH k\(number)")
            home.host.loop.submit(.disconnected(client.id))
        }
        home.answerLookups()
        #expect(home.host.loop.leavingCount == 0)
        send(home.host.connect(pid: pid), 100)
        #expect(home.appends.count == 16, "the window is that of processes with requests under way")
    }

    @Test func `a save of a closed connection ends`() {
        let home = Home()
        for _ in 0..<16 {
            let client = home.host.connect(pid: 1)
            client.send("FEED CLAIM f")
            client.send("FEED SAVE f token 0 users 5 1 1 a")
            home.host.loop.submit(.disconnected(client.id))
            home.host.fire(.deadline)
            home.answerAll()
        }
        #expect(home.host.loop.leavingCount == 0)
    }
}
