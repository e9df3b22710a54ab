import DequeModule
import IPCWire
import NIOCore

/// One connection to syncd, from the moment it is open until it is closed.
///
/// Replies come in the order of the requests, so a queue of the requests tells which one a reply answers; pushes may
/// come between. A fetch that has to wait is answered with a ticket, leaves the queue, and ends with the push that
/// names the ticket. Every request has a deadline. When one passes, or no heartbeat has come for 500 ms, the connection
/// is given up as a whole with everything that waits: a single late reply cannot be skipped, and a late reply must
/// never be taken for the reply to another request.
enum ConnectionStateMachine<Waiter>: ~Copyable {
    /// Nothing was sent. Can transition to `greeting` or `closed`.
    case idle(ConnectionSettings)
    /// The opening was sent, `HELLO` is not answered. Can transition to `ready` or `closed`.
    case greeting(Exchange)
    /// Requests are accepted. Can transition to `closed`.
    case ready(Exchange)
    /// Requests are refused and further input is ignored.
    case closed

    init(settings: ConnectionSettings) { self = .idle(settings) }

    /// The connection is open. Returns the first requests.
    mutating func opened(now: BootTime) -> [Request] {
        switch consume self {
        case .idle(let settings):
            self = .greeting(Exchange(settings: settings, now: now))
            return settings.opening
        case .greeting(let exchange):
            self = .greeting(exchange)
            return []
        case .ready(let exchange):
            self = .ready(exchange)
            return []
        case .closed:
            self = .closed
            return []
        }
    }

    enum RequestAction {
        case send
        case refuse(Waiter, RequestFailure)
    }

    /// A request is to be sent.
    mutating func requestMade(_ kind: ReplyKind, cost: RequestCost, waiter: Waiter, now: BootTime) -> RequestAction {
        switch consume self {
        case .idle(let settings):
            self = .idle(settings)
            return .refuse(waiter, .notConnected)
        case .greeting(let exchange):
            self = .greeting(exchange)
            return .refuse(waiter, .notConnected)
        case .ready(var exchange):
            let hasRoom = exchange.hasRoom(for: kind, cost: cost)
            if hasRoom { exchange.append(.caller(kind, waiter), bytes: cost.bytes, now: now) }
            self = .ready(exchange)
            return hasRoom ? .send : .refuse(waiter, .backlogFull)
        case .closed:
            self = .closed
            return .refuse(waiter, .notConnected)
        }
    }

    enum ReceiveAction {
        case nothing
        /// syncd has answered the greeting: requests may be made.
        case becomeReady(Greeting)
        case resume(Waiter, RESPValue)
        case resumeConfirmed(Waiter)
        case resumeFetch(Waiter, FetchOutcome)
        case deliver(Push)
        case close(CloseReason)
    }

    /// A whole frame has arrived.
    mutating func received(_ value: RESPValue, now: BootTime) -> ReceiveAction {
        switch consume self {
        case .idle(let settings):
            self = .idle(settings)
            return .close(.unexpectedReply)
        case .greeting(var exchange):
            let action = exchange.received(value, now: now)
            if case .becomeReady = action { self = .ready(exchange) } else { self = .greeting(exchange) }
            return action
        case .ready(var exchange):
            let action = exchange.received(value, now: now)
            self = .ready(exchange)
            return action
        case .closed:
            self = .closed
            return .nothing
        }
    }

    /// Heartbeats are pushed from now on, or not any more.
    mutating func setTracking(_ isOn: Bool, now: BootTime) {
        switch consume self {
        case .idle(let settings): self = .idle(settings)
        case .greeting(var exchange):
            exchange.setTracking(isOn, now: now)
            self = .greeting(exchange)
        case .ready(var exchange):
            exchange.setTracking(isOn, now: now)
            self = .ready(exchange)
        case .closed: self = .closed
        }
    }

    enum DeadlineAction: Equatable {
        /// Nothing is overdue before this time, as far as is known now.
        case wait(until: BootTime)
        case close(CloseReason)
        case nothing
    }

    /// Time has passed. `tableHeartbeat` is the heartbeat in the mapped table, `nil` if there is none.
    mutating func timePassed(now: BootTime, tableHeartbeat: BootTime?) -> DeadlineAction {
        switch consume self {
        case .idle(let settings):
            self = .idle(settings)
            return .nothing
        case .greeting(let exchange):
            let action = exchange.check(now: now, tableHeartbeat: tableHeartbeat)
            self = .greeting(exchange)
            return action
        case .ready(let exchange):
            let action = exchange.check(now: now, tableHeartbeat: tableHeartbeat)
            self = .ready(exchange)
            return action
        case .closed:
            self = .closed
            return .nothing
        }
    }

    /// The connection is gone, or is being given up. Returns every waiter: none will be answered.
    mutating func closed() -> [Waiter] {
        switch consume self {
        case .idle:
            self = .closed
            return []
        case .greeting(let exchange):
            self = .closed
            return exchange.waiters
        case .ready(let exchange):
            self = .closed
            return exchange.waiters
        case .closed:
            self = .closed
            return []
        }
    }
}
