import DequeModule
import IPCWire

/// Which log is this host's, and what is known of others.
struct KnownLogs: Sendable {
    private(set) var current: Incarnation
    /// This process has taken the server's log for its own: positions of the tail are positions of it.
    private(set) var isOurs = false
    /// The log before the present one: messages of it may still come.
    private var previous = Incarnation.none
    /// Logs of other deployments whose entries came on our channel, the last ones: our log was still there after that.
    private var foreign: Deque<Incarnation> = []
    /// A log whose entry came on our channel. The next probe that is sent shows whether ours is still there.
    private(set) var unknown: Incarnation?
    /// When another deployment's log may be warned of again.
    private var nextForeignWarning: UInt64 = 0
    /// The log that this process has last asked the server to make, and whether the server has named it since.
    private var replacement: (incarnation: Incarnation, isMade: Bool)?
    /// A log whose keys turned out to hold something else: no inspection shows that, so it must not pass another.
    private(set) var damaged: Incarnation?

    /// Logs of other deployments that are known at once. Each entry of a further one asks for a probe.
    private static let foreignLogs = 8
    private static let betweenForeignWarnings: UInt64 = 60_000_000_000

    init(_ current: Incarnation) { self.current = current }

    func isForeign(_ incarnation: Incarnation) -> Bool { foreign.contains(incarnation) }

    /// Makes the server's log ours. Returns whether entries of the log before may be missing in it.
    mutating func switchTo(_ theirs: Incarnation) -> Bool {
        var isLossy = false
        if theirs != current {
            isLossy = current != .none && !hasMade(theirs)
            previous = current
            current = theirs
        }
        // Whose log a message was from was asked of the log before.
        unknown = nil
        foreign.removeAll { $0 == theirs }
        isOurs = true
        return isLossy
    }

    // MARK: Replacements

    /// The log that this process has last asked the server to make.
    var lastReplacement: Incarnation? { replacement?.incarnation }

    mutating func askedFor(_ incarnation: Incarnation) { replacement = (incarnation, false) }

    /// The server named this log.
    mutating func saw(_ incarnation: Incarnation?) {
        if replacement?.incarnation == incarnation { replacement?.isMade = true }
    }

    /// Whether this process asked for this log last, and the server has shown that it made it.
    func hasMade(_ incarnation: Incarnation) -> Bool {
        replacement.map { $0.incarnation == incarnation && $0.isMade } ?? false
    }

    mutating func currentIsDamaged() { damaged = breaks(.damageForgotten) ? nil : current }

    // MARK: Logs of other deployments

    /// An entry of another log came on our channel. Returns whether a probe has to show what it is: ours was replaced, or
    /// another deployment uses the same channel, as one of an older version does with another database of the server.
    mutating func entryCame(of theirs: Incarnation) -> Bool {
        // A log that was replaced may still have messages on their way.
        guard isOurs, theirs != previous, !isForeign(theirs) else { return false }
        unknown = theirs
        return true
    }

    /// Our log was still there after an entry of this one had come. An incarnation that was replaced never comes back, so
    /// the other one was not in its place. Returns whether to warn.
    mutating func currentIsThere(after theirs: Incarnation, now: UInt64) -> Bool {
        if unknown == theirs { unknown = nil }
        guard !isForeign(theirs) else { return false }
        foreign.append(theirs)
        if foreign.count > Self.foreignLogs { foreign.removeFirst() }
        guard now >= nextForeignWarning else { return false }
        nextForeignWarning = now + Self.betweenForeignWarnings
        return true
    }
}
