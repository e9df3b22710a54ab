extension Database {
    /// One write, from its beginning.
    // Unchecked: everything in a simulation runs on its one thread.
    final class Write: @unchecked Sendable {
        enum Fate { case chance, sound, unknown }

        let key: Int
        let worker: SimulatedWorker
        /// The new content of the register. `nil`: the document does not exist, or exists already.
        let content: Int?
        /// The commit has no deadline: it may land as long as the server keeps transactions.
        var isTransaction = false
        /// The outcome and the time of landing, if these are not left to chance.
        var fate = Fate.chance
        var landing: UInt64?
        /// The journal that holds its intent.
        var record: JournalRecord?
        /// The version that the write made, if any.
        var version: UInt64?
        /// The version that the write made or found.
        var seen: UInt64?
        /// The same, if it landed before the caller's part of it ended.
        var seenAtEnd: UInt64?
        /// The time when the caller's part of it ended.
        var endedAt: UInt64?
        private var isKnown = false
        private var waiting: [UnsafeContinuation<Void, Never>] = []

        init(key: Int, worker: SimulatedWorker, content: Int?) {
            self.key = key
            self.worker = worker
            self.content = content
        }

        /// The write cannot land any more.
        func becameKnown() {
            isKnown = true
            for continuation in waiting { continuation.resume() }
            waiting = []
        }

        /// Returns when the write cannot land any more.
        func settled() async {
            if isKnown { return }
            await withUnsafeContinuation { waiting.append($0) }
        }
    }
}

/// The place of a record: a journal, and how often it had been emptied by then.
struct JournalRecord {
    var journal: MemoryJournal
    var generation: Int
}
