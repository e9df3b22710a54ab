import IPC

/// The report for people: the whole time line by line, then one row per day, the latest first.
enum ReportTable {
    private static let nameWidth = 12

    static func render(_ report: [StatusField]) -> String {
        let total = report.fields("total")
        var rows = [
            (
                "syncd",
                "\(report.value("version").plain)  \(report.value("mode").plain)  now \(report.value("state").plain)"
                    + (report.value("why") == .null ? "" : ": \(report.value("why").plain)")
            ),
            (
                "counted",
                "\(span(total.value("time-ms"))) from \(report.value("since").plain) to \(report.value("until").plain), starts of syncd: \(report.value("starts").plain)"
            ),
        ]
        rows += states(total)
        let here = total.fields("visible-here")
        rows.append(("visible here", latency(here, "us", "\(here.value("count").plain) invalidations by this host")))
        if hasOthers(total) {
            let others = total.fields("visible-from-others")
            rows.append(("from others", latency(others, "ms", "\(others.value("count").plain) by other hosts")))
        }
        rows.append(("audits", audits(total.fields("audits"))))
        if total.value("uncovered-writes") != .null {
            let count = total.value("uncovered-writes").plain
            rows.append(("uncovered", "\(count) write\(count == "1" ? "" : "s") without an invalidation"))
        }
        rows.append(
            (
                "pending",
                "now \(report.value("pending").plain)  at most \(total.value("most-pending").plain)  longest wait \(span(total.value("longest-wait-ms")))"
            ))
        for (index, cause) in total.list("cold").enumerated() {
            let text = "\(times(cause)) \(cause.value("cause").plain): \(cause.value("text").plain)"
            rows.append((index == 0 ? "cold caches" : "", text))
        }
        let head = rows.map { name, text in
            name + String(repeating: " ", count: max(1, nameWidth + 2 - name.count)) + text + "\n"
        }
        return head.joined() + "\n" + days(report.list("days"))
    }

    /// Entries of the log may tell when other hosts sent them.
    private static func hasOthers(_ figures: [StatusField]) -> Bool {
        (UInt64(figures.value("visible-from-others", "count").plain) ?? 0) > 0
    }

    private static func states(_ total: [StatusField]) -> [(String, String)] {
        let time = total.value("time-ms")
        let isolated = total.value("isolated-ms")
        var rows = [
            ("attached", share(total.value("attached-ms"), of: time, .down)),
            ("idle", share(total.value("idle-ms"), of: time, .up)),
            ("isolated", "\(share(isolated, of: time, .up))  \(span(isolated))"),
        ]
        for reason in total.list("isolated") {
            rows.append(
                (
                    "",
                    "\(span(reason.value("ms"))) \(times(reason)) \(reason.value("reason").plain): \(reason.value("text").plain)"
                ))
        }
        return rows
    }

    private static func times(_ fields: [StatusField]) -> String { "\(fields.value("times").plain)×" }

    private static func latency(_ fields: [StatusField], _ unit: String, _ of: String) -> String {
        guard fields.value("count") != .number(0) else { return "no figures" }
        func value(_ name: String) -> String { self.latency(fields.value("\(name)-\(unit)"), unit) }
        return "p50 \(value("p50"))  p99 \(value("p99"))  max \(value("max"))  of \(of)"
    }

    private static func latency(_ value: StatusValue, _ unit: String) -> String {
        guard let number = UInt64(value.plain) else { return "-" }
        if unit == "ms" { return span(value) }
        if number < 1000 { return "\(number) µs" }
        if number < 100_000 { return "\(number / 1000).\(number / 100 % 10) ms" }
        return span(.number(number / 1000))
    }

    private static func audits(_ fields: [StatusField]) -> String {
        let figures = AuditFigures(reported: fields)
        guard let share = StaleBound.share(stale: figures.stale, judged: figures.judged) else { return "none" }
        return
            "stale \(figures.stale) of \(figures.judged) judged: at most \(StaleBound.percent(share)) of the answers, with 95 % confidence  superseded \(figures.superseded)"
    }

    private static func days(_ days: [[StatusField]]) -> String {
        let isFed = days.contains { $0.value("uncovered-writes") != .null }
        let areOthersShown = days.contains { hasOthers($0) }
        var head = ["DAY (UTC)", "ATTACHED", "IDLE", "ISOLATED", "HERE P99", "MAX"]
        if areOthersShown { head += ["OTHERS P99", "MAX"] }
        head.append("STALE/JUDGED")
        if isFed { head.append("UNCOVERED") }
        var rows = [head + ["PENDING", "LONGEST WAIT", "COLD"]]
        for day in days {
            let (time, audits) = (day.value("time-ms"), AuditFigures(reported: day.fields("audits")))
            var row = [day.value("day").plain]
            row.append(share(day.value("attached-ms"), of: time, .down))
            row.append(share(day.value("idle-ms"), of: time, .up))
            row.append(span(day.value("isolated-ms")))
            row += latencies(day.fields("visible-here"), "us")
            if areOthersShown { row += latencies(day.fields("visible-from-others"), "ms") }
            row.append("\(audits.stale)/\(audits.judged)")
            if isFed { row.append(day.value("uncovered-writes").plain) }
            let cold = day.list("cold").reduce(0) { $0 + (UInt64($1.value("times").plain) ?? 0) }
            row += [day.value("most-pending").plain, span(day.value("longest-wait-ms")), "\(cold)"]
            rows.append(row)
        }
        return StatusTable.columns(rows)
    }

    private static func latencies(_ fields: [StatusField], _ unit: String) -> [String] {
        guard fields.value("count") != .number(0) else { return ["-", "-"] }
        return ["p99", "max"].map { latency(fields.value("\($0)-\(unit)"), unit) }
    }

    /// A share in percent with three decimals. Attached is rounded down, so that 100 % is not said too early.
    private static func share(_ part: StatusValue, of whole: StatusValue, _ rule: FloatingPointRoundingRule) -> String {
        guard let part = UInt64(part.plain), let whole = UInt64(whole.plain), whole > 0 else { return "-" }
        let thousandths = Int((Double(min(part, whole)) / Double(whole) * 100_000).rounded(rule))
        let decimals = String(thousandths % 1000 + 1000).dropFirst()
        return "\(thousandths / 1000).\(decimals) %"
    }

    /// Milliseconds as `12 ms`, `3.4 s`, `12 min`, `2 h`, `5 d`.
    static func span(_ value: StatusValue) -> String {
        guard let milliseconds = UInt64(value.plain) else { return "-" }
        return switch milliseconds {
        case 0..<1000: "\(milliseconds) ms"
        case 1000..<120_000: "\(milliseconds / 1000).\(milliseconds / 100 % 10) s"
        default: StatusTable.duration(value)
        }
    }
}

extension [StatusField] {
    /// The fields of a section; empty if there is none.
    func fields(_ name: String) -> [StatusField] {
        if case .fields(let fields) = value(name) { fields } else { [] }
    }

    /// The items of a list of fields; empty if there is none.
    func list(_ name: String) -> [[StatusField]] {
        guard case .list(let items) = value(name) else { return [] }
        return items.compactMap { if case .fields(let fields) = $0 { fields } else { nil } }
    }
}
