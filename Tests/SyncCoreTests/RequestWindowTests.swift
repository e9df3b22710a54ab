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
        let host: TracedHost

        init() {
            var limits = Limits()
            limits.requestsUnderWay = 16
            limits.requestBytesUnderWay = 100_000
            host = TracedHost(.redis, limits: limits)
            host.answer = { [unowned self] command in
                guard case .append = command else { return server.execute(command) }
                appends.append(command)
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

    @Test func `each connection has one request under way, however many there are`() {
        let home = Home()
        let clients = (0..<40).map { _ in home.host.connect(pid: 1) }
        for client in clients { send(client, 5) }
        #expect(home.appends.count < 16 + 40)
        home.answerAll()
        #expect(clients.allSatisfy { answers($0) == 5 })
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

    @Test func `requests of a closed connection are under way as before`() {
        let home = Home()
        for _ in 0..<10 {
            let client = home.host.connect(pid: 1)
            send(client, 100)
            home.host.loop.submit(.disconnected(client.id))
        }
        #expect(home.appends.count == 16 + 9, "one for each connection")
        home.answerAll()
        let client = home.host.connect(pid: 1)
        send(client, 100)
        #expect(home.appends.count == 16)
    }
}
