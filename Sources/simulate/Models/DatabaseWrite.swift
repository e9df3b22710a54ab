import IPCWire

extension Database {
    /// One write, from its beginning.
    // Unchecked: everything in a simulation runs on its one thread.
    final class Write: @unchecked Sendable {
        enum Fate { case chance, sound, unknown }

        /// The part of the write in one register.
        struct Part {
            let key: Int
            /// `nil`: what it is for is not there, or is there already.
            let content: Int?
            /// The earlier content.
            var former: Int?
            /// The version that the write made, if any.
            var version: UInt64?
            /// The version that the write made or found.
            var seen: UInt64?
            /// The same, if it landed before the caller's part of it ended.
            var seenAtEnd: UInt64?
            /// The part is, or was, only on a primary that has lost the other members.
            var isUncommitted = false
        }

        let worker: SimulatedWorker
        /// One register, or two: then in a transaction, or one after the other.
        var parts: [Part]
        /// The commit has no deadline: it may land as long as the server keeps transactions.
        var isTransaction = false
        /// The outcome and the time of landing, if these are not left to chance.
        var fate = Fate.chance
        var landing: UInt64?
        /// The number of its last change.
        var change: UInt64?
        /// The journal that holds its intent.
        var record: JournalRecord?
        let beganAt: BootTime
        /// The time when the caller's part of it ended.
        var endedAt: BootTime?
        /// Commands of which something can land yet, or nobody knows better.
        private var open = 0
        private var waiting: [UnsafeContinuation<Void, Never>] = []

        init(worker: SimulatedWorker, parts: [(key: Int, content: Int?)]) {
            self.worker = worker
            self.parts = parts.map { Part(key: $0.key, content: $0.content) }
            beganAt = worker.world.now
        }

        var isChange: Bool { parts.contains { $0.version != nil } }

        /// Whether nothing of it can land any more, as far as its worker knows.
        var isSettled: Bool { endedAt != nil && open == 0 }

        /// A command of it ends, and it is not known how.
        func becameUnknown() { open += 1 }

        /// Nothing of that command can land any more.
        func becameKnown() {
            open -= 1
            guard open == 0 else { return }
            for continuation in waiting { continuation.resume() }
            waiting = []
        }

        /// Returns when the write cannot land any more.
        func settled() async {
            if open == 0 { return }
            await withUnsafeContinuation { waiting.append($0) }
        }
    }
}

/// A version that a write made or found, and the position of the write.
struct WrittenVersion {
    var position: SyncPosition
    var version: UInt64
    /// When its client was told.
    var time: BootTime
}

/// The place of a record: a journal, and how often it had been emptied by then.
struct JournalRecord {
    var journal: MemoryJournal
    var generation: Int
}
