import IPCWire

/// Whether this host's caches may be trusted, since when, and in which epoch. The tag table shows all of it to the
/// workers, at once.
struct Attachment {
    private let table: TagTable
    private(set) var state = SyncState.isolated
    /// The reason of the isolation; `nil` while attached.
    private(set) var reason: IsolationReason? = .starting
    /// The reason why there is no connection: nothing can arrive in time. `nil` while there is one.
    private(set) var loss: IsolationReason?
    /// CLOCK_BOOTTIME in ns at which the present state began.
    private(set) var since: BootTime
    private(set) var epoch: Epoch
    private(set) var epochReason = EpochReason.started
    /// CLOCK_BOOTTIME in ns: everything that was invalidated before this time is applied. Embedded, it is the
    /// heartbeat.
    private(set) var freshAsOf: BootTime = 0
    /// The epoch was raised for an unexpected finding. It need not be raised again until this host has been attached.
    private(set) var needsResync = true

    /// Takes over the table: workers that still map it see the isolated state and a new epoch.
    init(table: TagTable, now: BootTime) {
        self.table = table
        since = now
        table.setState(.isolated)
        epoch = table.epoch + 1
        table.setEpoch(epoch)
    }

    /// The connection is lost, for this reason. The host stays attached for now.
    mutating func disconnected(_ reason: String) {
        loss = .disconnected(reason)
        explain(.disconnected(reason))
    }

    mutating func connected() { loss = nil }

    /// Returns whether the host was attached before.
    mutating func isolate(_ reason: IsolationReason, now: BootTime) -> Bool {
        guard state == .attached else { return false }
        state = .isolated
        since = now
        table.setState(.isolated)
        self.reason = reason
        return true
    }

    /// Changes the reason of an isolated host.
    mutating func explain(_ reason: IsolationReason) { if state == .isolated { self.reason = reason } }

    mutating func raiseEpoch(_ reason: EpochReason) {
        epoch += 1
        epochReason = reason
        table.setEpoch(epoch)
    }

    /// Returns whether the epoch was raised: once until the host is attached again.
    mutating func requireResync(_ reason: EpochReason) -> Bool {
        defer { needsResync = true }
        if !needsResync { raiseEpoch(reason) }
        return !needsResync
    }

    /// Everything that was invalidated before `time` is applied.
    mutating func confirm(_ time: BootTime) {
        freshAsOf = max(freshAsOf, time)
        table.setFreshAsOf(freshAsOf)
    }

    /// The time when this host is isolated unless there is a further confirmation; `nil` while isolated.
    ///
    /// - Parameter expectedSince: since when one is expected.
    func trustEnds(expectedSince: BootTime) -> BootTime? {
        state == .attached ? max(freshAsOf, expectedSince) + TrustTiming.upstreamTrustNanoseconds + 1 : nil
    }

    /// Whether the last confirmation is recent enough to be trusted.
    func isConfirmed(_ now: BootTime) -> Bool {
        TagTable.isWithin(now, of: freshAsOf, TrustTiming.upstreamTrustNanoseconds)
    }

    /// From here on, caches are trusted.
    mutating func attach(to incarnation: Incarnation, now: BootTime) {
        state = .attached
        since = now
        reason = nil
        needsResync = false
        table.setFreshAsOf(freshAsOf)
        // Stored only now: the next process must know that this one had not attached to the log before.
        table.setIncarnation(incarnation)
        table.setState(.attached)
    }
}
