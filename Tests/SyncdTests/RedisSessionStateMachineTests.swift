import EngineHosting
import NIOCore
import Testing

/// A time, and some ns more or less.
private func at(_ seconds: Int64, _ more: Int64 = 0) -> NIODeadline {
    .uptimeNanoseconds(0) + .seconds(seconds) + .nanoseconds(more)
}

/// The machine that keeps a connection to Redis up: a table of every event in every state, and traces of time.
@Suite struct RedisSessionStateMachineTests {
    /// The states, each as a machine that is in it at 1 s.
    enum Place: String, CaseIterable {
        case stopped, connecting, handshaking, loggingIn, ready, closing, waiting

        var machine: RedisSessionStateMachine {
            var machine = RedisSessionStateMachine()
            var random = Middle()
            if self == .stopped { return machine }
            _ = machine.start()
            if self == .connecting { return machine }
            if self == .waiting {
                _ = machine.closed(isDenied: false, now: at(1), random: &random)
                return machine
            }
            _ = machine.connected(usesTLS: self == .handshaking, now: at(1))
            if self == .handshaking || self == .loggingIn { return machine }
            _ = machine.loggedIn(now: at(1))
            if self == .closing { _ = machine.close() }
            return machine
        }
    }

    enum Event: String, CaseIterable {
        case start, connected, handshakeCompleted, loggedIn, close, closed, hurry, wakeLater, stop
    }

    /// Takes the middle of every range.
    private struct Middle: RandomNumberGenerator {
        mutating func next() -> UInt64 { 1 << 63 }
    }

    private static func text(_ state: RedisSessionStateMachine.State) -> String {
        "\(state)".prefix { $0 != "(" }.description
    }

    /// The outcome of an event: the answer, and the next state.
    private static func outcome(_ event: Event, in place: Place) -> String {
        var machine = place.machine
        var random = Middle()
        let later = at(10)
        let answer =
            switch event {
            case .start: machine.start() ? "connect" : "-"
            case .connected: machine.connected(usesTLS: false, now: later) ? "logIn" : "-"
            case .handshakeCompleted:
                {
                    machine.handshakeCompleted()
                    return "-"
                }()
            case .loggedIn: machine.loggedIn(now: later) ? "use" : "-"
            case .close: machine.close() ? "close" : "-"
            case .closed:
                switch machine.closed(isDenied: false, now: later, random: &random) {
                case .none: "-"
                case .wait(_, let wasReady): wasReady ? "lost" : "failed"
                }
            case .hurry: machine.hurry() ? "connect" : "-"
            case .wakeLater:
                switch machine.wake(now: later) {
                case .none: "-"
                case .connect: "connect"
                case .close(let timeout): "close(\(timeout))"
                }
            case .stop: machine.stop() ? "close" : "-"
            }
        return "\(answer) \(text(machine.state))"
    }

    private static let table: [Event: [Place: String]] = [
        .start: [
            .stopped: "connect connecting", .connecting: "- connecting", .handshaking: "- handshaking",
            .loggingIn: "- loggingIn", .ready: "- ready", .closing: "- closing", .waiting: "- waiting",
        ],
        .connected: [
            .stopped: "- stopped", .connecting: "logIn loggingIn", .handshaking: "- handshaking",
            .loggingIn: "- loggingIn", .ready: "- ready", .closing: "- closing", .waiting: "- waiting",
        ],
        .handshakeCompleted: [
            .stopped: "- stopped", .connecting: "- connecting", .handshaking: "- loggingIn",
            .loggingIn: "- loggingIn", .ready: "- ready", .closing: "- closing", .waiting: "- waiting",
        ],
        .loggedIn: [
            .stopped: "- stopped", .connecting: "- connecting", .handshaking: "- handshaking",
            .loggingIn: "use ready", .ready: "- ready", .closing: "- closing", .waiting: "- waiting",
        ],
        .close: [
            .stopped: "- stopped", .connecting: "close closing", .handshaking: "close closing",
            .loggingIn: "close closing", .ready: "close closing", .closing: "- closing", .waiting: "- waiting",
        ],
        .closed: [
            .stopped: "- stopped", .connecting: "failed waiting", .handshaking: "failed waiting",
            .loggingIn: "failed waiting", .ready: "lost waiting", .closing: "lost waiting", .waiting: "- waiting",
        ],
        .hurry: [
            .stopped: "- stopped", .connecting: "- connecting", .handshaking: "- handshaking",
            .loggingIn: "- loggingIn", .ready: "- ready", .closing: "- closing", .waiting: "connect connecting",
        ],
        .wakeLater: [
            .stopped: "- stopped", .connecting: "- connecting", .handshaking: "close(handshake) closing",
            .loggingIn: "close(login) closing", .ready: "- ready", .closing: "- closing",
            .waiting: "connect connecting",
        ],
        .stop: [
            .stopped: "- stopped", .connecting: "close stopped", .handshaking: "close stopped",
            .loggingIn: "close stopped", .ready: "close stopped", .closing: "close stopped", .waiting: "- stopped",
        ],
    ]

    @Test(arguments: Event.allCases, Place.allCases)
    func `every event in every state`(event: Event, place: Place) throws {
        let expected = try #require(Self.table[event]?[place], "the table has every pair")
        #expect(Self.outcome(event, in: place) == expected)
    }

    // MARK: Time

    /// How long the session waits after each of `count` failures, in ms.
    private func waits(_ count: Int, isDenied: Bool = false) -> [Int64] {
        var (machine, random, now) = (RedisSessionStateMachine(), Middle(), at(1))
        _ = machine.start()
        return (0..<count).map { _ in
            _ = machine.closed(isDenied: isDenied, now: now, random: &random)
            let deadline = machine.nextDeadline ?? at(0)
            defer {
                now = deadline
                _ = machine.wake(now: now)
            }
            return (deadline - now).nanoseconds / 1_000_000
        }
    }

    @Test func `the pauses grow from 50 ms to 1 s with a jitter of one half`() {
        #expect(waits(7) == [37, 75, 150, 300, 600, 750, 750])
    }

    @Test func `a session that is refused waits about 5 s`() { #expect(waits(2, isDenied: true) == [3750, 3750]) }

    @Test func `TLS and login have 2 s together`() {
        var machine = Place.handshaking.machine
        #expect(machine.nextDeadline == at(3))
        machine.handshakeCompleted()
        #expect(machine.nextDeadline == at(3))
        let (early, due) = (machine.wake(now: at(3, -1)), machine.wake(now: at(3)))
        #expect(early == .none)
        #expect(due == .close(.login))
    }

    @Test func `after a good life the next try comes soon`() {
        var (machine, random) = (Place.ready.machine, Middle())
        let action = machine.closed(isDenied: false, now: at(3), random: &random)
        #expect(action == .wait(hadGoodLife: true, wasReady: true))
        #expect(machine.nextDeadline == at(3, 37_500_000))
    }

    @Test func `a server that drops every connection is not hurried to twice`() {
        var (machine, random) = (Place.waiting.machine, Middle())
        let isHurried = machine.hurry()
        #expect(isHurried)
        _ = machine.connected(usesTLS: false, now: at(2))
        _ = machine.loggedIn(now: at(2))
        _ = machine.closed(isDenied: false, now: at(2, 1), random: &random)
        let isHurriedAgain = machine.hurry()
        #expect(!isHurriedAgain)
    }

    @Test func `a session that was refused does not hurry`() {
        var (machine, random) = (Place.connecting.machine, Middle())
        _ = machine.closed(isDenied: true, now: at(1), random: &random)
        let isHurriedAgain = machine.hurry()
        #expect(!isHurriedAgain)
    }
}
