import IPC
import IPCTesting
import IPCWire
import Synchronization

// A write: intent, database, commit.
extension ClientRule {
    static let writing = [
        ClientRule("intent", "A write's tags are in the journal before the database is asked, and gone after it.") {
            stage in
            let seen = Mutex<[[CacheTag]?]>([])
            stage.database.script { verb, key in
                if verb == .write, key == "k" {
                    let intents = (try? stage.journalFiles(.intent)) ?? []
                    seen.withLock { $0 = intents.map(stage.tags) }
                }
                return nil
            }
            try await stage.write("k")
            let tags = seen.withLock { $0 }
            try stage.expect(
                tags.count == 1,
                "\(tags.count) intents that syncd can read were in the journal when the write reached the database")
            try stage.expect(tags.first?.map { !$0.isEmpty } == true, "the file in the journal was not complete")
            try stage.expect(
                stage.syncd.invalidations.last == tags.first ?? nil,
                "it invalidated other tags than it had written down")
            try await stage.until("the intent is deleted") { try stage.journalFiles(.intent).isEmpty }
            try stage.expect(
                try stage.journalFiles(.pending).isEmpty, "it left a file `.pending` though syncd had answered")
        },
        ClientRule("commit", "INVALIDATE comes after the write, and the answer after syncd's.") { stage in
            let early = Mutex(false)
            stage.database.script { verb, _ in
                if verb == .write, !stage.syncd.invalidations.isEmpty { early.withLock { $0 = true } }
                return nil
            }
            let answered = Mutex(false)
            stage.syncd.script { if case .invalidate = $0 { .hold } else { nil } }
            @Sendable func write() async throws {
                try await stage.write("k")
                answered.withLock { $0 = true }
            }
            async let end: Void = write()
            try await stage.until("an INVALIDATE") { !stage.syncd.invalidations.isEmpty }
            try stage.expect(!early.withLock { $0 }, "it invalidated before the database had the write")
            try await Task.sleep(for: .milliseconds(200))
            try stage.expect(!answered.withLock { $0 }, "it acknowledged the write before syncd had answered")
            if let heard = stage.syncd.heard.last(where: { if case .invalidate = $0.request { true } else { false } }) {
                heard.connection.send(.integer(stage.syncd.invalidate(["=k"]).number))
            }
            try await end
        },
        ClientRule("own-write", "A client reads its own writes.") { stage in
            _ = try await stage.load("k", 7)
            try stage.expect(try await stage.write("k"), "8", "INCR of 7")
            try stage.expect(try await stage.read("k"), "8", "it has written 8 itself")
        },
        ClientRule("deferred", "DEFERRED is an answer: the invalidation is pending in syncd now.", isTimed: true) {
            stage in
            stage.syncd.script { if case .invalidate = $0 { .reply(.simple(.deferred)) } else { nil } }
            let start = ContinuousClock.now
            try await stage.write("k")
            try stage.expect(ContinuousClock.now - start < .milliseconds(500), "it went on waiting after DEFERRED")
            try stage.expect(
                try stage.journalFiles(.pending).isEmpty,
                "it left a file `.pending` for an invalidation that is pending in syncd already")
        },
        ClientRule(
            "unanswered-write",
            "Without an answer in 500 ms: close, rename the intent to .pending, acknowledge 1 s after that.",
            isTimed: true
        ) { stage in
            stage.syncd.script { if case .invalidate = $0 { .hold } else { nil } }
            let start = ContinuousClock.now
            try await stage.write("k")
            let (time, end) = (ContinuousClock.now - start, SystemFiles.wallClock)
            let pending = try stage.journalFiles(.pending)
            try stage.expect(pending.count == 1, "\(pending.count) files `.pending` are in the journal instead of 1")
            try stage.expect(
                pending.first.flatMap(stage.tags) == stage.syncd.invalidations.first,
                "the file `.pending` has other tags")
            guard
                let renamed = pending.first.flatMap({ SystemFiles.changeTime("\(stage.syncd.journal.path)/\($0.name)") }
                )
            else { throw BrokenRule("the file `.pending` is gone: only syncd may delete it") }
            // A file's time may be one tick of the kernel behind.
            try stage.expect(end - renamed >= .milliseconds(990), "it acknowledged \(end - renamed) after the rename")
            try stage.expect(time < .milliseconds(1500) + CheckStage.tolerance, "the write took \(time)")
            let silent = stage.syncd.heard.first { if case .invalidate = $0.request { true } else { false } }?
                .connection
            try stage.expect(silent?.isClosed != false, "it left the connection open on which the reply is overdue")
        },
        ClientRule("failed-write", "A write that failed may have happened: it is invalidated, and stays as .orphan.") {
            stage in
            stage.database.script { verb, _ in verb == .write ? .error("no answer today") : nil }
            if case .value(let value, _) = try await stage.client.ask(.write, "k") {
                throw BrokenRule("the database failed, and it acknowledged \(value)")
            }
            try stage.expect(!stage.syncd.invalidations.isEmpty, "it did not invalidate")
            let orphans = try stage.journalFiles(.orphan)
            try stage.expect(orphans.count == 1, "\(orphans.count) files `.orphan` are in the journal instead of 1")
            try stage.expect(
                orphans.first.flatMap(stage.tags) == stage.syncd.invalidations.first,
                "the file `.orphan` has other tags")
        },
    ]
}
