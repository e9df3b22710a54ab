/// The figures of the report as a value: what syncd keeps over a restart, and shows. At most 31 days and 1024 workers,
/// so its size is bounded.
package struct ReportRecord: Sendable, Hashable {
    /// One day in UTC.
    struct Day: Sendable, Hashable {
        /// Number of days since 1970-01-01.
        var number: UInt64
        var figures: PeriodFigures
    }

    /// The wall clock when the counting began, in ms since 1970.
    var since: UInt64
    /// The wall clock up to which everything is counted, in ms since 1970.
    var countedTo: UInt64
    /// How often a syncd has started to count.
    var starts: UInt64 = 0
    /// When the oldest pending invalidation became pending, in ms since 1970; `nil`: none is pending.
    var pendingSince: UInt64?
    var total = PeriodFigures()
    /// Ascending by number.
    private(set) var days: [Day] = []
    var workers: [AuditLedger.Entry] = []

    static let keptDays = 31

    init(since: UInt64) {
        self.since = since
        countedTo = since
    }

    /// Adds figures to a day, and to the total. The oldest of more than 31 days is dropped.
    mutating func add(_ figures: PeriodFigures, to number: UInt64) {
        total.merge(figures)
        let index = days.firstIndex { $0.number >= number } ?? days.count
        if index == days.count || days[index].number != number {
            days.insert(Day(number: number, figures: PeriodFigures()), at: index)
        }
        days[index].figures.merge(figures)
        if days.count > Self.keptDays { days.removeFirst(days.count - Self.keptDays) }
    }
}
