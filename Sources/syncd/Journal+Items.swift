import IPC
import SyncCore

extension JournalDirectory {
    /// What the directory asks of the brain. Intents of living owners ask for nothing: their owners will commit or
    /// rename them. Foreign files are left alone.
    func items() throws(SystemError) -> [JournalItem] {
        try scan().compactMap { file in
            switch file.kind {
            case .intent where file.isOwnerAlive: nil
            case .intent:
                JournalItem(name: file.name, kind: file.tags == nil ? .incomplete : .orphan, tags: file.tags ?? [])
            case .orphan: JournalItem(name: file.name, kind: .orphan, tags: file.tags ?? [])
            case .owed: JournalItem(name: file.name, kind: .owed, tags: file.tags ?? [])
            case .marker: JournalItem(name: file.name, kind: .marker, tags: [])
            case .foreign: nil
            }
        }
    }
}
