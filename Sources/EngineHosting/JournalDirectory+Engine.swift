import IPC
import NIOCore
import SyncCore

extension JournalDirectory: EngineJournal {
    package func beginReading() throws -> any EngineJournalReading { try read() }

    /// Everything that the directory asks of the engine.
    package func items() throws(SystemError) -> [JournalItem] { try scan().compactMap(\.item) }
}

extension JournalReading: EngineJournalReading {
    package mutating func next(
        _ count: Int, isWanted: (_ name: String, _ isLiving: Bool, _ version: UInt64) -> Bool
    ) throws -> [JournalItem] {
        let files: [JournalFile] = try next(count, isWanted: isWanted)
        return files.compactMap(\.item)
    }
}

extension JournalFile {
    /// The action that the file requires; `nil`: none.
    fileprivate var item: JournalItem? {
        let kind: JournalItem.Kind? =
            switch demand {
            case .pending: .pending
            case .orphan: .orphan
            case .living: .living
            case .incomplete: .incomplete
            case .marker: .marker
            case nil: nil
            }
        return kind.map { JournalItem(name: name, kind: $0, tags: tags ?? [], isRead: isRead, version: version) }
    }
}
