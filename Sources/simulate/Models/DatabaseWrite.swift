extension Database {
    /// One write, from its begin on.
    // Unchecked: everything in a simulation runs on its one thread.
    final class Write: @unchecked Sendable {
        enum Fate { case chance, sound, unknown }

        let key: Int
        let worker: SimulatedWorker
        /// What it makes of the register. `nil`: what it is for is not there, or is there already.
        let content: Int?
        /// Its commit carries no deadline: it may land for as long as the server keeps transactions.
        var isTransaction = false
        /// How it ends, and when it lands, if that is not left to chance.
        var fate = Fate.chance
        var landing: UInt64?
        /// The journal that holds its intent.
        var record: JournalRecord?
        /// The version that it made, if it has.
        var version: UInt64?
        /// The version that it made or found.
        var seen: UInt64?
        /// The same, if it landed before the caller's part of it ended.
        var seenAtEnd: UInt64?
        /// When the caller's part of it ended.
        var endedAt: UInt64?
        private var isKnown = false
        private var waiting: [UnsafeContinuation<Void, Never>] = []

        init(key: Int, worker: SimulatedWorker, content: Int?) {
            self.key = key
            self.worker = worker
            self.content = content
        }

        /// Nothing of it can land any more.
        func becameKnown() {
            isKnown = true
            for continuation in waiting { continuation.resume() }
            waiting = []
        }

        /// Returns when nothing of it can land any more.
        func settled() async {
            if isKnown { return }
            await withUnsafeContinuation { waiting.append($0) }
        }
    }
}

/// Where something is written down: a journal, and how often it had been emptied by then.
struct JournalRecord {
    var journal: MemoryJournal
    var generation: Int
}
