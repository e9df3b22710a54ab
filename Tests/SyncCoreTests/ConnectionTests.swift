import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Commands and replies that do not concern values: greeting, events, pushes, other Redis commands.
@Suite struct ConnectionTests {
    let host = EngineHarness(.embedded)

    @Test func `tracking begins with epoch and heartbeat, and brings every entry`() {
        host.client(1)
        host.client(2)
        #expect(host.request(.track(true)) == .ok)
        guard case .epoch(host.epoch, reason: .tracking) = host.takePushes().first else {
            Issue.record("an epoch push first")
            return
        }
        _ = host.request(.invalidate(tags: [.text("a"), .text("b")], event: nil), from: 2)
        let push = Effect.pushTracking([1], .invalidate(position: 1, tags: [.text("a"), .text("b")]))
        #expect(host.take().contains(push))
        #expect(host.request(.track(false)) == .ok)
        _ = host.request(.invalidate(tags: [.text("a")], event: nil), from: 2)
        #expect(host.take().filter { if case .pushTracking = $0 { true } else { false } }.isEmpty)
    }

    @Test func `tracking needs RESP3`() {
        host.client(1, version: .v2)
        guard case .error = host.request(.track(true)) else {
            Issue.record("refused")
            return
        }
    }

    @Test func `the table has an invalidation before its push and reply`() {
        host.client(1)
        host.client(2)
        _ = host.request(.track(true), from: 2)
        _ = host.take()
        _ = host.request(.invalidate(tags: [.text("a")], event: nil))
        #expect(host.slot("a") == 1)
    }

    @Test func `events reach subscribers by name and pattern`() {
        for id in ClientID.all(1...3) { host.client(id) }
        #expect(
            host.request(.subscribe([.text("a"), .text("b")]))
                == .subscriptions(
                    .subscribe,
                    [
                        SubscriptionChange(channel: .text("a"), count: 1),
                        SubscriptionChange(channel: .text("b"), count: 2),
                    ]))
        _ = host.request(.patternSubscribe([.text("[ab]*")]), from: 2)
        _ = host.take()
        let event = Event(channel: .text("a"), payload: .text("hello"))
        #expect(host.request(.publish(event), from: 3) == .integer(2))
        #expect(host.takePushes() == [.message(event), .patternMessage(pattern: .text("[ab]*"), event)])
        _ = host.request(.unsubscribe([]))
        #expect(host.request(.publish(event), from: 3) == .integer(1))
        host.close(2)
        #expect(host.request(.publish(event), from: 3) == .integer(0))
    }

    @Test func `a subscribed RESP2 client may do little else`() {
        host.client(1, version: .v2)
        _ = host.request(.subscribe([.text("a")]))
        guard case .error = host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) else {
            Issue.record("refused")
            return
        }
        #expect(host.request(.ping(nil)) == .array([.bulk(.text("pong")), .bulk(.text(""))]))
        #expect(host.request(.reset) == .simple(.reset))
        #expect(host.request(.ping(nil)) == .simple(.pong))
    }

    @Test func `upstream subscriptions are counted`() {
        let host = EngineHarness.attached(HarnessServer())
        host.client(1)
        host.client(2)
        host.isLinked = false
        _ = host.request(.subscribe([.text("a")]), from: 1)
        _ = host.request(.subscribe([.text("a")]), from: 2)
        #expect(host.take().filter { $0 == .upstream(.subscribe([.text("a")])) }.count == 1)
        _ = host.request(.unsubscribe([.text("a")]), from: 1)
        #expect(!host.take().contains(.upstream(.unsubscribe([.text("a")]))))
        host.event(.subscriptionConnected(nil))
        #expect(host.take().contains(.upstream(.subscribe([.text("a")]))), "a new connection subscribes anew")
        host.close(2)
        #expect(host.take().contains(.upstream(.unsubscribe([.text("a")]))))
    }

    /// With lists that are searched for each name this would take minutes, in which nobody else gets an
    /// answer.
    @Test(.timeLimit(.minutes(10))) func `many subscriptions end in about the time that they took`() throws {
        var limits = Limits()
        // One process gets half.
        limits.subscriptions *= 2
        limits.patterns = limits.subscriptions
        let host = EngineHarness(.redis, server: HarnessServer(), limits: limits)
        host.connect()
        host.settle()
        _ = host.take()
        let names = (0..<15_000).map { ByteBuffer.text("name-\($0)") }
        for end in [Request.reset, .unsubscribe([]), .patternUnsubscribe([]), .unsubscribe(names.reversed())] {
            host.client(1)
            host.request(.subscribe(names))
            host.request(.patternSubscribe(names))
            host.isLinked = false
            host.request(end)
            host.close(1)
            let ended = host.upstreamCommands().flatMap { command -> [ByteBuffer] in
                switch command {
                case .unsubscribe(let names), .patternUnsubscribe(let names): names
                default: []
                }
            }
            #expect(ended.count == 2 * names.count && Set(ended) == Set(names))
            host.isLinked = true
        }
    }

    @Test func `patterns have a limit of their own`() {
        var limits = Limits()
        limits.patterns = 3
        let host = EngineHarness(.embedded, limits: limits)
        host.client(1)
        host.client(2)
        host.request(.patternSubscribe([.text("a*"), .text("b*")]))
        guard case .error(let refusal)? = host.request(.patternSubscribe([.text("a*"), .text("c*")]), from: 2) else {
            Issue.record("it was taken")
            return
        }
        #expect(refusal.code == .busy)
        host.request(.subscribe([.text("a"), .text("b")]), from: 2)
        host.request(.patternUnsubscribe([.text("a*")]))
        guard case .subscriptions? = host.request(.patternSubscribe([.text("a*"), .text("c*")]), from: 2) else {
            Issue.record("there was room")
            return
        }
    }

    @Test func `names stay in their order`() {
        let host = EngineHarness(.embedded)
        host.client(1)
        host.client(2)
        let names = (0..<100).map { ByteBuffer.text("*\($0)*") }
        host.request(.patternSubscribe(names))
        host.request(.patternUnsubscribe((0..<90).map { names[$0] }))
        host.request(.patternSubscribe([names[7], names[95], names[3]]))
        _ = host.take()
        let event = Event(channel: .text("3 7 93 95 99"), payload: .text("p"))
        #expect(host.request(.publish(event), from: 2) == .integer(5))
        #expect(
            host.takePushes() == [93, 95, 99, 7, 3].map { .patternMessage(pattern: names[$0], event) })
        guard case .subscriptions(_, let changes)? = host.request(.patternUnsubscribe([])) else {
            Issue.record("no answer")
            return
        }
        #expect(changes.map(\.channel) == (Array(90..<100) + [7, 3]).map { names[$0] })
        #expect(host.request(.publish(event), from: 2) == .integer(0))
    }

    @Test func `an event of a deferred invalidation is relayed here`() {
        let host = EngineHarness(.redis, server: HarnessServer())
        host.client(1)
        host.client(2)
        _ = host.request(.subscribe([.text("c")]), from: 2)
        _ = host.take()
        let event = Event(channel: .text("c"), payload: .text("p"))
        #expect(host.request(.invalidate(tags: [.text("t")], event: event)) == .simple(.deferred))
        #expect(host.takePushes() == [.message(event)])
    }

    @Test(arguments: [
        ("*", "", true), ("*", "abc", true), ("a*c", "abbc", true), ("a*c", "abbd", false), ("a?c", "abc", true),
        ("a?c", "ac", false), ("[a-c]x", "bx", true), ("[^a-c]x", "bx", false), ("\\*", "*", true),
        ("\\*", "a", false), ("user:*", "user:created", true), ("**a**", "bab", true), ("[", "[", false),
        ("a*b*c", "a1b2b3c", true),
    ])
    func `globs`(pattern: String, text: String, expected: Bool) {
        #expect(globMatches(.text(pattern), .text(text)) == expected)
    }

    @Test func `a pattern cannot take for ever`() {
        let pattern = ByteBuffer(string: String(repeating: "*a", count: 60) + "b")
        #expect(!globMatches(pattern, ByteBuffer(repeating: UInt8(ascii: "a"), count: 256)))
    }
}
