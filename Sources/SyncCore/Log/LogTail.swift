import IPCWire
import NIOCore

/// The applied position, and the entries that have arrived before their predecessors. The tag table shows the position
/// to the workers.
struct LogTail {
    private let table: TagTable
    private let keepsLastEntry: Bool
    /// Every entry up to this position is in the table.
    private(set) var applied: LogPosition
    /// The first known position: the greatest one that this syncd has not applied itself (a low-water mark).
    private(set) var firstKnownPosition: LogPosition
    /// The greatest position that is known to exist.
    private(set) var highestSeen: LogPosition
    /// The greatest position in the table, of any log. Positions never go back.
    private var greatest: LogPosition
    /// The last applied entry, unchanged: the continuity check compares it.
    private(set) var lastEntry: LogEntry?
    /// The last entry that an earlier syncd applied, until the log is known.
    private(set) var earlier: AppliedEntry?
    private var reorderBuffer: [LogPosition: LogEntryBody] = [:]
    /// Memory of the reorder buffer, in bytes.
    private var reorderBytes = 0

    /// - Parameter continues: nothing was appended since the table was written.
    init(table: TagTable, keepsLastEntry: Bool, continues: Bool) {
        self.table = table
        self.keepsLastEntry = keepsLastEntry
        greatest = max(table.applied, table.greatestSlot)
        applied = greatest
        firstKnownPosition = continues ? min(table.firstKnownPosition, greatest) : greatest
        highestSeen = greatest
        earlier = keepsLastEntry && table.logMode == .redis ? table.lastEntry : nil
        if earlier == nil { table.forgetLastEntry() }
        publish()
    }

    /// The position whose entry shows whether a log is the one that was applied.
    var lastApplied: LogPosition { lastEntry?.position ?? earlier?.position ?? applied }

    private func publish() {
        table.setFirstKnownPosition(firstKnownPosition)
        table.setApplied(applied)
    }

    /// The lower bound for positions of a new log.
    var floor: LogPosition { max(applied, greatest) }

    /// Whether entries exist that are not applied.
    var hasGap: Bool { applied < highestSeen }

    /// Raises the slots of an entry whose predecessors may be missing.
    mutating func raise(_ tags: [ByteBuffer], to position: LogPosition) {
        table.raise(tags: tags, to: position)
        greatest = max(greatest, position)
    }

    /// Applies the entry that follows: slots first, then the position, so that no worker reads a position whose
    /// invalidation is not in the table.
    mutating func apply(_ entry: LogEntry) {
        raise(entry.body.tags, to: entry.position)
        applied = entry.position
        highestSeen = max(highestSeen, applied)
        if keepsLastEntry {
            lastEntry = entry
            table.setLastEntry(entry.applied)
        }
        table.setApplied(applied)
    }

    mutating func saw(_ position: LogPosition) { highestSeen = max(highestSeen, position) }

    /// Published positions may have been wrong; this one was inspected.
    mutating func trust(_ position: LogPosition) { highestSeen = max(applied, position) }

    /// Stores an entry whose predecessors have not arrived. If there is no room, it is read from the stream later.
    mutating func keep(_ entry: LogEntry, limits: Limits) {
        let bytes = entry.body.memoryBytes
        guard reorderBuffer[entry.position] == nil, reorderBuffer.count < limits.reorderEntries,
            reorderBytes + bytes <= limits.reorderBytes
        else { return }
        reorderBuffer[entry.position] = entry.body
        reorderBytes += bytes
    }

    /// Takes the next entry from the reorder buffer. Entries that were read from the stream meanwhile are dropped.
    mutating func takeNext() -> LogEntry? {
        guard !reorderBuffer.isEmpty else { return nil }
        guard let body = reorderBuffer.removeValue(forKey: applied + 1) else {
            if !hasGap { forgetKept() }
            return nil
        }
        reorderBytes -= body.memoryBytes
        return LogEntry(position: applied + 1, body: body)
    }

    mutating func forgetKept() {
        reorderBuffer.removeAll()
        reorderBytes = 0
    }

    /// Entries up to `position` were deleted before they were applied: no earlier value is fresh.
    mutating func skip(to position: LogPosition) {
        if position > applied {
            applied = position
            lastEntry = nil
            if let known = table.lastEntry, known.position < position { table.forgetLastEntry() }
        }
        firstKnownPosition = applied
        publish()
    }

    /// The behaviour of ``Mutant/trimIgnored`` and ``Mutant/gapIgnored``.
    mutating func ignoreTrim(to position: LogPosition) { applied = max(applied, position) }

    /// Switches to another log, or to the one of an earlier syncd, of which the entries after `position` exist.
    ///
    /// - Parameter entry: the one at ``lastApplied``; `nil`: the log is another one, or has none there.
    /// - Returns: whether the log's history is the one that an earlier syncd applied. If not, other entries may have taken
    ///   its positions.
    mutating func restart(after position: LogPosition, highestSeen: LogPosition, entry: LogEntry?) -> Bool {
        let isSame = earlier != nil && entry?.applied == earlier
        if !isSame { table.forgetLastEntry() }
        earlier = nil
        applied = position
        firstKnownPosition = position
        self.highestSeen = highestSeen
        lastEntry = nil
        forgetKept()
        publish()
        return isSame
    }
}
