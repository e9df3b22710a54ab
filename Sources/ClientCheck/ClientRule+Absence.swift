import IPCTesting
import IPCWire
import NIOCore

// Checks with a syncd that does not answer, or does not run.
extension ClientRule {
    static let absence = [
        ClientRule("silence", "No read waits longer than 500 ms for a syncd that does not answer.", isTimed: true) {
            stage in
            stage.database.set("k", 7)
            stage.syncd.standStill()
            let (value, time) = try await stage.timedRead("k")
            try stage.expect(value, "7", "syncd did not answer")
            try stage.expect(time < .milliseconds(500) + CheckStage.tolerance, "the read took \(time)")
        },
        ClientRule("late-reply", "A reply that comes late is not the answer to something else.") { stage in
            stage.database.set("a", 1)
            stage.database.set("b", 2)
            stage.syncd.script { $0.fetchedText == "a" ? .hold : nil }
            try stage.expect(try await stage.read("a"), "1", "syncd did not answer in time")
            let late = stage.syncd.heard.last { $0.request.fetchedText == "a" }?.connection
            late?.send(.fetched(stage.syncd.entry("3")))
            try stage.expect(try await stage.read("b"), "2", "the reply for another key came late")
            try await stage.until("it closes the connection on which a reply is overdue", within: .seconds(2)) {
                late?.isClosed == true
            }
        },
        ClientRule("no-syncd", "Without syncd, reads and writes go on.", isTimed: true) { stage in
            stage.database.set("k", 7)
            await stage.syncd.stop()
            let (value, time) = try await stage.timedRead("k")
            try stage.expect(value, "7", "there was no syncd")
            try stage.expect(time < .milliseconds(500) + CheckStage.tolerance, "the read took \(time)")
            let start = ContinuousClock.now
            try stage.expect(try await stage.write("k"), "8", "there was no syncd")
            let writeTime = ContinuousClock.now - start
            try stage.expect(writeTime < .milliseconds(1500) + CheckStage.tolerance, "the write took \(writeTime)")
            let pending = try stage.journalFiles(.pending)
            try stage.expect(pending.count == 1, "\(pending.count) files `.pending` are in the journal instead of 1")
        },
        ClientRule("return", "When syncd is back, it is asked again within 3 s.", isTimed: true) { stage in
            await stage.syncd.stop()
            stage.database.set("k", 7)
            try stage.expect(try await stage.read("k"), "7", "there was no syncd")
            try await stage.syncd.start()
            let before = stage.syncd.fetches("k")
            try await stage.until("it asks syncd within 3 s", within: .seconds(3) + CheckStage.tolerance) {
                try await stage.read("k")
                return stage.syncd.fetches("k") > before
            }
        },
    ]
}
