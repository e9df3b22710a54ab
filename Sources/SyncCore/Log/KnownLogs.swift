import DequeModule
import IPCWire

/// The identity of this host's log, and of other logs that were seen.
struct KnownLogs: Sendable {
    private(set) var current: Incarnation
    /// This process has switched to the server's log: positions of the tail are positions of it.
    private(set) var isOurs = false
    /// The previous log: messages of it may still come.
    private var previous = Incarnation.none
    /// Logs of other deployments whose entries came on our channel, newest last: our log was still there after that.
    private var foreign: Deque<Incarnation> = []
    /// A log whose entry came on our channel. The next probe shows whether ours is still there.
    private(set) var unknown: Incarnation?
    /// The earliest time of the next warning about another deployment's log.
    private var nextForeignWarning: BootTime = 0
    /// The log that this process requested last, and whether the server has named it since.
    private var replacement: (incarnation: Incarnation, isMade: Bool)?
    /// A log whose keys turned out to hold something else. An inspection does not show this, so the log must not pass
    /// another one.
    private(set) var damaged: Incarnation?

    /// Maximum number of known logs of other deployments. Each entry of a further one causes a probe.
    private static let foreignLogs = 8
    private static let betweenForeignWarnings: UInt64 = 60_000_000_000

    init(_ current: Incarnation) { self.current = current }

    func isForeign(_ incarnation: Incarnation) -> Bool { foreign.contains(incarnation) }

    /// Switches to the server's log. Returns whether entries of the previous log may be missing in it.
    mutating func switchTo(_ theirs: Incarnation) -> Bool {
        var isLossy = false
        if theirs != current {
            isLossy = current != .none && !hasMade(theirs)
            previous = current
            current = theirs
        }
        // Findings about other logs concerned the previous log.
        unknown = nil
        foreign.removeAll { $0 == theirs }
        isOurs = true
        return isLossy
    }

    // MARK: Replacements

    /// The log that this process requested last.
    var lastReplacement: Incarnation? { replacement?.incarnation }

    mutating func askedFor(_ incarnation: Incarnation) { replacement = (incarnation, false) }

    /// The server named this log.
    mutating func saw(_ incarnation: Incarnation?) {
        if replacement?.incarnation == incarnation { replacement?.isMade = true }
    }

    /// Whether this process requested this log last, and the server has shown that it exists.
    func hasMade(_ incarnation: Incarnation) -> Bool {
        replacement.map { $0.incarnation == incarnation && $0.isMade } ?? false
    }

    mutating func currentIsDamaged() { damaged = breaks(.damageForgotten) ? nil : current }

    // MARK: Logs of other deployments

    /// Handles an entry of another log on our channel. Returns whether a probe has to clarify: ours was replaced, or
    /// another deployment uses the same channel, as one of an older version does with another database of the server.
    mutating func entryCame(of theirs: Incarnation) -> Bool {
        // A replaced log may still have messages on their way.
        guard isOurs, theirs != previous, !isForeign(theirs) else { return false }
        unknown = theirs
        return true
    }

    /// Our log was still there after an entry of this one had come. A replaced incarnation never comes back, so the
    /// other log had not replaced ours. Returns whether to warn.
    mutating func currentIsThere(after theirs: Incarnation, now: BootTime) -> Bool {
        if unknown == theirs { unknown = nil }
        guard !isForeign(theirs) else { return false }
        foreign.append(theirs)
        if foreign.count > Self.foreignLogs { foreign.removeFirst() }
        guard now >= nextForeignWarning else { return false }
        nextForeignWarning = now + Self.betweenForeignWarnings
        return true
    }
}
