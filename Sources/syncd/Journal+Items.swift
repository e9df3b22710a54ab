import IPC
import SyncCore

extension JournalDirectory {
    /// What the directory asks of the brain.
    func items() throws(SystemError) -> [JournalItem] {
        try scan().compactMap { file in
            let kind: JournalItem.Kind? =
                switch file.demand {
                case .owed: .owed
                case .orphan: .orphan
                case .incomplete: .incomplete
                case .marker: .marker
                case nil: nil
                }
            return kind.map { JournalItem(name: file.name, kind: $0, tags: file.tags ?? []) }
        }
    }
}
