import NIOCore

/// The verdict of the rule on one cached value (docs/consistency.md, "The one rule").
package enum FreshnessVerdict: Sendable, Hashable {
    case fresh
    /// The table must not be trusted at this moment.
    case notTrusted(Distrust)
    /// The entry was stored under another epoch, or belongs to another incarnation of the log.
    case otherLog
    /// The table does not know every invalidation since the entry was read. The number is the first known position.
    case beforeFirstKnownPosition(LogPosition)
    /// The entry was read after a position that this host has not applied, the last one: by a host that is ahead, or in a
    /// log that Redis has lost since.
    case aheadOfApplied(LogPosition)
    /// The entry's time to live is over.
    case expired
    /// A tag was invalidated after the entry was read: that of the slot with this index in the entry's slots, at this
    /// position.
    case invalidated(place: Int, position: LogPosition)

    /// Whether the value may be used. Does not compare the payloads of other verdicts.
    @inline(__always)
    package var isFresh: Bool { if case .fresh = self { true } else { false } }
}

/// The reason why the table must not be trusted.
package enum Distrust: Sendable, Hashable {
    /// syncd is isolated.
    case isolated
    /// syncd's last heartbeat is too old, or in the future.
    case heartbeatTooOld
    /// The last confirmed probe of Redis is too old, or in the future.
    case freshAsOfTooOld
    /// No probe of Redis was confirmed since syncd slept.
    case notAskedSinceSleep
}

/// The state of the table that decides whether it may be trusted, at one moment.
package struct Trust: Sendable {
    package var state: SyncState
    /// CLOCK_BOOTTIME in ns.
    package var heartbeat: BootTime
    /// CLOCK_BOOTTIME in ns.
    package var freshAsOf: BootTime
    /// The minimum of ``freshAsOf``: syncd slept until then.
    package var awakeSince: BootTime = 0
    /// Maximum age of a trusted heartbeat, in ns.
    package var heartbeatWindow = TrustTiming.trustWindowNanoseconds

    package init(state: SyncState, heartbeat: BootTime, freshAsOf: BootTime) {
        self.state = state
        self.heartbeat = heartbeat
        self.freshAsOf = freshAsOf
    }

    /// Loads the state from the table, in the order that the rule needs.
    @inline(__always)
    package init(_ table: TagTable) {
        state = table.state
        heartbeat = table.heartbeat
        freshAsOf = table.freshAsOf
    }

    /// The reason why the table must not be trusted at `now` (CLOCK_BOOTTIME in ns); `nil`: it may.
    @inline(__always)
    package func distrust(at now: BootTime) -> Distrust? {
        guard state == .attached || breaks(.stateIgnored) else { return .isolated }
        guard TagTable.isWithin(now, of: heartbeat, heartbeatWindow) else { return .heartbeatTooOld }
        guard
            TagTable.isWithin(now, of: freshAsOf, TrustTiming.upstreamTrustNanoseconds) || breaks(.freshAsOfIgnored)
        else { return .freshAsOfTooOld }
        return freshAsOf >= awakeSince ? nil : .notAskedSinceSleep
    }
}

/// The one rule: may a cached value be used at this moment? L1 of the workers, both kinds of L2, FILL and EXPLAIN use
/// it. No other code compares an entry with the table.
package enum FreshnessRule {
    /// Judges an entry.
    ///
    /// The trust is loaded first, then the slots and the identity of the log, and the clock is read last. In any other
    /// order, a syncd that resumes between two of these steps would make an old slot look trustworthy.
    ///
    /// - Parameters:
    ///   - trust: loads what vouches for the table.
    ///   - invalidation: loads the slots of the entry's tags, and compares: ``firstInvalidation(_:after:in:)``.
    ///   - objection: what the identity of the log has against the entry.
    ///   - deadline: CLOCK_BOOTTIME in ns at which the entry's time to live ends.
    ///   - clock: CLOCK_BOOTTIME in ns.
    @inline(__always)
    package static func verdict(
        trust: () -> Trust, invalidation: () -> FreshnessVerdict?, objection: () -> FreshnessVerdict?,
        deadline: BootTime, clock: () -> BootTime
    ) -> FreshnessVerdict {
        var now = breaks(.clockFirst) ? clock() : 0
        var found = breaks(.slotsBeforeHeartbeat) ? invalidation() : nil
        mayStop(clock)
        let trust = trust()
        mayStop(clock)
        if !breaks(.slotsBeforeHeartbeat) { found = invalidation() }
        mayStop(clock)
        let objection = objection()
        if !breaks(.clockFirst) { now = clock() }
        if let distrust = trust.distrust(at: now) { return .notTrusted(distrust) }
        if let objection { return objection }
        if now >= deadline { return .expired }
        return found ?? .fresh
    }

    /// The first tag that was invalidated after the entry was read.
    ///
    /// - Parameters:
    ///   - slots: of the entry's tags.
    ///   - asOf: the position that was applied before the entry was read.
    @inline(__always)
    package static func firstInvalidation(
        _ slots: UnsafeBufferPointer<UInt32>, after asOf: LogPosition, in table: TagTable
    ) -> FreshnessVerdict? {
        let asOf = breaks(.slotOffByOne) ? asOf + 1 : asOf
        var place = 0
        for slot in slots {
            let position = table.slot(slot)
            if position > asOf { return .invalidated(place: place, position: position) }
            place += 1
        }
        return nil
    }

    /// The objection of the log's identity to an entry that outlives the epoch.
    ///
    /// - Parameters:
    ///   - incarnation: of the entry.
    ///   - log: the present incarnation.
    @inline(__always)
    package static func objection(
        to incarnation: Incarnation, asOf: LogPosition, log: Incarnation, firstKnownPosition: LogPosition
    ) -> FreshnessVerdict? {
        guard incarnation == log || breaks(.incarnationIgnored) else { return .otherLog }
        let isKnown = asOf >= firstKnownPosition || breaks(.firstKnownPositionIgnored)
        return isKnown ? nil : .beforeFirstKnownPosition(firstKnownPosition)
    }

    /// The place where the simulation may stop a worker in the middle of the rule, when it breaks one.
    @inline(__always)
    private static func mayStop(_ clock: () -> BootTime) {
        if Mutant.active != nil { _ = clock() }
    }
}

extension TagTable {
    /// Judges an entry that was stored under an epoch, as a worker does.
    @inline(__always)
    package func verdict(
        slots: [UInt32], asOf: LogPosition, epoch entryEpoch: Epoch, deadline: BootTime, clock: () -> BootTime
    ) -> FreshnessVerdict {
        FreshnessRule.verdict(
            trust: { Trust(self) },
            invalidation: {
                slots.withUnsafeBufferPointer { FreshnessRule.firstInvalidation($0, after: asOf, in: self) }
            },
            objection: { epoch == entryEpoch || breaks(.epochIgnored) ? nil : .otherLog }, deadline: deadline,
            clock: clock)
    }

    /// The time of the verdict, if it is ``FreshnessVerdict/fresh``. For the hits of L1: here, in the module of the rule,
    /// the verdict becomes a few comparisons.
    package func timeIfFresh(
        slots: [UInt32], asOf: LogPosition, epoch: Epoch, deadline: BootTime, clock: () -> BootTime
    ) -> BootTime? {
        var time: BootTime = 0
        let verdict = verdict(slots: slots, asOf: asOf, epoch: epoch, deadline: deadline) {
            time = clock()
            return time
        }
        return verdict.isFresh ? time : nil
    }

    /// The slots of an entry: those of its declared tags, of `=` and its key, and of `*`, in this order.
    package func slots(key: ByteBuffer, tags: [ByteBuffer]) -> [UInt32] {
        var slots: [UInt32] = []
        slots.reserveCapacity(tags.count + 2)
        for tag in tags { slots.append(slotIndex(TagHash.tag(tag))) }
        slots.append(slotIndex(TagHash.key(key)))
        slots.append(slotIndex(TagHash.everything))
        return slots
    }
}
