/// The figures of one period: of a day, or of the whole time.
struct PeriodFigures: Sendable, Hashable {
    /// Times in ns.
    var attached: UInt64 = 0
    var idle: UInt64 = 0
    var isolated: [ReportedReason: UInt64] = [:]
    /// How often an isolation began, or got this reason.
    var isolations: [ReportedReason: UInt64] = [:]
    var coldStarts: [ColdStart: UInt64] = [:]
    /// From an append of this host to the table, in µs.
    var visibleHere = LatencyDistribution()
    /// From an append of another host to the table of this one, in ms, by the wall clocks of both.
    var visibleFromOthers = LatencyDistribution()
    var audits = AuditCounts()
    var mostPending: UInt64 = 0
    /// The longest time in ns from the moment when an invalidation became pending until all were in the log.
    var longestWait: UInt64 = 0
    /// Writes that a change feed showed and no invalidation covered; `nil`: there was no feed.
    var uncovered: UInt64?

    var isolatedTime: UInt64 { isolated.values.reduce(0) { $0.saturatingAdd($1) } }
    var time: UInt64 { attached.saturatingAdd(idle).saturatingAdd(isolatedTime) }

    mutating func add(_ nanoseconds: UInt64, in state: ReportedState) {
        switch state {
        case .attached: attached = attached.saturatingAdd(nanoseconds)
        case .idle: idle = idle.saturatingAdd(nanoseconds)
        case .isolated(let reason): isolated[reason] = (isolated[reason] ?? 0).saturatingAdd(nanoseconds)
        }
    }

    mutating func merge(_ other: PeriodFigures) {
        attached = attached.saturatingAdd(other.attached)
        idle = idle.saturatingAdd(other.idle)
        isolated.merge(other.isolated) { $0.saturatingAdd($1) }
        isolations.merge(other.isolations) { $0.saturatingAdd($1) }
        coldStarts.merge(other.coldStarts) { $0.saturatingAdd($1) }
        visibleHere.merge(other.visibleHere)
        visibleFromOthers.merge(other.visibleFromOthers)
        audits.add(other.audits)
        mostPending = max(mostPending, other.mostPending)
        longestWait = max(longestWait, other.longestWait)
        if let more = other.uncovered { uncovered = (uncovered ?? 0).saturatingAdd(more) }
    }
}
