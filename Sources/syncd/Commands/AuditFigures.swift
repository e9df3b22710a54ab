import IPC

/// The sum of the auditors' counters of all workers (docs/cache.md, "The auditor").
struct AuditFigures: Equatable {
    var sampled: UInt64 = 0
    var stale: UInt64 = 0
    var superseded: UInt64 = 0

    /// `nil`: no worker reports any.
    init?(_ sections: [StatusField]) {
        guard case .list(let clients) = sections.first(where: { $0.name == "clients" })?.value else { return nil }
        var isReported = false
        for case .fields(let client) in clients {
            // A client may report any text.
            func number(_ name: String) -> UInt64 { UInt64(client.value("reported", name).plain) ?? 0 }
            guard client.value("reported", "audit-sampled") != .null else { continue }
            isReported = true
            sampled &+= number("audit-sampled")
            stale &+= number("audit-stale")
            superseded &+= number("audit-superseded")
        }
        guard isReported else { return nil }
    }

    /// The figures of a period of the report.
    init(reported fields: [StatusField]) {
        func number(_ name: String) -> UInt64 { UInt64(fields.value(name).plain) ?? 0 }
        (sampled, stale, superseded) = (number("sampled"), number("stale"), number("superseded"))
    }

    /// Superseded values were not judged.
    var judged: UInt64 { sampled - min(sampled, superseded) }

    /// Number of judged values and the bound on the share of stale ones, for the report's JSON.
    var bound: [StatusField] {
        let share = StaleBound.share(stale: stale, judged: judged)
        return [
            StatusField("judged", .number(judged)),
            StatusField("stale-share-at-most", share.map { .text(StaleBound.text($0)) } ?? .null),
        ]
    }

    /// The separate section for JSON.
    var section: StatusField {
        StatusField(
            "audit",
            .fields([
                StatusField("sampled", .number(sampled)), StatusField("stale", .number(stale)),
                StatusField("superseded", .number(superseded)),
            ]))
    }

    /// The text of one line. No stale value in *n* samples means, with 95 % confidence, that less than 3 of *n* are
    /// stale (the rule of three).
    var text: String {
        let bound = stale == 0 && judged > 0 ? " (< 3/\(judged))" : ""
        return "stale \(stale) of \(judged) sampled\(bound)  superseded \(superseded)"
    }
}
