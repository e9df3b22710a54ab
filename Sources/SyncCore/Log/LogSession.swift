import DequeModule
import IPCWire
import NIOCore

/// How much is known of the log behind the command connection. A state owns all data that have a meaning in it only, so
/// that leaving the state drops them.
///
/// After every connect, and after every unexpected finding, the session goes through `inspecting`, possibly `replacing`
/// and `inspecting` again, and `catchingUp` to `following`.
enum LogSession: ~Copyable {
    /// There is no connection. Next: `inspecting`.
    case disconnected
    /// The continuity check has begun. Next: `replacing`, `catchingUp`, `waitingToRetry`.
    case inspecting(Inspecting)
    /// The log is being replaced. Next: `inspecting`, `waitingToRetry`.
    case replacing(Replacing)
    /// The log is the right one, but entries are missing. Next: `following`.
    case catchingUp(CatchingUp)
    /// Everything up to the server's last known position is applied or on its way. Embedded, this is the only state.
    case following(Following)
    /// The server refused. Next: `inspecting`, at the time.
    case waitingToRetry(WaitingToRetry)

    /// Data that were received over the present command connection.
    struct Server: Sendable {
        /// The process at the other end, since it was inspected.
        var identity: ServerIdentity?
        var version = ""
        /// The server's record of the log at the last inspection.
        var rawRecord: ByteBuffer?
        /// The log was replaced over this connection: a server that shows no identity need not be checked again.
        var hasReplaced = false
        /// The log was replaced, and no inspection has passed since.
        var isReplacementUnconfirmed = false
    }

    /// The values that an inspection is compared with. Entries may still be published until its reply arrives.
    struct Expected: Sendable {
        var lastEntry: LogEntry?
        /// The greatest position of any log.
        var floor: LogPosition
    }

    struct Inspecting: Sendable {
        var server: Server
        var id: UpstreamID
        var expected: Expected
    }

    struct Replacing: Sendable {
        var server: Server
        var id: UpstreamID
    }

    struct CatchingUp: Sendable {
        var server: Server
        /// The last position to read.
        var target: LogPosition
        var pages = PageReads()
    }

    struct WaitingToRetry: Sendable {
        var server: Server
        var until: BootTime
    }

    struct Probe: Sendable {
        var id: UpstreamID
        var sentAt: BootTime
        /// The position that was applied when it was sent.
        var applied: LogPosition
        /// A log whose entry came on our channel before the probe.
        var unknown: Incarnation?
    }

    struct Following: Sendable {
        var server: Server
        var pages = PageReads()
        /// The time at which a known position that has not arrived by itself is read from the stream.
        var gapDeadline: BootTime?
        var probe: Probe?
        /// When the next probe is sent.
        var nextProbe: BootTime
        /// The last probe was followed by the long interval: nobody uses the caches, so nothing has to vouch for the table.
        var isIdle = false
        /// Unconfirmed probes: positions that are not applied yet, with the time at which each probe was sent.
        var unconfirmed: Deque<(position: LogPosition, sentAt: BootTime)> = []
    }

    // MARK: Queries

    var isFollowing: Bool {
        switch self {
        case .following: true
        default: false
        }
    }

    /// Whether an inspection is due: it will show any problem.
    var isInspectionDue: Bool {
        switch self {
        case .inspecting: true
        case .replacing: true
        case .waitingToRetry: true
        default: false
        }
    }

    /// The position where catching up ends; `nil` in other states.
    var target: LogPosition? {
        switch self {
        case .catchingUp(let state): state.target
        default: nil
        }
    }

    var isIdle: Bool {
        switch self {
        case .following(let state): state.isIdle
        default: false
        }
    }

    /// When the probe was sent that is not answered; `nil`: there is none.
    var probeSentAt: BootTime? {
        switch self {
        case .following(let state): state.probe?.sentAt
        default: nil
        }
    }

    /// The time of the next action.
    var nextDeadline: BootTime? {
        switch self {
        case .following(let state): state.nextDeadline
        case .waitingToRetry(let state): state.until
        default: nil
        }
    }

    func isRetryDue(_ now: BootTime) -> Bool {
        switch self {
        case .waitingToRetry(let state): state.until <= now
        default: false
        }
    }

    var server: Server? {
        switch self {
        case .disconnected: nil
        case .inspecting(let state): state.server
        case .replacing(let state): state.server
        case .catchingUp(let state): state.server
        case .following(let state): state.server
        case .waitingToRetry(let state): state.server
        }
    }

    /// The purpose of a command of the session.
    enum Question {
        case inspection(Inspecting)
        case replacement, page, probe
    }

    /// The purpose of this command; `nil`: no part waits for its reply any more.
    func question(_ id: UpstreamID) -> Question? {
        switch self {
        case .inspecting(let state) where state.id == id: .inspection(state)
        case .replacing(let state) where state.id == id: .replacement
        case .catchingUp(let state) where state.pages.isNext(id): .page
        case .following(let state) where state.probe?.id == id: .probe
        case .following(let state) where state.pages.isNext(id): .page
        default: nil
        }
    }

    // MARK: Transitions

    mutating func connected(id: UpstreamID, expected: Expected) {
        self = .inspecting(Inspecting(server: Server(), id: id, expected: expected))
    }

    mutating func disconnected() { self = .disconnected }

    /// Returns whether there is a connection for the inspection.
    mutating func inspect(id: UpstreamID, expected: Expected) -> Bool {
        guard let server else { return false }
        self = .inspecting(Inspecting(server: server, id: id, expected: expected))
        return true
    }

    mutating func replace(id: UpstreamID, _ server: Server) { self = .replacing(Replacing(server: server, id: id)) }

    /// The log was replaced: inspects the new one.
    mutating func replaced(id: UpstreamID, expected: Expected) {
        guard var server else { return }
        server.hasReplaced = true
        server.isReplacementUnconfirmed = true
        self = .inspecting(Inspecting(server: server, id: id, expected: expected))
    }

    mutating func wait(until time: BootTime, _ server: Server) {
        self = .waitingToRetry(WaitingToRetry(server: server, until: time))
    }

    mutating func catchUp(to target: LogPosition, _ server: Server) {
        self = .catchingUp(CatchingUp(server: server, target: target))
    }

    mutating func follow(_ server: Server, from now: BootTime) {
        self = .following(Following(server: server, nextProbe: now))
    }

    // MARK: Pages

    /// Modifies the requested pages; `nil` in states without pages.
    mutating func withPages<Result>(_ body: (inout PageReads) -> Result) -> Result? {
        switch consume self {
        case .catchingUp(var state):
            let result = body(&state.pages)
            self = .catchingUp(state)
            return result
        case .following(var state):
            let result = body(&state.pages)
            self = .following(state)
            return result
        case let other:
            self = other
            return nil
        }
    }

    // MARK: Following

    /// Modifies the state in which the log is followed; `nil` in other states.
    mutating func whileFollowing<Result>(_ body: (inout Following) -> Result) -> Result? {
        switch consume self {
        case .following(var state):
            let result = body(&state)
            self = .following(state)
            return result
        case let other:
            self = other
            return nil
        }
    }
}

extension LogSession.Following {
    /// The reply to the outstanding probe has arrived.
    mutating func takeProbe() -> LogSession.Probe? {
        defer { probe = nil }
        return probe
    }

    /// Another answer, to a command that was sent at `sentAt`, has shown as much as a probe does. One that is due is sent
    /// nevertheless: it may have to show more.
    mutating func proved(sentAt: BootTime, now: BootTime, interval: UInt64) {
        if nextProbe > now { nextProbe = max(nextProbe, sentAt + interval) }
    }

    /// A probe that was sent at `sentAt` showed `position`. A probe that is too old to be trusted is dropped.
    mutating func showed(_ position: LogPosition, sentAt: BootTime, now: BootTime) {
        while let first = unconfirmed.first, now > first.sentAt + TrustTiming.upstreamTrustNanoseconds {
            unconfirmed.removeFirst()
        }
        unconfirmed.append((position, sentAt))
    }

    /// Everything up to `applied` is in the table. Returns the time at which the last confirmed probe was sent.
    mutating func confirm(_ applied: LogPosition) -> BootTime? {
        var sentAt: BootTime?
        while let first = unconfirmed.first, first.position <= applied {
            sentAt = first.sentAt
            unconfirmed.removeFirst()
        }
        return sentAt
    }

    /// A position is known to exist that is not applied. An append's reply may overtake the publications before it; a
    /// publication overtakes nothing.
    mutating func expectArrival(by time: BootTime) { gapDeadline = gapDeadline ?? time }

    /// Whether a gap has been open for long enough to be read from the stream.
    mutating func takeDueGap(_ now: BootTime) -> Bool {
        guard let gapDeadline, gapDeadline <= now else { return false }
        self.gapDeadline = nil
        return true
    }

    /// The time of the next action.
    var nextDeadline: BootTime? {
        earlier(probe == nil ? nextProbe : nil, pages.isEmpty ? gapDeadline : nil)
    }
}
