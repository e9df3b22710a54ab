import IPC
import SyncCore

extension JournalFile {
    /// The action that the file requires; `nil`: none.
    var item: JournalItem? {
        let kind: JournalItem.Kind? =
            switch demand {
            case .owed: .owed
            case .orphan: .orphan
            case .living: .living
            case .incomplete: .incomplete
            case .marker: .marker
            case nil: nil
            }
        return kind.map { JournalItem(name: name, kind: $0, tags: tags ?? [], isRead: isRead, version: version) }
    }
}

extension JournalDirectory {
    /// The actions that the directory requires.
    func items() throws(SystemError) -> [JournalItem] { try scan().compactMap(\.item) }
}
