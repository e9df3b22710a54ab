import IPC

/// A change feed in STATUS.
struct FeedFigures {
    let fields: [StatusField]

    /// All feeds of a host.
    static func all(_ sections: [StatusField]) -> [FeedFigures] {
        guard case .list(let items) = sections.first(where: { $0.name == "feeds" })?.value else { return [] }
        return items.compactMap { if case .fields(let fields) = $0 { FeedFigures(fields: fields) } else { nil } }
    }

    var name: String { fields.value("name").plain }

    /// The uncovered writes of each collection.
    var uncovered: [StatusField] {
        if case .fields(let fields) = fields.value("uncovered-by-collection") { fields } else { [] }
    }

    /// One line for people.
    var text: String {
        let isElsewhere = [.flag(true), .number(1)].contains(fields.value("elsewhere"))
        let reader = fields.value("reader")
        let place =
            reader != .null ? "read here by client \(reader.plain)" : isElsewhere ? "read elsewhere" : "nobody reads"
        let collections = uncovered.map { "\($0.name) \($0.value.plain)" }.joined(separator: ", ")
        let lag = fields.value("lag-ms")
        let behind = lag == .null ? "" : "  lag \(lag.plain) ms"
        return "\(name)  \(place)\(behind)  changes \(fields.value("changes").plain)  "
            + "uncovered \(fields.value("uncovered").plain)" + (collections.isEmpty ? "" : " (\(collections))")
            + "  resets \(fields.value("resets").plain)"
    }
}
