import IPCWire

/// Whether this host's caches may be believed, and since when; the epoch that rules them. The tag table shows all of it to
/// the workers, at once.
struct Attachment {
    private let table: TagTable
    private(set) var state = SyncState.isolated
    /// `nil` while attached.
    private(set) var reason: IsolationReason? = .starting
    /// CLOCK_BOOTTIME in ns at which the present state began.
    private(set) var since: UInt64
    private(set) var epoch: UInt64
    private(set) var epochReason = EpochReason.started
    /// CLOCK_BOOTTIME in ns: everything that was invalidated before is applied. Embedded, it is the heartbeat.
    private(set) var freshAsOf: UInt64 = 0
    /// The epoch went up because of what showed. It need not go up again until this host has been attached.
    private(set) var needsResync = true

    /// Takes the table over: whoever still maps it sees that nobody vouches for it now, and that this is a new epoch.
    init(table: TagTable, now: UInt64) {
        self.table = table
        since = now
        table.setState(.isolated)
        epoch = table.epoch + 1
        table.setEpoch(epoch)
    }

    /// Returns whether the host was attached until now.
    mutating func isolate(_ reason: IsolationReason, now: UInt64) -> Bool {
        guard state == .attached else { return false }
        state = .isolated
        since = now
        table.setState(.isolated)
        self.reason = reason
        return true
    }

    /// A host that is isolated is so for another reason now.
    mutating func explain(_ reason: IsolationReason) { if state == .isolated { self.reason = reason } }

    mutating func raiseEpoch(_ reason: EpochReason) {
        epoch += 1
        epochReason = reason
        table.setEpoch(epoch)
    }

    /// Returns whether the epoch went up: once until the host is attached again.
    mutating func requireResync(_ reason: EpochReason) -> Bool {
        defer { needsResync = true }
        if !needsResync { raiseEpoch(reason) }
        return !needsResync
    }

    /// Whatever was invalidated before `time` is applied.
    mutating func confirm(_ time: UInt64?) {
        freshAsOf = max(freshAsOf, time ?? 0)
        table.setFreshAsOf(freshAsOf)
    }

    /// When trust ends if nothing is confirmed until then; `nil` while isolated.
    var trustEnds: UInt64? { state == .attached ? freshAsOf + TrustTiming.upstreamTrustNanoseconds + 1 : nil }

    /// Whether what was confirmed last is recent enough to be believed.
    func isConfirmed(_ now: UInt64) -> Bool {
        TagTable.isWithin(now, of: freshAsOf, TrustTiming.upstreamTrustNanoseconds)
    }

    /// From here on caches are believed.
    mutating func attach(to incarnation: Incarnation, now: UInt64) {
        state = .attached
        since = now
        reason = nil
        needsResync = false
        table.setFreshAsOf(freshAsOf)
        // Not before: whoever comes after this process must know that it had not attached to this log yet.
        table.setIncarnation(incarnation)
        table.setState(.attached)
    }
}
