import IPCWire

/// Collects the figures of `syncd report` (docs/operations.md, "Report"): of the time since the counting began, and of
/// each day in UTC.
///
/// The engine tells the state whenever it changes, and at each heartbeat. All time is counted in one state, so the
/// states add up. A process that gives no sign of life for longer than workers trust the last heartbeat was stopped, or
/// slept: the time after that is nobody's state, and counts as not running. Durations are of CLOCK_BOOTTIME. The host's
/// wall clock, which comes with each heartbeat, decides only the day.
struct ReportRecorder: Sendable {
    /// Everything but the present day.
    private var record: ReportRecord
    /// The figures of the present day since it began, or since this process started.
    private var current = PeriodFigures()
    private var day: UInt64
    private var clock: WallClock
    private var countedTo: BootTime
    private(set) var state = ReportedState.isolated(.starting)
    /// When the oldest pending invalidation became pending; `nil`: none is pending.
    private var pendingSince: BootTime?
    var ledger: AuditLedger
    /// The table of an earlier syncd was taken over, and it is not known yet whether the log is the same.
    private var isHistoryOpen: Bool

    private static let dayMilliseconds: UInt64 = 86_400_000

    /// - Parameters:
    ///   - earlier: the figures of the syncd that ran before. Its end up to now counts as not running. Figures of a time
    ///     that the clock has not reached are not believed.
    ///   - wallClock: ms since 1970.
    ///   - hasTable: whether there was a tag table.
    init(_ earlier: ReportRecord?, now: BootTime, wallClock: UInt64, hasTable: Bool) {
        let isUsable = earlier.map {
            $0.countedTo < wallClock + Self.dayMilliseconds
                && wallClock < $0.countedTo + UInt64(ReportRecord.keptDays) * Self.dayMilliseconds
        }
        let known = isUsable == true ? earlier : nil
        record = known ?? ReportRecord(since: wallClock)
        record.starts = record.starts.saturatingAdd(1)
        pendingSince = record.pendingSince.map { since in
            now.saturatingSubtract((wallClock - min(wallClock, since)).saturatingMultiply(1_000_000))
        }
        ledger = AuditLedger(record.workers)
        isHistoryOpen = hasTable
        clock = WallClock(boot: now, milliseconds: wallClock)
        countedTo = now
        day = record.countedTo / Self.dayMilliseconds
        if let known, known.countedTo < wallClock {
            count((wallClock - known.countedTo) * 1_000_000, in: .isolated(.notRunning), from: known.countedTo)
            current.isolations[.notRunning, default: 0] += 1
        }
        moveTo(wallClock / Self.dayMilliseconds)
        current.isolations[.starting, default: 0] += 1
        coldStart(hasTable ? .started : .noTable)
    }

    // MARK: Time

    /// The wall clock in ms since 1970.
    func wallClock(_ now: BootTime) -> UInt64 { clock.time(now) }

    /// A heartbeat. Returns whether the process has run since the last sign of life.
    mutating func heartbeat(now: BootTime, wallClock: UInt64) -> Bool {
        let hasRun = count(upTo: now)
        clock = WallClock(boot: now, milliseconds: wallClock)
        moveTo(wallClock / Self.dayMilliseconds)
        return hasRun
    }

    /// The host is in this state from now on.
    mutating func enter(_ new: ReportedState, now: BootTime) {
        guard new != state else { return }
        count(upTo: now)
        state = new
        if case .isolated(let reason) = new {
            current.isolations[reason, default: 0] += 1
        } else {
            isHistoryOpen = false
        }
    }

    /// Counts the time since the last call. Returns whether the process has run meanwhile.
    @discardableResult
    private mutating func count(upTo now: BootTime) -> Bool {
        guard now > countedTo else { return true }
        let (span, begin) = (now - countedTo, countedTo)
        let running = min(span, TrustTiming.trustWindowNanoseconds)
        countedTo = now
        count(running, in: state, from: wallClock(begin))
        if running == span { return true }
        count(span - running, in: .isolated(.notRunning), from: wallClock(begin + running))
        current.isolations[.notRunning, default: 0] += 1
        return false
    }

    /// Counts a time that began at `start`, in ms since 1970, for each day that it touches.
    private mutating func count(_ nanoseconds: UInt64, in state: ReportedState, from start: UInt64) {
        var (rest, begin) = (nanoseconds, start)
        while rest > 0 {
            moveTo(begin / Self.dayMilliseconds)
            let ofDay = Self.dayMilliseconds - begin % Self.dayMilliseconds
            let part = min(rest, ofDay * 1_000_000)
            current.add(part, in: state)
            rest -= part
            begin = begin.saturatingAdd(ofDay)
        }
    }

    /// The clock may go back to a day that has figures already: the present ones are added to them in the end.
    private mutating func moveTo(_ day: UInt64) {
        if day == self.day { return }
        record.add(current, to: self.day)
        current = PeriodFigures()
        self.day = day
    }

    // MARK: Events

    mutating func coldStart(_ cause: ColdStart) { current.coldStarts[cause, default: 0] += 1 }

    /// The values in the arena are not those of this log. After the first attachment, the epoch is raised for that as
    /// well, and tells why.
    mutating func foundOtherHistory() {
        if isHistoryOpen { coldStart(.otherHistory) }
        isHistoryOpen = false
    }

    /// An invalidation of this host is in the table, this long after its append began.
    mutating func visibleHere(nanoseconds: UInt64) { current.visibleHere.add(nanoseconds / 1000) }

    /// An invalidation of another host is in the table, this long after that host sent it, by the clocks of both.
    mutating func visibleFromOther(milliseconds: UInt64) { current.visibleFromOthers.add(milliseconds) }

    mutating func audited(_ counts: AuditCounts) { current.audits.add(counts) }

    /// A change feed has shown this many more writes that no invalidation covered. 0 says that there is a feed.
    mutating func uncoveredWrites(_ count: UInt64) {
        current.uncovered = (current.uncovered ?? 0).saturatingAdd(count)
    }

    /// One more invalidation is pending: now it is this many.
    mutating func becamePending(_ count: UInt64, now: BootTime) {
        current.mostPending = max(current.mostPending, count)
        pendingSince = pendingSince ?? now
    }

    /// Everything that was pending is in the log.
    mutating func nothingIsPending(now: BootTime) {
        current.longestWait = max(current.longestWait, wait(now))
        pendingSince = nil
    }

    /// How long the oldest pending invalidation has waited, in ns; 0: none is pending.
    private func wait(_ now: BootTime) -> UInt64 {
        pendingSince.map { now > $0 ? now - $0 : 0 } ?? 0
    }

    // MARK: Results

    /// Everything up to now.
    ///
    /// - Parameter workers: counters of the workers that are connected.
    func record(now: BootTime, workers: [AuditLedger.Entry]) -> ReportRecord {
        var copy = self
        copy.count(upTo: now)
        copy.current.longestWait = max(copy.current.longestWait, copy.wait(now))
        var record = copy.record
        record.add(copy.current, to: copy.day)
        record.countedTo = copy.wallClock(now)
        record.pendingSince = pendingSince.map(wallClock)
        record.workers = AuditLedger(ledger.entries + workers).entries
        return record
    }
}
