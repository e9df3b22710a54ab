import Foundation
import IPCTesting
import TestSupport
import Testing

@testable import IPC

/// The steps after a write of unknown outcome, when its caller was answered (docs/consistency.md, "Writes that land
/// late").
@Suite(.timeLimit(.minutes(10))) struct UnknownOutcomeTests {
    @Test func `the error in it is thrown, and its end invalidates once more and takes the orphan away`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let landed = SharedTask<Void>()
            await #expect(throws: LoadFailed.self) { try await harness.failingWrite(until: landed) }
            #expect(harness.journal == ["orphan"])
            #expect(harness.syncd.invalidations == [[harness.tag]])
            #expect(harness.cache.session.unjournaled.repeatedCount == 0, "syncd repeats it until then")
            landed.finish(())
            await eventually("it is invalidated once more") { harness.journal.isEmpty }
            #expect(harness.syncd.invalidations == [[harness.tag], [harness.tag]])
            await eventually("nothing is left") { harness.cache.session.unsettled.count == 0 }
        }
    }

    @Test func `the orphan stays until syncd has taken what came after the end`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let landed = SharedTask<Void>()
            await #expect(throws: LoadFailed.self) { try await harness.failingWrite(until: landed) }
            await harness.syncd.stop()
            await eventually("it notices") { harness.cache.status.sync == .detached }
            landed.finish(())
            for _ in 0..<100 { await Task.yield() }
            #expect(harness.journal == ["orphan"])
            try await harness.syncd.start()
            await harness.connectAgain()
            await eventually("it is invalidated once more") { harness.journal.isEmpty }
        }
    }

    @Test func `without a journal the tags are told again every 5 s, until nothing can land any more`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            try FileManager.default.removeItem(atPath: harness.syncd.journal.path)
            await #expect(throws: LoadFailed.self) { try await harness.failingWrite(until: nil) }
            #expect(harness.syncd.invalidations.count == 1)
            await harness.pass(milliseconds: 4000)
            #expect(harness.syncd.invalidations.count == 1)
            await harness.pass(milliseconds: 2100)
            #expect(harness.syncd.invalidations.count == 2)
            await harness.pass(milliseconds: 120_000)
            let told = harness.syncd.invalidations.count
            #expect((21...26).contains(told))
            #expect(harness.cache.session.unjournaled.repeatedCount == 0)
            await harness.pass(milliseconds: 10_000)
            #expect(harness.syncd.invalidations.count == told)
        }
    }

    @Test func `without a journal, one whose end is known is told at its end`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            try FileManager.default.removeItem(atPath: harness.syncd.journal.path)
            let landed = SharedTask<Void>()
            await #expect(throws: LoadFailed.self) { try await harness.failingWrite(until: landed) }
            landed.finish(())
            await eventually("it is told") { harness.syncd.invalidations.count == 2 }
        }
    }

    @Test func `without a journal the tags are told every 5 s until the end is known, and not after it`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            try FileManager.default.removeItem(atPath: harness.syncd.journal.path)
            let landed = SharedTask<Void>()
            await #expect(throws: LoadFailed.self) { try await harness.failingWrite(until: landed) }
            await harness.pass(milliseconds: 6100)
            #expect(harness.syncd.invalidations.count == 2, "it may have landed, and nobody else repeats it")
            landed.finish(())
            await eventually("it is told") { harness.cache.session.unjournaled.repeatedCount == 0 }
            #expect(harness.syncd.invalidations.count == 3)
            await harness.pass(milliseconds: 10_000)
            #expect(harness.syncd.invalidations.count == 3)
        }
    }

    @Test func `those that are followed are bounded, and all are repeated`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            try FileManager.default.removeItem(atPath: harness.syncd.journal.path)
            let landed = SharedTask<Void>()
            for _ in 0...UnsettledWrites.maximum {
                await #expect(throws: LoadFailed.self) { try await harness.failingWrite(until: landed) }
            }
            let session = harness.cache.session
            #expect(session.unsettled.count == UnsettledWrites.maximum)
            #expect(session.unjournaled.repeatedCount == UnsettledWrites.maximum + 1)
            landed.finish(())
            await eventually("only the end of the last is unknown") { session.unjournaled.repeatedCount == 1 }
        }
    }

    @Test func `an end that syncd refuses to take is told again over the same connection`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let landed = SharedTask<Void>()
            await #expect(throws: LoadFailed.self) { try await harness.failingWrite(until: landed) }
            harness.syncd.script {
                if case .invalidate = $0 { [.reply(.error(ReplyError(.busy, "no room")))] } else { nil }
            }
            landed.finish(())
            await eventually("it is refused") { harness.syncd.invalidations.count == 2 }
            #expect(harness.journal == ["orphan"])
            harness.syncd.script(nil)
            await eventually("it is taken") {
                await harness.pass(milliseconds: 100)
                return harness.journal.isEmpty
            }
            #expect(harness.syncd.acceptedCount == 1)
        }
    }

    @Test func `nobody waits for an end any more when the cache stops, and the orphan is left to syncd`() async throws {
        let (unsettled, never) = (UnsettledWrites(), SharedTask<Void>())
        let isTold = SharedTask<Void>()
        // `settled` ignores cancellation: a separate task waits.
        unsettled.follow(until: { await Task { _ = try? await never.value() }.value }) { isTold.finish(()) }
        #expect(unsettled.count == 1)
        unsettled.end()
        await eventually("nobody waits") { unsettled.count == 0 }
        #expect(isTold.interestedCount == 1, "it was not told")
        never.finish(())
    }

    @Test func `too many tags become everything`() {
        let unjournaled = UnjournaledWrites()
        _ = unjournaled.repeat((0...UnjournaledWrites.maximumTags).map { "\($0)" }, from: 1)
        #expect(unjournaled.repeatedCount == 1)
    }
}

extension CacheHarness {
    /// A write of unknown outcome. `landed`: finished when it can't land any more; `nil`: nobody will know.
    fileprivate func failingWrite(until landed: SharedTask<Void>?) async throws {
        _ = try await cache.invalidating([tag]) { () async throws -> WriteResult<Int> in
            guard let landed else { throw LoadFailed() }
            throw UnknownOutcome(LoadFailed()) { _ = try? await landed.value() }
        }
    }
}
