import IPCTesting
import NIOCore
import Testing

@testable import IPC

/// One event and one expected action per line. Times are milliseconds.
@Suite struct ConnectionStateMachineTests {
    private let ok = RESPValue.simpleString(ByteBuffer(string: "OK"))
    private let hit = Hit(value: ByteBuffer(string: "v"), asOf: 3, ttlMilliseconds: 9, tags: [], epoch: 1)

    @Test func `greeting, then requests are answered in order`() {
        var trace = Trace()
        #expect(trace.ask("early") == "refuse early notConnected")
        #expect(trace.open() == ["HELLO", "TRACK", "SUBSCRIBE"])
        #expect(trace.ask("early") == "refuse early notConnected")
        #expect(trace.receive(.greeting) == "ready")
        #expect(trace.ask("a") == "send")
        #expect(trace.ask("b", fetch: true) == "send")
        #expect(trace.receive(ok) == "nothing")
        #expect(trace.receive(.confirmation("subscribe")) == "nothing")
        #expect(trace.receive(.confirmation("subscribe")) == "nothing")
        #expect(trace.receive(.integer(7)) == "resume a 7")
        #expect(trace.receive(.fetched(.miss)) == "fetch b miss")
        #expect(trace.receive(.integer(8)) == "close unexpected-reply")
    }

    @Test func `pushes come between`() {
        var trace = Trace.ready()
        #expect(trace.ask("a") == "send")
        #expect(trace.receive(.invalidate(5)) == "push invalidate 5")
        #expect(trace.receive(.heartbeat) == "push heartbeat")
        #expect(trace.receive(ok) == "resume a OK")
    }

    @Test func `tickets end in any order`() {
        var trace = Trace.ready()
        #expect(trace.ask("a", fetch: true) == "send")
        #expect(trace.ask("b", fetch: true) == "send")
        #expect(trace.receive(.wait(1)) == "nothing")
        #expect(trace.receive(.wait(2)) == "nothing")
        #expect(trace.receive(.push(2, .miss)) == "fetch b miss")
        #expect(trace.receive(.push(1, .hit(hit))) == "fetch a hit")
        #expect(trace.receive(.push(1, .miss)) == "close unexpected-reply")
    }

    @Test func `an outcome may overtake its ticket`() {
        var trace = Trace.ready()
        #expect(trace.ask("a") == "send")
        #expect(trace.ask("b", fetch: true) == "send")
        #expect(trace.receive(.push(5, .hit(hit))) == "nothing")
        #expect(trace.receive(.push(6, .miss)) == "close unexpected-reply", "there is one fetch only")
        trace = Trace.ready()
        #expect(trace.ask("a") == "send")
        #expect(trace.ask("b", fetch: true) == "send")
        #expect(trace.receive(.push(5, .hit(hit))) == "nothing")
        #expect(trace.receive(.integer(1)) == "resume a 1")
        #expect(trace.receive(.wait(5)) == "fetch b hit")
        #expect(trace.receive(.push(5, .miss)) == "close unexpected-reply")
    }

    @Test func `an error for a fetch is a miss, for others an answer`() {
        var trace = Trace.ready()
        #expect(trace.ask("a", fetch: true) == "send")
        #expect(trace.ask("b") == "send")
        #expect(trace.receive(.error(ByteBuffer(string: "BUSY no room"))) == "fetch a miss")
        #expect(trace.receive(.error(ByteBuffer(string: "STALE"))) == "resume b STALE")
    }

    @Test func `what can't be read ends the connection, and nobody is forgotten`() {
        var trace = Trace.ready()
        #expect(trace.ask("a", fetch: true) == "send")
        #expect(trace.ask("b", fetch: true) == "send")
        #expect(trace.ask("c") == "send")
        #expect(trace.receive(.wait(1)) == "nothing")
        #expect(trace.receive(.array([.integer(1)])) == "close malformed")
        #expect(trace.close() == ["b", "c", "a"])
        #expect(trace.close() == [])
        #expect(trace.receive(ok) == "nothing", "a late reply is not looked at")
        #expect(trace.ask("d") == "refuse d notConnected")
        #expect(trace.time(99_999) == "nothing")
    }

    @Test func `a ticket that is used already ends the connection`() {
        var trace = Trace.ready()
        #expect(trace.ask("a", fetch: true) == "send")
        #expect(trace.ask("b", fetch: true) == "send")
        #expect(trace.receive(.wait(1)) == "nothing")
        #expect(trace.receive(.wait(1)) == "close malformed")
        #expect(trace.close() == ["b", "a"])
    }

    @Test func `a push of a kind that a later syncd has is passed over`() {
        var trace = Trace.ready()
        #expect(trace.ask("a") == "send")
        #expect(trace.receive(.push([.bulkString(ByteBuffer(string: "later")), .integer(1)])) == "nothing")
        #expect(trace.receive(.integer(7)) == "resume a 7")
        #expect(trace.receive(.push([.integer(1)])) == "close malformed", "it does not even say what it is")
    }

    @Test func `refusals while opening`() {
        var trace = Trace()
        _ = trace.open()
        #expect(trace.receive(.error(ByteBuffer(string: "ERR max number of clients reached"))) == "close refused")
        trace = Trace()
        _ = trace.open()
        #expect(trace.receive(ok) == "close malformed", "something else listens there")
        trace = Trace()
        _ = trace.open()
        #expect(trace.receive(.greeting) == "ready")
        #expect(trace.receive(.error(ByteBuffer(string: "ERR unknown command"))) == "close refused")
        trace = Trace()
        _ = trace.open()
        #expect(trace.receive(.greeting) == "ready")
        #expect(trace.receive(.confirmation("subscribe")) == "close unexpected-reply", "TRACK was asked first")
    }

    @Test func `an unanswered request ends the connection after 500 ms`() {
        var trace = Trace.ready()
        #expect(trace.time(100) == "wait 500")
        #expect(trace.heartbeatAndAsk("a", at: 200) == "send")
        #expect(trace.time(600) == "wait 700")
        #expect(trace.time(700) == "close overdue")
        #expect(trace.close() == ["a"])
    }

    @Test func `an unanswered greeting ends the connection after 500 ms`() {
        var trace = Trace()
        _ = trace.open()
        #expect(trace.time(499) == "wait 500")
        #expect(trace.time(500) == "close overdue")
        #expect(trace.close() == [])
    }

    @Test func `no heartbeat for 500 ms is silence, pushed or in the table`() {
        var trace = Trace.ready()
        #expect(trace.time(400, tableHeartbeat: 350) == "wait 850")
        #expect(trace.time(850, tableHeartbeat: 350) == "close silent")
        trace = Trace.ready()
        trace.now = 300
        #expect(trace.receive(.heartbeat) == "push heartbeat")
        #expect(trace.time(799) == "wait 800")
        #expect(trace.time(800, tableHeartbeat: 801) == "close silent", "a heartbeat from the future is no sign")
    }

    @Test func `without pushed heartbeats, the table shows whether syncd is alive to whoever waits for a ticket`() {
        var trace = Trace.ready()
        trace.machine.setTracking(false, now: 0)
        #expect(trace.time(4900, tableHeartbeat: 4850) == "wait 5350", "a ticket may come before")
        #expect(trace.time(5000) == "wait 5500", "an idle connection needs no sign of life")
        trace.now = 5000
        #expect(trace.ask("a", fetch: true) == "send")
        #expect(trace.receive(.wait(1)) == "nothing")
        #expect(trace.time(5400, tableHeartbeat: 5300) == "wait 5800")
        #expect(trace.time(5800, tableHeartbeat: 5300) == "close silent")
        trace = Trace.ready()
        trace.machine.setTracking(false, now: 0)
        trace.machine.setTracking(true, now: 7_000_000_000)
        #expect(trace.time(7499) == "wait 7500")
        #expect(trace.time(7500) == "close silent")
    }

    @Test func `a waiting fetch has its wait and then 500 ms`() {
        var trace = Trace.ready()
        #expect(trace.ask("a", fetch: true) == "send")
        trace.now = 100
        #expect(trace.receive(.wait(1)) == "nothing")
        for time in stride(from: 200, through: 1500, by: 100) {
            trace.now = time
            #expect(trace.receive(.heartbeat) == "push heartbeat")
            #expect(trace.time(time) == "wait \(min(1600, time + 500))")
        }
        #expect(trace.time(1600) == "close overdue")
    }

    @Test func `what waits is bounded, and writes have room that reads leave`() {
        var settings = Trace.settings
        settings.maximumPending = 3
        settings.maximumPendingReads = 2
        settings.maximumPendingBytes = 100
        var trace = Trace.ready(settings)
        #expect(trace.ask("a", bytes: 60) == "send")
        #expect(trace.ask("b", bytes: 60) == "refuse b backlogFull")
        #expect(trace.ask("b", bytes: 40) == "send")
        #expect(trace.ask("c") == "refuse c backlogFull")
        #expect(trace.ask("c", bytes: 60, urgent: true) == "send")
        #expect(trace.ask("d", urgent: true) == "refuse d backlogFull")
        #expect(trace.receive(ok) == "resume a OK")
        #expect(trace.ask("d", urgent: true) == "send")
    }

    @Test func `tickets are bounded`() {
        var settings = Trace.settings
        settings.maximumTickets = 1
        var trace = Trace.ready(settings)
        #expect(trace.ask("a", fetch: true) == "send")
        #expect(trace.receive(.wait(1)) == "nothing")
        #expect(trace.ask("b", fetch: true) == "refuse b backlogFull")
        #expect(trace.ask("b") == "send")
    }

    @Test func `subscriptions by request`() {
        var trace = Trace.ready()
        #expect(trace.ask("a", kind: .confirmations(2)) == "send")
        #expect(trace.receive(.confirmation("psubscribe")) == "nothing")
        #expect(trace.receive(.confirmation("psubscribe")) == "confirmed a")
        #expect(trace.receive(.confirmation("psubscribe")) == "close unexpected-reply")
    }
}

/// Drives a machine and tells what it does in words.
private struct Trace: ~Copyable {
    static var settings: ConnectionSettings {
        ConnectionSettings(
            clientName: "test", isTracking: true,
            channels: [ByteBuffer(string: "user:created"), ByteBuffer(string: "user:deleted")])
    }

    var machine: ConnectionStateMachine<String>
    var now = 0

    init(_ settings: ConnectionSettings = Trace.settings) { machine = ConnectionStateMachine(settings: settings) }

    static func ready(_ settings: ConnectionSettings = Trace.settings) -> Trace {
        var trace = Trace(settings)
        _ = trace.open()
        _ = trace.receive(.greeting)
        _ = trace.receive(.simpleString(ByteBuffer(string: "OK")))
        for _ in settings.channels { _ = trace.receive(.confirmation("subscribe")) }
        return trace
    }

    private static func nanoseconds(_ milliseconds: Int) -> BootTime { BootTime(UInt64(milliseconds) * 1_000_000) }

    mutating func open() -> [String] {
        machine.opened(now: Self.nanoseconds(now)).map {
            switch $0 {
            case .hello: "HELLO"
            case .track: "TRACK"
            case .subscribe: "SUBSCRIBE"
            default: "?"
            }
        }
    }

    mutating func ask(
        _ waiter: String, fetch: Bool = false, kind: ReplyKind? = nil, bytes: Int = 0, urgent: Bool = false
    ) -> String {
        let kind = kind ?? (fetch ? .fetch(waitNanoseconds: 1_000_000_000) : .reply)
        let cost = RequestCost(bytes: bytes, isUrgent: urgent)
        switch machine.requestMade(kind, cost: cost, waiter: waiter, now: Self.nanoseconds(now)) {
        case .send: return "send"
        case .refuse(let waiter, let failure): return "refuse \(waiter) \(failure)"
        }
    }

    mutating func heartbeatAndAsk(_ waiter: String, at time: Int) -> String {
        now = time
        _ = receive(.heartbeat)
        return ask(waiter)
    }

    mutating func receive(_ value: RESPValue) -> String {
        switch machine.received(value, now: Self.nanoseconds(now)) {
        case .nothing: "nothing"
        case .becomeReady: "ready"
        case .resume(let waiter, .integer(let number)): "resume \(waiter) \(number)"
        case .resume(let waiter, .simpleString(let text)), .resume(let waiter, .error(let text)):
            "resume \(waiter) \(String(buffer: text))"
        case .resume(let waiter, _): "resume \(waiter)"
        case .resumeConfirmed(let waiter): "confirmed \(waiter)"
        case .resumeFetch(let waiter, .hit): "fetch \(waiter) hit"
        case .resumeFetch(let waiter, .lease): "fetch \(waiter) lease"
        case .resumeFetch(let waiter, .miss): "fetch \(waiter) miss"
        case .deliver(.invalidate(let position, _)): "push invalidate \(position)"
        case .deliver(.heartbeat): "push heartbeat"
        case .deliver: "push"
        case .close(let reason): "close \(reason.label)"
        }
    }

    mutating func time(_ milliseconds: Int, tableHeartbeat: Int? = nil) -> String {
        now = milliseconds
        switch machine.timePassed(now: Self.nanoseconds(now), tableHeartbeat: tableHeartbeat.map(Self.nanoseconds)) {
        case .nothing: return "nothing"
        case .wait(let deadline): return "wait \(deadline.number / 1_000_000)"
        case .close(let reason): return "close \(reason.label)"
        }
    }

    mutating func close() -> [String] { machine.closed() }
}

/// Frames as they come from syncd's own encoder.
extension RESPValue {
    fileprivate static var greeting: RESPValue { encoded { Reply.greeting(.scripted()).encode(into: &$0) } }
    fileprivate static var heartbeat: RESPValue {
        encoded {
            Push.heartbeat(
                Heartbeat(epoch: 1, applied: 2, state: .attached, heartbeat: 3, freshAsOf: 4)
            ).encode(into: &$0)
        }
    }
    fileprivate static func fetched(_ outcome: FetchOutcome) -> RESPValue {
        encoded { Reply.fetched(outcome).encode(into: &$0) }
    }
    fileprivate static func wait(_ ticket: UInt64) -> RESPValue {
        encoded { Reply.wait(ticket: ticket).encode(into: &$0) }
    }
    fileprivate static func push(_ ticket: UInt64, _ outcome: FetchOutcome) -> RESPValue {
        encoded { Push.fetched(ticket: ticket, outcome).encode(into: &$0) }
    }
    fileprivate static func invalidate(_ position: LogPosition) -> RESPValue {
        encoded { Push.invalidate(position: position, tags: [ByteBuffer(string: "t")]).encode(into: &$0) }
    }
    fileprivate static func confirmation(_ kind: String) -> RESPValue {
        .push([.bulkString(ByteBuffer(string: kind)), .bulkString(ByteBuffer(string: "channel")), .integer(1)])
    }

    private static func encoded(_ encode: (inout RESPWriter) -> Void) -> RESPValue {
        var writer = RESPWriter(version: .v3)
        encode(&writer)
        var decoder = RESPDecoder(limits: WireLimits())
        decoder.feed(writer.buffer)
        guard let value = try? decoder.next() else {
            Issue.record("syncd's encoder wrote something unreadable")
            return .null
        }
        return value
    }
}
