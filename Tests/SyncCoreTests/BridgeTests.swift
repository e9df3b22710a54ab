import IPCTesting
import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Events of other programs: each is in the log once, whoever of the hosts sees it, and is never missing.
@Suite struct BridgeTests {
    let server = HarnessServer()

    init() { server.listened = BridgeRules.ofUsers.channels }

    private func host(_ seed: UInt64 = 1) -> EngineHarness { .attached(server, bridge: .ofUsers, seed: seed) }

    /// Everything that was published comes to all hosts, each in its turn, until nothing is on its way.
    private func deliver(to hosts: [EngineHarness]) {
        while !server.publications.isEmpty {
            let publication = server.publications.removeFirst()
            for host in hosts { host.event(publication) }
        }
    }

    private var tags: [[String]] { server.entries.map { $0.body.tags.map { String(buffer: $0) } } }

    @Test func `an event of another program invalidates its tags`() {
        let host = host()
        server.publish("user:updated", #"{"userId":"a"}"#)
        host.deliver()
        #expect(tags == [["users", "user:a"]])
        #expect(server.entries.first?.body.eventChannel == nil)
        #expect(host.applied == 1)
        #expect(host.slot("user:a") == 1)
    }

    @Test func `events on other channels invalidate nothing`() {
        let host = host()
        server.listened.append(.text("weather"))
        server.publish("weather", #"{"userId":"a"}"#)
        host.deliver()
        #expect(server.entries.isEmpty)
    }

    @Test func `without rules nothing is bridged`() {
        let host = EngineHarness.attached(server)
        server.publish("user:updated", #"{"userId":"a"}"#)
        host.deliver()
        #expect(server.entries.isEmpty)
    }

    @Test func `of all hosts one appends`() {
        let hosts = (1...5).map { host($0) }
        for number in 0..<20 { server.publish("user:updated", #"{"userId":"\#(number)"}"#) }
        deliver(to: hosts)
        #expect(server.entries.count == 20)
        for host in hosts {
            #expect(host.applied == 20)
            #expect(host.slot("user:19") == 20)
        }
    }

    @Test func `however many events cannot be read one append invalidates everything`() {
        let hosts = (1...3).map { host($0) }
        for _ in 0..<100 { server.publish("user:updated", "?") }
        deliver(to: hosts)
        #expect(tags == [["*"]])
        // An event after that entry is not covered by it.
        server.publish("users:linked", #"{"userId":"a"}"#)
        deliver(to: hosts)
        #expect(tags == [["*"], ["*"]])
        for host in hosts { #expect(host.applied == 2) }
    }

    @Test func `until the log is listened to each event that cannot be read has an append`() {
        let host = host()
        host.event(.subscriptionDisconnected(reason: "cut"))
        for _ in 0..<3 { host.event(.message(Event(channel: .text("user:updated"), payload: .text("?")))) }
        #expect(tags == [["*"], ["*"], ["*"]])
    }

    @Test func `of events that cannot be read one a minute is told`() {
        let host = host()
        func told() -> [UnreadableEvent] {
            host.takeNotices().compactMap { if case .unreadableEvent(let event) = $0 { event } else { nil } }
        }
        for _ in 0..<100 { server.publish("user:updated", "Not for a log.") }
        server.publish("user:deleted", "{}")
        host.deliver()
        #expect(
            told() == [
                UnreadableEvent(
                    channel: .text("user:updated"), bytes: 14, problem: "the payload is no JSON object", untold: 0),
                UnreadableEvent(
                    channel: .text("user:deleted"), bytes: 2, problem: "the field userId is missing", untold: 0),
            ])
        host.advance(milliseconds: 59_900)
        server.publish("user:updated", "?")
        host.deliver()
        #expect(told().isEmpty)
        host.advance(milliseconds: 100)
        server.publish("user:updated", "?")
        host.deliver()
        #expect(told().map(\.untold) == [100])
    }

    @Test func `an entry of another log on the channel says nothing of the event after it`() {
        let host = host()
        let body = LogEntryBody(origin: 7, nonce: 1, eventChannel: .text("user:updated"), tags: [.text("x")])
        host.event(.published(Incarnation(high: 9, low: 9), LogEntry(position: 4, body: body)))
        server.publish("user:updated", #"{"userId":"a"}"#)
        host.deliver()
        #expect(tags == [["users", "user:a"]])
    }

    @Test func `equal events are one append each`() {
        let hosts = (1...3).map { host($0) }
        for _ in 0..<7 { server.publish("user:updated", #"{"userId":"a"}"#) }
        deliver(to: hosts)
        #expect(server.entries.count == 7)
        server.publish("user:updated", #"{"userId":"a"}"#)
        deliver(to: hosts)
        #expect(server.entries.count == 8)
    }

    @Test func `the writer's own event is not bridged`() {
        let hosts = (1...2).map { host($0) }
        hosts[0].client(1)
        let event = Event(channel: .text("user:updated"), payload: .text(#"{"userId":"a"}"#))
        #expect(hosts[0].request(.invalidate(tags: [.text("x")], event: event)) == .integer(1))
        deliver(to: hosts)
        #expect(tags == [["x"]])
        // The same event by another program, directly afterwards, is another program's.
        server.publish("user:updated", #"{"userId":"a"}"#)
        deliver(to: hosts)
        #expect(tags == [["x"], ["users", "user:a"]])
    }

    @Test func `an event between entries is not taken for theirs`() {
        let host = host()
        server.appendElsewhere("x")
        server.publish("user:updated", #"{"userId":"a"}"#)
        server.appendElsewhere("y")
        host.deliver()
        #expect(tags == [["x"], ["y"], ["users", "user:a"]])
    }

    @Test func `another namespace's event is another program's`() {
        // Its log entries are on a channel that nobody here has subscribed.
        let host = host()
        server.publish("users:linked", #"{"userId":"a","friendId":"b"}"#)
        host.deliver()
        #expect(tags == [["users", "user:a", "user:b"]])
    }

    @Test func `a publication of a client goes with its invalidation`() {
        let hosts = (1...2).map { host($0) }
        hosts[1].client(2)
        hosts[1].request(.subscribe([.text("user:updated")]), from: 2)
        hosts[0].client(1)
        let event = Event(channel: .text("user:updated"), payload: .text(#"{"userId":"a"}"#))
        #expect(hosts[0].request(.publish(event)) == .integer(0))
        _ = hosts[1].take()
        deliver(to: hosts)
        #expect(tags == [["users", "user:a"]])
        #expect(server.entries.first?.body.eventChannel == .text("user:updated"))
        #expect(hosts[1].takePushes() == [.message(event)])
    }

    @Test func `embedded a publication invalidates and is relayed`() {
        let host = EngineHarness(.embedded, bridge: .ofUsers)
        host.client(1)
        host.client(2)
        host.request(.subscribe([.text("user:updated")]), from: 2)
        _ = host.take()
        let event = Event(channel: .text("user:updated"), payload: .text(#"{"userId":"a"}"#))
        #expect(host.request(.publish(event)) == .integer(1))
        #expect(host.applied == 1)
        #expect(host.slot("users") == 1)
        #expect(host.slot("user:a") == 1)
        #expect(host.takePushes() == [.message(event)])
        #expect(host.request(.publish(Event(channel: .text("weather"), payload: .text("{}")))) == .integer(0))
        #expect(host.applied == 1)
    }

    @Test func `an isolated host appends what it hears before it attaches`() {
        let host = host()
        host.disconnect()
        host.advance(milliseconds: 2300)
        #expect(host.state == .isolated)
        server.publish("user:updated", #"{"userId":"a"}"#)
        host.deliver()
        #expect(server.entries.isEmpty)
        host.connect()
        #expect(tags == [["users", "user:a"]])
        #expect(host.state == .isolated)
        host.settle()
        #expect(host.state == .attached)
    }

    @Test func `what another host has appended meanwhile is not appended again`() {
        let hosts = (1...2).map { host($0) }
        hosts[0].disconnectCommands()
        server.publish("user:updated", #"{"userId":"a"}"#)
        deliver(to: hosts)
        #expect(server.entries.count == 1)
        // Too late for its own append: it isolates itself, and asks by the name when it is back.
        hosts[0].advance(milliseconds: 300)
        #expect(hosts[0].state == .isolated)
        #expect(hosts[0].journal.isEmpty)
        hosts[0].connectCommands()
        hosts[0].settle()
        #expect(hosts[0].state == .attached)
        #expect(server.entries.count == 1)
    }

    @Test func `an invalidation that the server refuses is pending`() {
        let host = host()
        server.isRefusing = .refused("OOM")
        server.publish("user:updated", #"{"userId":"a"}"#)
        host.deliver()
        #expect(host.state == .isolated)
        #expect(host.journal.map(\.tags) == [[.text("users"), .text("user:a")]])
        server.isRefusing = nil
        host.advance(milliseconds: 600)
        #expect(host.state == .attached)
        #expect(tags == [["users", "user:a"]])
        #expect(host.journal.isEmpty)
    }

    @Test func `no more wait than there is place for`() {
        var limits = Limits()
        limits.pendingAppends = 3
        let host = EngineHarness(.redis, server: server, limits: limits, bridge: .ofUsers)
        for number in 0..<5 { server.publish("user:updated", #"{"userId":"\#(number)"}"#) }
        host.deliver()
        #expect(host.journal.count == 2)
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        #expect(server.entries.count == 4, "pending invalidations go into one entry")
    }

    @Test func `a publication of an isolated host is pending and is relayed`() {
        let host = host()
        host.client(1)
        host.request(.subscribe([.text("user:updated")]))
        host.disconnect()
        host.advance(milliseconds: 2300)
        _ = host.take()
        let event = Event(channel: .text("user:updated"), payload: .text(#"{"userId":"a"}"#))
        #expect(host.request(.publish(event)) == .integer(1))
        #expect(host.takePushes() == [.message(event)])
        #expect(host.journal.map(\.tags) == [[.text("users"), .text("user:a")]])
    }

    @Test func `a host that is alone in hearing still appends`() {
        let hosts = (1...3).map { host($0) }
        server.publish("user:updated", #"{"userId":"a"}"#)
        deliver(to: [hosts[1]])
        #expect(tags == [["users", "user:a"]])
    }

    @Test func `an append whose answer is lost is not made twice`() {
        let host = host()
        host.isLinked = false
        server.publish("user:updated", #"{"userId":"a"}"#)
        host.deliver()
        let commands = host.take().compactMap { if case .upstream(let command) = $0 { command } else { nil } }
        for command in commands { _ = server.execute(command) }
        #expect(server.entries.count == 1)
        host.disconnect()
        host.connect()
        host.settle()
        #expect(server.entries.count == 1)
        #expect(host.applied == 1)
    }

    @Test func `an event on a new connection is named once a probe has been answered`() {
        let hosts = (1...2).map { host($0) }
        server.appendElsewhere("x")
        deliver(to: hosts)
        // The second host's subscription comes back; the probe that goes with it tells where the log is.
        hosts[1].event(.subscriptionDisconnected(reason: "cut"))
        hosts[1].event(.subscriptionConnected(server.identity))
        server.publish("user:updated", #"{"userId":"a"}"#)
        deliver(to: hosts)
        #expect(server.entries.count == 2)
        // Until then it appends without a name: twice is harmless, never is not.
        hosts[1].isLinked = false
        hosts[1].event(.subscriptionDisconnected(reason: "cut"))
        hosts[1].event(.subscriptionConnected(server.identity))
        hosts[1].isLinked = true
        server.publish("user:updated", #"{"userId":"b"}"#)
        deliver(to: hosts)
        #expect(server.entries.count == 4)
    }

    /// Whatever is delivered late or lost: as soon as one host has heard an event, the log has it, at a position
    /// after the event's publication.
    @Test(arguments: 1...40)
    func `no event that somebody heard is missing`(_ seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let hosts = (1...3).map { host(UInt64($0)) }
        /// Messages on their way to each host, with the log's position at the publication.
        var queues: [[(event: UpstreamEvent, position: LogPosition)]] = [[], [], []]
        var isListening = [true, true, true]
        var heard = 0
        for _ in 0..<400 {
            let index = Int.random(in: 0..<3, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            // Always the same event: the tags alone tell nothing.
            case 0..<2: server.publish("user:updated", #"{"userId":"a"}"#)
            case 2: server.appendElsewhere("x")
            case 3, 4:
                isListening[index].toggle()
                queues[index] = []
                hosts[index].event(
                    isListening[index]
                        ? .subscriptionConnected(server.identity) : .subscriptionDisconnected(reason: "cut"))
            default:
                guard !queues[index].isEmpty else { break }
                let (event, position) = queues[index].removeFirst()
                hosts[index].event(event)
                guard case .message = event else { break }
                heard += 1
                #expect(server.entries.contains { $0.position > position && $0.body.tags.contains(.text("user:a")) })
            }
            for publication in server.publications {
                for index in hosts.indices where isListening[index] {
                    queues[index].append((publication, server.position))
                }
            }
            server.publications = []
        }
        #expect(heard > 10)
    }
}
