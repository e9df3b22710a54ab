import Foundation
import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

@Suite(.timeLimit(.minutes(10))) struct WritingTests {
    private let event = Event(channel: "user:created", payload: "{}")

    @Test func `the intent is there while the write runs, and gone when it is answered`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let value = try await harness.cache.invalidating([harness.tag]) { [event] in
                #expect(harness.journal == ["intent"])
                #expect(harness.syncd.invalidations.isEmpty)
                return .changed("v", event: event)
            }
            #expect(value == "v")
            #expect(harness.journal.isEmpty)
            #expect(harness.syncd.invalidations == [[harness.tag]])
            #expect(harness.syncd.events == [event])
        }
    }

    @Test func `a write that changed nothing is invalidated, without an event`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let value = try await harness.cache.invalidating([harness.tag]) {
                #expect(harness.journal == ["intent"])
                return .unchanged(3)
            }
            #expect(value == 3)
            #expect(harness.journal.isEmpty)
            #expect(harness.syncd.invalidations == [[harness.tag]])
            #expect(harness.syncd.events.isEmpty)
        }
    }

    @Test func `a write that never reached the database says nothing`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            await #expect(throws: LoadFailed.self) {
                try await harness.cache.invalidating([harness.tag]) { () async throws -> WriteResult<Int> in
                    .rejected(LoadFailed())
                }
            }
            #expect(harness.journal.isEmpty)
            #expect(harness.syncd.invalidations.isEmpty)
        }
    }

    @Test func `a write that throws is invalidated and left as an orphan`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            await #expect(throws: LoadFailed.self) {
                try await harness.cache.invalidating([harness.tag]) { () async throws -> WriteResult<Int> in
                    throw LoadFailed()
                }
            }
            #expect(harness.journal == ["orphan"])
            #expect(harness.syncd.invalidations == [[harness.tag]])
        }
    }

    @Test func `deferred is taken`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            harness.syncd.script { if case .invalidate = $0 { [.reply(.simple(.deferred))] } else { nil } }
            #expect(try await harness.write().value == "done")
            #expect(harness.journal.isEmpty)
        }
    }

    @Test func `no reply for 500 ms: pending, and answered when syncd takes it over a new connection`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            syncd.script { if case .invalidate = $0 { [] } else { nil } }
            let write = harness.write(event: event)
            await eventually("it is sent") { syncd.invalidations.count == 1 }
            #expect(harness.journal == ["intent"])
            syncd.advance(by: .milliseconds(500))
            await eventually("it is pending") { harness.journal == ["pending"] && syncd.clock.sleeperCount == 2 }
            syncd.script(nil)
            let time = syncd.clock.now
            await harness.connectAgain(otherSleepers: 1)
            #expect(try await write.value == "done")
            #expect(syncd.clock.now - time < TrustTiming.trustWindowNanoseconds)
            #expect(syncd.invalidations.count == 2)
            #expect(syncd.events.count == 1, "syncd may have published the event already")
            #expect(harness.journal == ["pending"], "only syncd deletes it")
            #expect(harness.cache.session.unjournaled.count == 0)
        }
    }

    @Test func `nobody takes it: one trust window after the rename, and not before`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            await syncd.stop()
            await eventually("it notices") { harness.cache.status.sync == .detached }
            let done = SharedTask<Void>()
            let write = Task {
                defer { done.finish(()) }
                return try await harness.write(event: event).value
            }
            await eventually("it is pending") { harness.journal == ["pending"] && syncd.clock.sleeperCount == 2 }
            syncd.clock.advance(by: .milliseconds(1000))
            for _ in 0..<100 { await Task.yield() }
            #expect(done.interestedCount == 1, "a heartbeat that missed it may be a trust window old")
            syncd.clock.advance(by: .milliseconds(2))
            #expect(try await write.value == "done")
        }
    }

    @Test func `a client that hangs up is not a reason to acknowledge early`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            await syncd.stop()
            await eventually("it notices") { harness.cache.status.sync == .detached }
            let write = harness.write()
            let done = SharedTask<Void>()
            Task {
                _ = await write.result
                done.finish(())
            }
            await eventually("it is pending") { harness.journal == ["pending"] && syncd.clock.sleeperCount == 2 }
            write.cancel()
            syncd.clock.advance(by: .milliseconds(1000))
            for _ in 0..<100 { await Task.yield() }
            #expect(done.interestedCount == 1)
            syncd.clock.advance(by: .milliseconds(2))
            #expect(try await write.value == "done")
        }
    }

    @Test func `an event that was never sent goes with the retry`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            await syncd.stop()
            await eventually("it notices") { harness.cache.status.sync == .detached }
            let write = harness.write(event: event)
            await eventually("it is pending") { harness.journal == ["pending"] && syncd.clock.sleeperCount == 2 }
            try await syncd.start()
            await harness.connectAgain(otherSleepers: 1)
            #expect(try await write.value == "done")
            #expect(syncd.events == [event])
        }
    }

    @Test func `without a journal the write goes on, and syncd learns of it when it is there`() async throws {
        try await CacheHarness.run { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            await eventually("it tries to connect") { syncd.clock.sleeperCount == 1 }
            let write = harness.write()
            await eventually("it waits") { syncd.clock.sleeperCount == 2 }
            syncd.clock.advance(by: .milliseconds(1002))
            #expect(try await write.value == "done")
            #expect(harness.journal == ["pending"], "written where syncd is expected to look")
            #expect(harness.cache.session.unjournaled.count == 1)
            try await syncd.start()
            await harness.connectAgain()
            await eventually("syncd is told") { syncd.invalidations == [[harness.tag]] }
        }
    }

    @Test func `a journal that was wiped away is taken up again`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            try FileManager.default.removeItem(atPath: syncd.journal.path)
            #expect(try await harness.write().value == "done", "the write goes on")
            #expect(!harness.cache.session.isJournalUsable)
            _ = try JournalDirectory(path: syncd.journal.path)
            await eventually("it is taken up") {
                await harness.pass(milliseconds: 100)
                return harness.cache.session.isJournalUsable
            }
            _ = try await harness.cache.invalidating([harness.tag]) {
                #expect(harness.journal == ["intent"])
                return .changed(1, event: nil)
            }
        }
    }

    @Test func `a journal that could not be used is tried again for each write, without syncd, too`() async throws {
        try await CacheHarness.run { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            await eventually("it tries to connect") { syncd.clock.sleeperCount == 1 }
            try FileManager.default.removeItem(atPath: syncd.journal.path)
            let first = harness.write()
            await eventually("it waits") { syncd.clock.sleeperCount == 2 }
            syncd.clock.advance(by: .milliseconds(1002))
            #expect(try await first.value == "done")
            #expect(!harness.cache.session.isJournalUsable)
            _ = try JournalDirectory(path: syncd.journal.path)
            let second = harness.write()
            #expect(try await second.value == "done", "nobody believes the last heartbeat any more")
            #expect(harness.journal == ["pending"])
        }
    }

    /// syncd may have stood still, and go on just before the window ends: its next heartbeat would be believed.
    @Test
    func `a journal that can be used again when the window ends gets the record, and the window is that of a record`()
        async throws
    {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            await syncd.stop()
            await eventually("it notices") { harness.cache.status.sync == .detached }
            try FileManager.default.removeItem(atPath: syncd.journal.path)
            let done = SharedTask<Void>()
            let write = Task {
                defer { done.finish(()) }
                return try await harness.write().value
            }
            await eventually("it waits") { syncd.clock.sleeperCount == 2 }
            syncd.clock.advance(by: .milliseconds(900))
            _ = try JournalDirectory(path: syncd.journal.path)
            syncd.table.setScanStarted(syncd.clock.now)
            syncd.clock.advance(by: .milliseconds(102))
            await eventually("it is recorded") { harness.journal == ["pending"] && syncd.clock.sleeperCount == 2 }
            syncd.clock.advance(by: .milliseconds(890))
            for _ in 0..<100 { await Task.yield() }
            #expect(done.interestedCount == 1, "syncd has read the journal meanwhile, without the record")
            syncd.clock.advance(by: .milliseconds(20))
            #expect(try await write.value == "done")
        }
    }

    @Test func `without a journal an unanswered write waits and is made up for`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            try FileManager.default.removeItem(atPath: syncd.journal.path)
            syncd.script { if case .invalidate = $0 { [] } else { nil } }
            let write = harness.write()
            await eventually("it is sent") { syncd.invalidations.count == 1 }
            syncd.clock.advance(by: .milliseconds(500))
            await eventually("it waits") { syncd.clock.sleeperCount == 2 }
            syncd.clock.advance(by: .milliseconds(1002))
            #expect(try await write.value == "done")
            syncd.script(nil)
            syncd.heartbeat()
            // The worker may have connected again by now, and told a syncd that was still silent.
            let before = syncd.invalidations.count
            await eventually("syncd is told, and answers") {
                syncd.advance(by: .milliseconds(50))
                return syncd.invalidations.count > before && harness.cache.session.unjournaled.count == 0
            }
        }
    }

    @Test func `a refusal is not taken`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            syncd.script {
                if case .invalidate = $0 { [.reply(.error(ReplyError(.busy, "no room")))] } else { nil }
            }
            let write = harness.write()
            await eventually("it is pending") { harness.journal == ["pending"] && syncd.clock.sleeperCount == 1 }
            syncd.advance(by: .milliseconds(1002))
            #expect(try await write.value == "done")
            #expect(harness.cache.status.sync == .attached, "the connection is good")
        }
    }

    @Test func `tags that syncd would refuse stand for everything`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let many = (0..<1025).map { CacheTag("\($0)") }
            for tags in [many, [CacheTag(ByteBuffer(repeating: 1, count: 257))], [""]] {
                _ = try await harness.cache.invalidating(tags) { .changed(1, event: nil) }
            }
            #expect(harness.syncd.invalidations == Array(repeating: ["*"], count: 3))
            _ = try await harness.cache.invalidating([]) { .changed(1, event: nil) }
            #expect(harness.syncd.invalidations.count == 3)
        }
    }
}
