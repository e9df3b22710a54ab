import IPC
import NIOCore

/// Keeps one connection to Redis up: connects, logs in, and after an end connects anew. Pure: time and chance come in, what
/// is to be done comes out. syncd's `RedisLink` performs it, and so does the simulator.
///
/// After an end the next try comes 50 ms later at first and up to 1 s later, jittered, so that all hosts do not come back
/// at the same instant. A server that refuses who syncd is, or what it may do, is asked every 5 s: a wrong password stays
/// wrong for a while, and servers note who tries too often.
package struct RedisSessionStateMachine: Sendable {
    package enum State: Sendable, Hashable {
        /// Not begun, or ended for good.
        case stopped
        /// The server is looked for and connected to. That ends by itself.
        case connecting
        /// TLS proves who the server is.
        case handshaking(until: NIODeadline)
        /// User, database, name; the last answer is that of INFO.
        case loggingIn(until: NIODeadline)
        case ready(since: NIODeadline)
        /// Closed from this side; its end was not told yet.
        case closing(readySince: NIODeadline?)
        /// A pause between two tries.
        case waiting(until: NIODeadline)
    }

    package private(set) var state = State.stopped
    private var backoff = Backoff()
    private var mayHurry = true
    private var isDenied = false

    /// Maximum time of TLS and login together, once the server is connected.
    static let setup = TimeAmount.seconds(2)
    static let deniedDelay: UInt64 = 5_000_000_000
    /// A connection that lived as long as this was a good one: the next try comes soon.
    static let goodLife = TimeAmount.seconds(1)

    package init() {}

    package var isReady: Bool { if case .ready = state { true } else { false } }

    /// When ``wake(now:)`` has something to do.
    package var nextDeadline: NIODeadline? {
        switch state {
        case .handshaking(let time), .loggingIn(let time), .waiting(let time): time
        case .stopped, .connecting, .ready, .closing: nil
        }
    }

    /// Begins. Returns whether to connect.
    package mutating func start() -> Bool {
        guard case .stopped = state else { return false }
        state = .connecting
        return true
    }

    /// Ends for good. Returns whether there is a connection to close, or a search.
    package mutating func stop() -> Bool {
        defer { state = .stopped }
        switch state {
        case .stopped, .waiting: return false
        case .connecting, .handshaking, .loggingIn, .ready, .closing: return true
        }
    }

    /// The server is connected. Returns whether to log in: commands leave once TLS has proved who it is.
    package mutating func connected(usesTLS: Bool, now: NIODeadline) -> Bool {
        guard case .connecting = state else { return false }
        let until = now + Self.setup
        state = usesTLS ? .handshaking(until: until) : .loggingIn(until: until)
        return true
    }

    package mutating func handshakeCompleted() {
        if case .handshaking(let until) = state { state = .loggingIn(until: until) }
    }

    /// The server has let syncd in. Returns whether commands may be sent from now on.
    package mutating func loggedIn(now: NIODeadline) -> Bool {
        guard case .loggingIn = state else { return false }
        state = .ready(since: now)
        return true
    }

    /// Somebody wants the connection closed. Returns whether there is one.
    package mutating func close() -> Bool {
        switch state {
        case .connecting, .handshaking, .loggingIn: state = .closing(readySince: nil)
        case .ready(let since): state = .closing(readySince: since)
        case .stopped, .closing, .waiting: return false
        }
        return true
    }

    package enum ClosedAction: Sendable, Hashable {
        /// The session was stopped, or its loss is known already.
        case none
        /// Tell of the loss; the next try is made at ``nextDeadline``. `hadGoodLife`: what was said of earlier losses may
        /// be said again. `wasReady`: commands could be sent.
        case wait(hadGoodLife: Bool, wasReady: Bool)
    }

    /// A connection, or the attempt to make one, has ended. `isDenied`: the settings are at fault.
    package mutating func closed(
        isDenied: Bool, now: NIODeadline, random: inout some RandomNumberGenerator
    ) -> ClosedAction {
        let readySince: NIODeadline?
        switch state {
        case .stopped, .waiting: return .none
        case .connecting, .handshaking, .loggingIn: readySince = nil
        case .ready(let since): readySince = since
        case .closing(let since): readySince = since
        }
        let hadGoodLife = readySince.map { now - $0 > Self.goodLife } ?? false
        if hadGoodLife {
            backoff.reset()
            mayHurry = true
        }
        self.isDenied = isDenied
        let denied = Self.deniedDelay / 2...Self.deniedDelay
        let wait = backoff.next { UInt64.random(in: isDenied ? denied : $0, using: &random) }
        state = .waiting(until: now + .nanoseconds(Int64(wait)))
        return .wait(hadGoodLife: hadGoodLife, wasReady: readySince != nil)
    }

    /// Another connection has just found the server. Returns whether to connect now, without the rest of the pause. Once,
    /// until a connection has lived for a while: a server that drops all of them would else be asked without any pause.
    /// A session that was refused waits on.
    package mutating func hurry() -> Bool {
        guard case .waiting = state, mayHurry, !isDenied else { return false }
        mayHurry = false
        state = .connecting
        return true
    }

    package enum WakeAction: Sendable, Hashable {
        case none
        case connect
        case close(Timeout)
    }

    package enum Timeout: Sendable, Hashable {
        case handshake
        case login
    }

    /// Does what is due.
    package mutating func wake(now: NIODeadline) -> WakeAction {
        guard let deadline = nextDeadline, deadline <= now else { return .none }
        switch state {
        case .waiting:
            state = .connecting
            return .connect
        case .handshaking:
            state = .closing(readySince: nil)
            return .close(.handshake)
        case .loggingIn:
            state = .closing(readySince: nil)
            return .close(.login)
        case .stopped, .connecting, .ready, .closing: return .none
        }
    }
}
