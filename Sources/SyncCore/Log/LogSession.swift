import DequeModule
import IPCWire
import NIOCore

/// How far the server behind the command connection is known. A state owns everything that means something in it only, so
/// that leaving the state forgets it.
///
/// After every connect, and whenever something unexpected shows, the session goes through `inspecting`, perhaps
/// `replacing` and `inspecting` again, and `catchingUp` to `following`.
enum LogSession: ~Copyable {
    /// Nothing can be asked. Next: `inspecting`.
    case disconnected
    /// Nothing is proven. Next: `replacing`, `catchingUp`, `waitingToRetry`.
    case inspecting(Inspecting)
    /// The log is being replaced. Next: `inspecting`, `waitingToRetry`.
    case replacing(Replacing)
    /// The log is the right one, and entries are missing. Next: `following`.
    case catchingUp(CatchingUp)
    /// Everything up to the server's last known position is applied or on its way. Embedded, it is always so.
    case following(Following)
    /// The server refused. Next: `inspecting`, at the time.
    case waitingToRetry(WaitingToRetry)

    /// What was learnt over the present command connection.
    struct Server: Sendable {
        /// The process at the other end, since it was inspected.
        var identity: ServerIdentity?
        var version = ""
        /// The server's record of the log at the last inspection.
        var rawRecord: ByteBuffer?
        /// The log was replaced over this connection: a server that shows no identity need not be asked again.
        var hasReplaced = false
        /// The log was replaced, and no inspection has found it good since.
        var isReplacementUnproven = false
    }

    /// What an inspection is compared with. Entries may still be published until its reply is here.
    struct Expected: Sendable {
        var lastEntry: LogEntry?
        /// The greatest position of any log.
        var floor: UInt64
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
        /// The position up to which entries are read.
        var target: UInt64
        var pages = PageReads()
    }

    struct WaitingToRetry: Sendable {
        var server: Server
        var until: UInt64
    }

    struct Probe: Sendable {
        var id: UpstreamID
        var sentAt: UInt64
        /// The position that was applied when it was sent.
        var applied: UInt64
        /// A log whose entry came on our channel before.
        var unknown: Incarnation?
    }

    struct Following: Sendable {
        var server: Server
        var pages = PageReads()
        /// When a known position that has not arrived by itself is read from the stream.
        var gapDeadline: UInt64?
        var probe: Probe?
        /// When the next probe is sent.
        var nextProbe: UInt64
        /// Positions that probes showed and that are not applied, with the time at which each probe was sent.
        var unconfirmed: Deque<(position: UInt64, sentAt: UInt64)> = []
    }

    // MARK: What it knows

    var isFollowing: Bool {
        switch self {
        case .following: true
        default: false
        }
    }

    /// Whether the server is going to be inspected: whatever is wrong shows then.
    var isInspectionDue: Bool {
        switch self {
        case .inspecting: true
        case .replacing: true
        case .waitingToRetry: true
        default: false
        }
    }

    /// Where catching up ends; `nil` in other states.
    var target: UInt64? {
        switch self {
        case .catchingUp(let state): state.target
        default: nil
        }
    }

    /// When there is something to do next.
    var nextDeadline: UInt64? {
        switch self {
        case .following(let state): state.nextDeadline
        case .waitingToRetry(let state): state.until
        default: nil
        }
    }

    func isRetryDue(_ now: UInt64) -> Bool {
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

    /// What a command of the session's own asked for.
    enum Question {
        case inspection(Inspecting)
        case replacement, page, probe
    }

    /// What this command asked for; `nil`: nobody waits for its reply any more.
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

    /// Returns whether there is a connection to inspect over.
    mutating func inspect(id: UpstreamID, expected: Expected) -> Bool {
        guard let server else { return false }
        self = .inspecting(Inspecting(server: server, id: id, expected: expected))
        return true
    }

    mutating func replace(id: UpstreamID, _ server: Server) { self = .replacing(Replacing(server: server, id: id)) }

    /// The log was replaced: inspects what there is now.
    mutating func replaced(id: UpstreamID, expected: Expected) {
        guard var server else { return }
        server.hasReplaced = true
        server.isReplacementUnproven = true
        self = .inspecting(Inspecting(server: server, id: id, expected: expected))
    }

    mutating func wait(until time: UInt64, _ server: Server) {
        self = .waitingToRetry(WaitingToRetry(server: server, until: time))
    }

    mutating func catchUp(to target: UInt64, _ server: Server) {
        self = .catchingUp(CatchingUp(server: server, target: target))
    }

    mutating func follow(_ server: Server, from now: UInt64) {
        self = .following(Following(server: server, nextProbe: now))
    }

    // MARK: Pages

    /// Works on the pages that are asked for; `nil` in states without such.
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

    /// Works on the state in which the log is followed; `nil` in other states.
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
    /// The reply to the outstanding probe is here.
    mutating func takeProbe() -> LogSession.Probe? {
        defer { probe = nil }
        return probe
    }

    /// A probe that was sent at `sentAt` showed `position`. Nobody would believe those of long ago any more.
    mutating func showed(_ position: UInt64, sentAt: UInt64, now: UInt64) {
        while let first = unconfirmed.first, now > first.sentAt + TrustTiming.upstreamTrustNanoseconds {
            unconfirmed.removeFirst()
        }
        unconfirmed.append((position, sentAt))
    }

    /// Everything up to `applied` is in the table. Returns when the last probe was sent that this confirms.
    mutating func confirm(_ applied: UInt64) -> UInt64? {
        var sentAt: UInt64?
        while let first = unconfirmed.first, first.position <= applied {
            sentAt = first.sentAt
            unconfirmed.removeFirst()
        }
        return sentAt
    }

    /// A position is known to exist that is not applied. An append's reply may overtake the publications before it; a
    /// publication overtakes nothing.
    mutating func expectArrival(by time: UInt64) { gapDeadline = gapDeadline ?? time }

    /// Whether a gap has been open for long enough to be read from the stream.
    mutating func takeDueGap(_ now: UInt64) -> Bool {
        guard let gapDeadline, gapDeadline <= now else { return false }
        self.gapDeadline = nil
        return true
    }

    /// When there is something to do next.
    var nextDeadline: UInt64? {
        earlier(probe == nil ? nextProbe : nil, pages.isEmpty ? gapDeadline : nil)
    }
}
