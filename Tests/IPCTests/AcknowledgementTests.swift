import Foundation
import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

/// The time of the answer to a write that no syncd has accepted (docs/consistency.md, "Writing", step 4): as soon as no
/// heartbeat is trusted any more that may have missed the file.
@Suite(.timeLimit(.minutes(10))) struct AcknowledgementTests {
    /// The state that a write finds.
    private struct Scene {
        let harness: CacheHarness
        var syncd: ScriptedSyncd { harness.syncd }

        /// Expects that a write that begins now is answered after this long, and not earlier.
        func expectAnswer(afterMilliseconds wait: UInt64, _ why: Comment? = nil) async throws {
            let done = SharedTask<Void>()
            let task = Task {
                defer { done.finish(()) }
                return try await harness.write().value
            }
            if wait > 0 {
                await eventually("it waits") { syncd.clock.sleeperCount == 2 }
                syncd.clock.advance(by: .milliseconds(wait - 1))
                for _ in 0..<100 { await Task.yield() }
                #expect(done.interestedCount == 1, why)
                syncd.clock.advance(by: .milliseconds(1))
            }
            #expect(try await task.value == "done", why)
        }
    }

    /// Runs a test with a worker that was connected to a syncd which is gone now.
    private func withoutSyncd(_ body: (Scene) async throws -> Void) async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            await harness.syncd.stop()
            await eventually("it notices, and waits to connect again") {
                harness.cache.status.sync == .detached && harness.syncd.clock.sleeperCount == 1
            }
            try await body(Scene(harness: harness))
        }
    }

    @Test func `a heartbeat of this moment is waited for`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.heartbeat()
            try await scene.expectAnswer(afterMilliseconds: 1001)
        }
    }

    @Test func `of a heartbeat that is 400 ms old, 600 ms are left`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.heartbeat()
            scene.syncd.clock.advance(by: .milliseconds(400))
            try await scene.expectAnswer(afterMilliseconds: 601)
        }
    }

    @Test func `a trust window after the last heartbeat nobody waits`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.heartbeat()
            scene.syncd.clock.advance(by: .milliseconds(1002))
            try await scene.expectAnswer(afterMilliseconds: 0)
            #expect(scene.harness.journal == ["pending"])
            #expect(scene.harness.cache.session.unjournaled.count == 0)
        }
    }

    @Test func `a reading of the journal that has begun may still bring a heartbeat of its beginning`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.heartbeat()
            scene.syncd.clock.advance(by: .milliseconds(5000))
            // A syncd that starts at this very moment: it reads the directory before the file is there, and writes its
            // heartbeat later.
            scene.syncd.table.setScanStarted(scene.syncd.clock.now)
            try await scene.expectAnswer(afterMilliseconds: 1001)
        }
    }

    @Test func `a syncd that stands still between its reading and its heartbeat`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.heartbeat()
            scene.syncd.clock.advance(by: .milliseconds(300))
            scene.syncd.table.setScanStarted(scene.syncd.clock.now)
            scene.syncd.clock.advance(by: .milliseconds(800))
            try await scene.expectAnswer(afterMilliseconds: 201)
        }
    }

    @Test func `an older syncd does not say when it reads: the whole window`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.clock.advance(by: .milliseconds(5000))
            scene.syncd.table.setScanStarted(0)
            try await scene.expectAnswer(afterMilliseconds: 1001)
        }
    }

    @Test
    func `an older syncd took the table over and writes heartbeats without saying when it reads: the whole window`()
        async throws
    {
        try await withoutSyncd { scene in
            scene.syncd.clock.advance(by: .milliseconds(5000))
            scene.syncd.table.setHeartbeat(scene.syncd.clock.now)
            scene.syncd.clock.advance(by: .milliseconds(700))
            try await scene.expectAnswer(afterMilliseconds: 1001)
        }
    }

    @Test func `what could not be written into the journal is found by no reading: the whole window`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.clock.advance(by: .milliseconds(5000))
            try FileManager.default.removeItem(atPath: scene.syncd.journal.path)
            try await scene.expectAnswer(afterMilliseconds: 1001)
            #expect(scene.harness.cache.session.unjournaled.count == 1)
        }
    }

    @Test func `a table that nobody heartbeat in: the whole window`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.clock.advance(by: .milliseconds(5000))
            scene.syncd.table.setHeartbeat(0)
            try await scene.expectAnswer(afterMilliseconds: 1001)
        }
    }

    @Test func `a table that was deleted, which others may still map: the whole window`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.clock.advance(by: .milliseconds(5000))
            try FileManager.default.removeItem(atPath: scene.syncd.tablePath)
            try await scene.expectAnswer(afterMilliseconds: 1001)
        }
    }

    @Test func `a table that was replaced is judged by what the new one says`() async throws {
        try await withoutSyncd { scene in
            scene.syncd.clock.advance(by: .milliseconds(5000))
            try FileManager.default.removeItem(atPath: scene.syncd.tablePath)
            let (table, isNew) = try TagTableFile.openOrCreate(path: scene.syncd.tablePath, slotBits: 16)
            #expect(isNew)
            try await scene.expectAnswer(afterMilliseconds: 1001, "its syncd has not written a heartbeat yet")
            table.setScanStarted(scene.syncd.clock.now)
            table.setHeartbeat(scene.syncd.clock.now)
            scene.syncd.clock.advance(by: .milliseconds(250))
            try await scene.expectAnswer(afterMilliseconds: 751)
            scene.syncd.clock.advance(by: .milliseconds(1000))
            try await scene.expectAnswer(afterMilliseconds: 0)
        }
    }

    @Test func `a worker that has never met syncd looks at the table beside the socket`() async throws {
        try await CacheHarness.run { (harness: CacheHarness) async throws in
            await eventually("it tries to connect") { harness.syncd.clock.sleeperCount == 1 }
            let scene = Scene(harness: harness)
            try await scene.expectAnswer(afterMilliseconds: 1001, "it has a heartbeat of just now")
            harness.syncd.clock.advance(by: .milliseconds(1000))
            try await scene.expectAnswer(afterMilliseconds: 0)
        }
    }

    @Test func `no table at all: the whole window`() async throws {
        try await CacheHarness.run { (harness: CacheHarness) async throws in
            try FileManager.default.removeItem(atPath: harness.syncd.tablePath)
            await eventually("it tries to connect") { harness.syncd.clock.sleeperCount == 1 }
            harness.syncd.clock.advance(by: .milliseconds(5000))
            try await Scene(harness: harness).expectAnswer(afterMilliseconds: 1001)
        }
    }
}
