import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Events of other programs: each is in the log once, whoever of the hosts sees it, and is never missing.
@Suite struct BridgeTests {
    let server = ModelServer()

    init() { server.listened = BridgeRules.ofUsers.channels }

    private func host(_ seed: UInt64 = 1) -> BrainHarness { .attached(server, bridge: .ofUsers, seed: seed) }

    /// Everything that was published comes to all hosts, each in its turn, until nothing is on its way.
    private func deliver(to hosts: [BrainHarness]) {
        while !server.publications.isEmpty {
            let publication = server.publications.removeFirst()
            for host in hosts { host.event(publication) }
        }
    }

    private var tags: [[String]] { server.entries.map { $0.body.tags.map { String(buffer: $0) } } }

    @Test func anEventOfAnotherProgramInvalidatesItsTags() {
        let host = host()
        server.publish("user:updated", #"{"userId":"a"}"#)
        host.deliver()
        #expect(tags == [["users", "user:a"]])
        #expect(server.entries.first?.body.eventChannel == nil)
        #expect(host.applied == 1)
        #expect(host.slot("user:a") == 1)
    }

    @Test func eventsOnOtherChannelsInvalidateNothing() {
        let host = host()
        server.listened.append(.text("weather"))
        server.publish("weather", #"{"userId":"a"}"#)
        host.deliver()
        #expect(server.entries.isEmpty)
    }

    @Test func withoutRulesNothingIsBridged() {
        let host = BrainHarness.attached(server)
        server.publish("user:updated", #"{"userId":"a"}"#)
        host.deliver()
        #expect(server.entries.isEmpty)
    }

    @Test func ofAllHostsOneAppends() {
        let hosts = (1...5).map { host($0) }
        for number in 0..<20 { server.publish("user:updated", #"{"userId":"\#(number)"}"#) }
        deliver(to: hosts)
        #expect(server.entries.count == 20)
        for host in hosts {
            #expect(host.applied == 20)
            #expect(host.slot("user:19") == 20)
        }
    }

    @Test func equalEventsAreOneAppendEach() {
        let hosts = (1...3).map { host($0) }
        for _ in 0..<7 { server.publish("user:updated", #"{"userId":"a"}"#) }
        deliver(to: hosts)
        #expect(server.entries.count == 7)
        server.publish("user:updated", #"{"userId":"a"}"#)
        deliver(to: hosts)
        #expect(server.entries.count == 8)
    }

    @Test func theWritersOwnEventIsNotBridged() {
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

    @Test func anEventBetweenEntriesIsNotTakenForTheirs() {
        let host = host()
        server.appendElsewhere("x")
        server.publish("user:updated", #"{"userId":"a"}"#)
        server.appendElsewhere("y")
        host.deliver()
        #expect(tags == [["x"], ["y"], ["users", "user:a"]])
    }

    @Test func anotherNamespacesEventIsAnotherPrograms() {
        // Its log entries are on a channel that nobody here has subscribed.
        let host = host()
        server.publish("users:linked", #"{"userId":"a","friendId":"b"}"#)
        host.deliver()
        #expect(tags == [["users", "user:a", "user:b"]])
    }

    @Test func aPublicationOfAClientGoesWithItsInvalidation() {
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

    @Test func embeddedAPublicationInvalidatesAndIsRelayed() {
        let host = BrainHarness(.embedded, bridge: .ofUsers)
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

    @Test func anIsolatedHostAppendsWhatItHearsBeforeItAttaches() {
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

    @Test func whatAnotherHostHasAppendedMeanwhileIsNotAppendedAgain() {
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

    @Test func whatTheServerRefusesIsOwed() {
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

    @Test func noMoreWaitThanThereIsPlaceFor() {
        var limits = Limits()
        limits.pendingAppends = 3
        let host = BrainHarness(.redis, server: server, limits: limits, bridge: .ofUsers)
        for number in 0..<5 { server.publish("user:updated", #"{"userId":"\#(number)"}"#) }
        host.deliver()
        #expect(host.journal.count == 2)
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        #expect(server.entries.count == 4, "what is owed goes into one entry")
    }

    @Test func anIsolatedHostOwesAPublicationAndRelaysIt() {
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

    @Test func aHostThatIsAloneInHearingStillAppends() {
        let hosts = (1...3).map { host($0) }
        server.publish("user:updated", #"{"userId":"a"}"#)
        deliver(to: [hosts[1]])
        #expect(tags == [["users", "user:a"]])
    }

    @Test func anAppendWhoseAnswerIsLostIsNotMadeTwice() {
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

    @Test func anEventOnANewConnectionIsNamedOnceAProbeHasBeenAnswered() {
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
    func noEventThatSomebodyHeardIsMissing(_ seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let hosts = (1...3).map { host(UInt64($0)) }
        /// What is on its way to each host, with the log's position at the publication.
        var queues: [[(event: UpstreamEvent, position: UInt64)]] = [[], [], []]
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
