import IPCWire
import NIOCore

// The record as text: a line for each value, a name and numbers. The file in which a host keeps it may be damaged, and
// may be that of another version: lines with unknown names are skipped, everything else that is not as it should be
// makes the whole record unusable.
extension ReportRecord {
    /// Greatest size of a record, in bytes. All days with all buckets of both distributions take less.
    package static let maximumBytes = 2 << 20

    private static let firstLine = "syncd-report 1"

    /// The last line has a hash of all others: a changed digit is as good a number as any.
    private static func lastLine(behind lines: ArraySlice<some StringProtocol>) -> String {
        var hash = TagHash()
        for line in lines {
            for byte in line.utf8 { hash.combine(byte) }
            hash.combine(UInt8(ascii: "\n"))
        }
        return "end \(hash.finalize())"
    }

    package func encoded() -> ByteBuffer {
        var lines = [Self.firstLine, "since \(since)", "counted-to \(countedTo)", "starts \(starts)"]
        if let pendingSince { lines.append("pending-since \(pendingSince)") }
        for worker in workers {
            let counts = worker.counts
            lines.append("worker \(worker.holder) \(counts.sampled) \(counts.stale) \(counts.superseded)")
        }
        lines.append("total")
        lines += total.lines
        for day in days { lines += ["day \(day.number)"] + day.figures.lines }
        return Self.sealed(lines)
    }

    /// These lines and the last one.
    static func sealed(_ lines: [String]) -> ByteBuffer {
        ByteBuffer(string: (lines + [lastLine(behind: lines[...])]).joined(separator: "\n") + "\n")
    }

    package init?(encoded bytes: ByteBuffer) {
        guard bytes.readableBytes <= Self.maximumBytes else { return nil }
        let lines = String(buffer: bytes).split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count > 2, lines[0] == Self.firstLine, lines.last == "",
            lines[lines.count - 2] == Self.lastLine(behind: lines.dropLast(2))
        else { return nil }
        self.init(since: 0)
        var sections: [(day: UInt64?, figures: PeriodFigures)] = []
        for line in lines[1..<(lines.count - 2)] {
            var words = RecordLine(line)
            let isRead: Bool
            switch words.name {
            case "total":
                sections.append((nil, PeriodFigures()))
                isRead = true
            case "day":
                let day = words.number(upTo: 1 << 32)
                sections.append((day, PeriodFigures()))
                isRead = day != nil
            case _ where sections.isEmpty: isRead = read(&words)
            default: isRead = sections[sections.count - 1].figures.read(&words)
            }
            guard isRead, words.isAtEnd else { return nil }
        }
        for section in sections where section.day != nil { add(section.figures, to: section.day ?? 0) }
        guard let total = sections.first, total.day == nil, sections.count <= 1 + Self.keptDays,
            since > 0, countedTo >= since
        else { return nil }
        self.total = total.figures
    }

    /// Reads a line before the figures. Returns false if it is not sound.
    private mutating func read(_ words: inout RecordLine) -> Bool {
        switch words.name {
        case "since": return words.read(&since, upTo: 1 << 53)
        case "counted-to": return words.read(&countedTo, upTo: 1 << 53)
        case "starts": return words.read(&starts)
        case "pending-since":
            pendingSince = words.number(upTo: 1 << 53)
            return pendingSince != nil
        case "worker":
            guard let holder = words.signedNumber(), let counts = words.audits(), workers.count < AuditLedger.capacity
            else { return false }
            workers.append(AuditLedger.Entry(holder: holder, counts: counts))
        default: words.skip()
        }
        return true
    }
}

extension PeriodFigures {
    fileprivate var lines: [String] {
        var lines = ["attached \(attached)", "idle \(idle)"]
        for reason in ReportedReason.allCases {
            guard let times = isolations[reason] ?? isolated[reason].map({ _ in 0 }) else { continue }
            lines.append("isolated \(reason.rawValue) \(isolated[reason] ?? 0) \(times)")
        }
        for cause in ColdStart.allCases {
            if let times = coldStarts[cause] { lines.append("cold \(cause.rawValue) \(times)") }
        }
        lines.append("here" + visibleHere.words)
        lines.append("others" + visibleFromOthers.words)
        lines.append("audits \(audits.sampled) \(audits.stale) \(audits.superseded)")
        lines.append("pending \(mostPending) \(longestWait)")
        if let uncovered { lines.append("uncovered \(uncovered)") }
        return lines
    }

    /// Reads a line of the figures. Returns false if it is not sound.
    fileprivate mutating func read(_ words: inout RecordLine) -> Bool {
        switch words.name {
        case "attached": return words.read(&attached)
        case "idle": return words.read(&idle)
        case "isolated":
            guard let name = words.word(), let time = words.number(), let times = words.number() else { return false }
            // A reason of a later version.
            guard let reason = ReportedReason(rawValue: name) else { return true }
            if time > 0 { isolated[reason] = time }
            if times > 0 { isolations[reason] = times }
        case "cold":
            guard let name = words.word(), let times = words.number() else { return false }
            if let cause = ColdStart(rawValue: name) { coldStarts[cause] = times }
        case "here": return words.read(&visibleHere)
        case "others": return words.read(&visibleFromOthers)
        case "audits":
            guard let counts = words.audits() else { return false }
            audits = counts
        case "pending": return words.read(&mostPending) && words.read(&longestWait)
        case "uncovered":
            uncovered = words.number()
            return uncovered != nil
        default: words.skip()
        }
        return true
    }
}

extension LatencyDistribution {
    /// The maximum, then the number of each bucket that has values, and of its values.
    fileprivate var words: String {
        counts.enumerated().reduce(into: " \(maximum)") { text, bucket in
            if bucket.element > 0 { text += " \(bucket.offset) \(bucket.element)" }
        }
    }
}

/// One line: a name and words.
private struct RecordLine {
    let name: Substring
    private var words: ArraySlice<Substring>

    init(_ line: Substring) {
        let all = line.split(separator: " ", omittingEmptySubsequences: false)
        name = all.first ?? ""
        words = all.dropFirst()
    }

    var isAtEnd: Bool { words.isEmpty }

    mutating func skip() { words = [] }
    mutating func word() -> String? { words.popFirst().map { String($0) } }

    /// Decimal digits without a sign.
    mutating func number(upTo limit: UInt64 = .max) -> UInt64? {
        guard let word = words.popFirst(), let first = word.utf8.first, first != UInt8(ascii: "+"),
            let number = UInt64(word), number <= limit
        else { return nil }
        return number
    }

    mutating func signedNumber() -> Int64? { words.popFirst().flatMap { Int64($0) } }

    mutating func read(_ number: inout UInt64, upTo limit: UInt64 = .max) -> Bool {
        guard let value = self.number(upTo: limit) else { return false }
        number = value
        return true
    }

    mutating func audits() -> AuditCounts? {
        guard let sampled = number(), let stale = number(), let superseded = number() else { return nil }
        return AuditCounts(sampled: sampled, stale: stale, superseded: superseded)
    }

    mutating func read(_ distribution: inout LatencyDistribution) -> Bool {
        guard let maximum = number() else { return false }
        var counts: [(bucket: Int, count: UInt64)] = []
        while !words.isEmpty {
            guard let bucket = number(upTo: UInt64(LatencyDistribution.capacity)), let count = number() else {
                return false
            }
            counts.append((Int(bucket), count))
        }
        guard let read = LatencyDistribution(counts: counts, maximum: maximum) else { return false }
        distribution = read
        return true
    }
}
