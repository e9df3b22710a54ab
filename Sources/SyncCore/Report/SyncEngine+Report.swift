import IPCWire
import NIOCore
import Notation

extension SyncEngine {
    /// The section of STATUS that is shown only when it is asked for by its name (docs/protocol.md, "STATUS").
    package static let reportSection = "report"

    // MARK: Collecting

    /// Tells the report the present state.
    mutating func noteState(_ now: BootTime) { report.enter(reportedState(now), now: now) }

    private func reportedState(_ now: BootTime) -> ReportedState {
        if log.state == .isolated { return .isolated(ReportedReason(log.attachment.reason ?? .starting)) }
        if !TagTable.isWithin(now, of: lastHeartbeat, TrustTiming.trustWindowNanoseconds) { return .isolated(.journal) }
        return log.isIdle ? .idle : .attached
    }

    /// An entry was applied. Those that a syncd applies before it is attached to their log are as old as its start.
    mutating func noteVisibility(of body: LogEntryBody, _ now: BootTime) {
        guard let sentAt = body.sentAt, body.origin != log.origin, !log.attachment.needsResync else { return }
        let time = report.wallClock(now)
        report.visibleFromOther(milliseconds: time - min(time, sentAt))
    }

    mutating func noteAudits(_ client: ClientID, _ reported: [ReportField]) {
        guard let counts = AuditCounts(reported), let known = clients[client], counts != known.audited else { return }
        let former = known.audited ?? report.ledger.takeFormer(of: known.peer.holder, before: counts)
        report.audited(counts.since(former))
        clients[client]?.audited = counts
    }

    // MARK: Showing

    package func reportRecord(now: BootTime) -> ReportRecord {
        let workers = clients.keys.sorted().compactMap { id in
            clients[id].flatMap { client in
                client.audited.map { AuditLedger.Entry(holder: client.peer.holder, counts: $0) }
            }
        }
        return report.record(now: now, workers: workers)
    }

    func reportFields(_ now: BootTime) -> [StatusField] {
        let shown = shownState(now: now)
        let record = reportRecord(now: now)
        return [
            StatusField("version", .text(configuration.version)),
            StatusField("mode", .text(configuration.mode.rawValue)),
            StatusField("state", .text(shown.state.rawValue)),
            StatusField("why", shown.reason.map { .text($0) } ?? .null),
            StatusField("since", Self.date(record.since)),
            StatusField("until", Self.date(record.countedTo)),
            StatusField("starts", .amount(record.starts)),
            StatusField("pending", .number(UInt64(journal.pending))),
            StatusField("total", .fields(record.total.fields)),
            StatusField(
                "days",
                .list(
                    record.days.reversed().map { day in
                        .fields([StatusField("day", .text(Self.name(ofDay: day.number)))] + day.figures.fields)
                    })),
        ]
    }

    private static func date(_ milliseconds: UInt64) -> StatusValue {
        .text(UTCDate(millisecondsSince1970: Int64(clamping: milliseconds)).iso8601)
    }

    private static func name(ofDay number: UInt64) -> String {
        let milliseconds = number.saturatingMultiply(86_400_000)
        return String(UTCDate(millisecondsSince1970: Int64(clamping: milliseconds)).iso8601.prefix(10))
    }
}

extension PeriodFigures {
    fileprivate var fields: [StatusField] {
        let reasons = ReportedReason.allCases.compactMap { reason -> StatusValue? in
            guard isolated[reason] ?? 0 > 0 || isolations[reason] ?? 0 > 0 else { return nil }
            return .fields([
                StatusField("reason", .text(reason.rawValue)), StatusField("text", .text(reason.text)),
                StatusField("ms", .milliseconds(isolated[reason] ?? 0)),
                StatusField("times", .amount(isolations[reason] ?? 0)),
            ])
        }
        let causes = ColdStart.allCases.compactMap { cause -> StatusValue? in
            guard let times = coldStarts[cause] else { return nil }
            return .fields([
                StatusField("cause", .text(cause.rawValue)), StatusField("text", .text(cause.text)),
                StatusField("times", .amount(times)),
            ])
        }
        return [
            StatusField("time-ms", .milliseconds(time)),
            StatusField("attached-ms", .milliseconds(attached)),
            StatusField("idle-ms", .milliseconds(idle)),
            StatusField("isolated-ms", .milliseconds(isolatedTime)),
            StatusField("isolated", .list(reasons)),
            StatusField("visible-here", .fields(visibleHere.fields(unit: "us"))),
            StatusField("visible-from-others", .fields(visibleFromOthers.fields(unit: "ms"))),
            StatusField(
                "audits",
                .fields([
                    StatusField("sampled", .amount(audits.sampled)), StatusField("stale", .amount(audits.stale)),
                    StatusField("superseded", .amount(audits.superseded)),
                ])),
            StatusField("uncovered-writes", uncovered.map { .amount($0) } ?? .null),
            StatusField("most-pending", .amount(mostPending)),
            StatusField("longest-wait-ms", .milliseconds(longestWait)),
            StatusField("cold", .list(causes)),
        ]
    }
}

extension LatencyDistribution {
    fileprivate func fields(unit: String) -> [StatusField] {
        [
            StatusField("count", .amount(count)), StatusField("p50-\(unit)", .amount(percentile(50))),
            StatusField("p99-\(unit)", .amount(percentile(99))), StatusField("max-\(unit)", .amount(maximum)),
        ]
    }
}

extension StatusValue {
    /// A number that JSON can hold.
    fileprivate static func amount(_ number: UInt64) -> StatusValue { .number(min(number, WireLimits.maximumNumber)) }
    fileprivate static func milliseconds(_ nanoseconds: UInt64) -> StatusValue { .amount(nanoseconds / 1_000_000) }
}
