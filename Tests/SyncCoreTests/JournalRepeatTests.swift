import IPCTesting
import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Files that stay in the journal for a while: writes that may still happen, workers that hang, files that nobody may
/// delete.
@Suite struct JournalRepeatTests {
    private func item(
        _ kind: JournalItem.Kind, _ name: String = "w-1", _ tags: String..., version: UInt64 = 0
    ) -> JournalItem {
        JournalItem(name: name, kind: kind, tags: tags.map { .text($0) }, version: version)
    }

    @Test func `an orphan is appended every 5 s until nothing of its write can happen any more`() {
        let host = EngineHarness(.embedded)
        host.journal = [item(.orphan, "w-1", "t")]
        host.advance(milliseconds: 1000)
        #expect(host.slot("t") == 1)
        for round in 2...20 {
            host.advance(milliseconds: 5100)
            #expect(host.slot("t").number == UInt64(round))
        }
        #expect(host.journal.count == 1)
        host.advance(milliseconds: 18_000)
        #expect(host.journal.count == 1, "115 s after the first time")
        let before = host.slot("t")
        host.advance(milliseconds: 10_000)
        #expect(host.slot("t") > before)
        #expect(host.journal.isEmpty)
        let last = host.slot("t")
        host.advance(milliseconds: 10_000)
        #expect(host.slot("t") == last)
    }

    @Test func `an orphan that its owner deletes is appended no more`() {
        let host = EngineHarness(.embedded)
        host.journal = [item(.orphan, "w-1", "t")]
        host.advance(milliseconds: 100)
        host.journal = []
        host.advance(milliseconds: 130_000)
        #expect(host.slot("t") == 1)
        // Nothing is kept of it: where a directory comes back, its time begins anew.
        host.journal = [item(.orphan, "w-1", "t")]
        host.advance(milliseconds: 5200)
        #expect(host.slot("t") == 3 && host.journal.count == 1)
    }

    @Test func `many orphans of one pass go into few appends`() {
        let host = EngineHarness(.embedded)
        host.journalPart = 10
        host.journal = (0..<100).map { item(.orphan, "w-\($0)", "t\($0 % 10)", "u\($0)") }
        host.advance(milliseconds: 100)
        #expect(host.applied == 1)
        #expect((0..<100).allSatisfy { host.slot("u\($0)") == 1 })
        host.advance(milliseconds: 5100)
        #expect(host.applied == 2)
    }

    /// This syncd does not know how long the file has been there.
    @Test func `a syncd that has slept appends the intents of living owners at once`() {
        let host = EngineHarness(.embedded)
        host.advance(milliseconds: 500)
        host.now += 6_000_000_000
        host.journal = [item(.living, "w-1.intent", "t")]
        host.advance(milliseconds: 200)
        #expect(host.slot("t") == 1)
    }

    @Test func `a hung owner's time goes on when the journal directory is replaced`() {
        let host = EngineHarness(.embedded)
        host.journal = [item(.living, "w-1.intent", "t")]
        host.advance(milliseconds: 2000)
        host.journal = [item(.living, "1/w-1.intent", "t")]
        host.advance(milliseconds: 900)
        #expect(host.slot("t") == 0)
        host.advance(milliseconds: 300)
        #expect(host.slot("t") == 1)
        host.journal = [item(.living, "2/w-1.intent", "t")]
        host.advance(milliseconds: 4500)
        #expect(host.slot("t") == 1, "it was appended a short while ago")
        host.advance(milliseconds: 700)
        #expect(host.slot("t") == 2)
    }

    /// The owner hangs between database and invalidation, or before: this is unknown.
    @Test func `the intent of a living owner is appended after 3 s, again every 5 s, and stays`() {
        let host = EngineHarness(.embedded)
        host.journal = [item(.living, "w-1.intent", "t")]
        host.advance(milliseconds: 2900)
        #expect(host.applied == 0)
        host.advance(milliseconds: 300)
        #expect(host.slot("t") == 1)
        for _ in 0..<30 { host.advance(milliseconds: 5100) }
        #expect(host.slot("t") > 25)
        #expect(host.journal.count == 1, "its owner will delete or rename it")
    }

    @Test func `an owner that dies later begins the time of an orphan anew`() {
        let host = EngineHarness(.embedded)
        host.journal = [item(.living, "w-1.intent", "t")]
        host.advance(milliseconds: 200_000)
        let before = host.slot("t")
        host.journal = [item(.orphan, "w-1.intent", "t")]
        host.advance(milliseconds: 100)
        #expect(host.slot("t") == before + 1, "at once")
        host.advance(milliseconds: 115_000)
        #expect(host.journal.count == 1)
        host.advance(milliseconds: 10_000)
        #expect(host.journal.isEmpty)
    }

    @Test func `an intent that a living owner has not finished asks for nothing`() {
        let host = EngineHarness(.embedded)
        host.journal = [item(.living, "w-1.intent")]
        host.advance(milliseconds: 10_000)
        #expect(host.applied == 0)
        #expect(host.journal.count == 1)
    }

    @Test func `a file that cannot be deleted is appended once, and its deletion is tried now and then`() {
        let host = EngineHarness(.embedded)
        host.undeletable = ["w-1"]
        host.journal = [item(.pending, "w-1", "t", version: 7)]
        host.advance(milliseconds: 1000)
        #expect(host.slot("t") == 1)
        #expect(host.status("undeletable") == .number(1))
        _ = host.take()
        host.advance(milliseconds: 60_000)
        #expect(host.slot("t") == 1)
        let attempts = host.take().filter { if case .removeJournalFile = $0 { true } else { false } }
        #expect((5...6).contains(attempts.count), "every 10 s")
        host.undeletable = []
        host.advance(milliseconds: 11_000)
        #expect(host.journal.isEmpty && host.slot("t") == 1)
        #expect(host.status("undeletable") == .number(0))
    }

    @Test func `another file under the name of one that could not be deleted is appended`() {
        let host = EngineHarness(.embedded)
        host.undeletable = ["w-1"]
        host.journal = [item(.pending, "w-1", "t", version: 7)]
        host.advance(milliseconds: 1000)
        host.journal = [item(.pending, "w-1", "u", version: 8)]
        host.advance(milliseconds: 1000)
        #expect(host.slot("u") == 2)
    }

    @Test func `a marker that cannot be deleted is obeyed once`() {
        let server = HarnessServer()
        let host = EngineHarness.attached(server)
        host.undeletable = ["syncd.marker"]
        host.journal = [item(.marker, "syncd.marker", version: 7)]
        host.advance(milliseconds: 2000)
        host.settle()
        #expect(host.state == .attached)
        let replacements = server.replacements
        host.advance(milliseconds: 30_000)
        host.settle()
        #expect(server.replacements == replacements)
    }

    @Test func `a pass whose parts were begun and not finished makes no heartbeat`() {
        let host = EngineHarness(.embedded)
        let before = host.table.heartbeat
        host.journalPart = 1
        host.isRestReadable = false
        host.journal = [item(.pending, "w-1", "a"), item(.pending, "w-2", "b")]
        host.advance(milliseconds: 2000)
        #expect(host.table.heartbeat == before && host.journal.count == 2)
        host.isRestReadable = true
        host.advance(milliseconds: 100)
        #expect(host.table.heartbeat > before && host.slot("a") > 0 && host.slot("b") > 0 && host.journal.isEmpty)
    }

    @Test func `a journal that cannot be read makes no heartbeat, and status says why`() {
        let host = EngineHarness(.embedded)
        let before = host.table.heartbeat
        host.isJournalReadable = false
        host.advance(milliseconds: 2000)
        #expect(host.table.heartbeat == before)
        #expect(host.status("state") == .text("isolated"), "nobody believes a table without a heartbeat")
        #expect(host.status("why") == .text("the journal /j cannot be read: unusable"))
        host.isJournalReadable = true
        host.advance(milliseconds: 100)
        #expect(host.status("state") == .text("attached") && host.status("why") == .null)
        #expect(host.status("journal") == .null)
    }

    @Test func `a syncd whose table was taken away never writes a heartbeat again`() {
        let host = EngineHarness(.embedded)
        host.advance(milliseconds: 200)
        host.loseTable()
        let before = host.table.heartbeat
        host.journal = [item(.pending, "w-1", "t")]
        host.advance(milliseconds: 5000)
        #expect(host.table.heartbeat == before && host.table.state == .isolated)
        #expect(host.journal.count == 1, "it is the other's")
    }

    /// From the start on: the first reading of the journal, after which all of them are stored anew, may take long.
    @Test func `times of another boot are forgotten`() {
        let (table, now) = (TagTable.inMemory(), BootTime(1_000_000_000_000))
        table.setHeartbeat(.max)
        table.setScanStarted(.max - 1)
        table.setFreshAsOf(.max)
        let engine = SyncEngine(
            configuration: EngineConfiguration(mode: .embedded, version: "test", tablePath: "/t", journalPath: "/j"),
            table: table, arena: nil, random: SeededRandom(seed: 1), now: now, wallClock: 0)
        #expect(engine.state == .isolated)
        #expect(table.heartbeat <= now && table.scanStarted <= now && table.freshAsOf <= now)
        let host = EngineHarness(.embedded, table: table)
        host.advance(milliseconds: 100)
        #expect(table.heartbeat > 0 && table.scanStarted >= table.heartbeat)
    }

    /// A process that writes to the table's memory while syncd runs ends nothing: such a tag is a miss for ever.
    @Test func `numbers near 2^64 in the table of a running syncd trap nothing`() {
        let host = EngineHarness(.embedded)
        host.client(1)
        let slot = TagHash.tag(.text("t"))
        host.table.raise(slot, to: .max)
        host.table.setApplied(.max)
        host.table.setEpoch(.max)
        host.table.setFirstKnownPosition(.max)
        host.advance(milliseconds: 1000)
        #expect(host.request(.invalidate(tags: [.text("t")], event: nil)) == .integer(1))
        _ = host.request(.explain(key: .text("t")))
        host.advance(milliseconds: 1000)
        #expect(host.slot("t") == .max)
    }
}
