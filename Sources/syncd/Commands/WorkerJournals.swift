import IPC

/// How many workers report that they cannot write into the journal (docs/consistency.md, "Writing").
struct WorkerJournals: Equatable {
    var unusable = 0

    init(_ sections: [StatusField]) {
        guard case .list(let clients) = sections.first(where: { $0.name == "clients" })?.value else { return }
        for case .fields(let client) in clients where client.value("reported", "journal").plain == "unusable" {
            unusable += 1
        }
    }
}
