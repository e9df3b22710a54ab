import Foundation
import TestSupport
import Testing

/// Real requests to two hosts, and faults at random, one or two at once.
///
/// `make faults TIME=600` runs it for ten minutes; in `make test` it is short. `FAULT_SEED` repeats what chance chose.
@Suite(.processes) struct FaultHistoryTests {
    private static let variables = ProcessInfo.processInfo.environment
    private static let seconds = variables["FAULT_SECONDS"].flatMap { Int($0) } ?? 25
    private static let seed = variables["FAULT_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)

    @Test func `whatever fails, nobody reads less than what was acknowledged`() async throws {
        let stage = try await FaultStage.start(seed: Self.seed)
        try await stage.run(for: .seconds(Self.seconds))
        print("faults for \(Self.seconds) s, FAULT_SEED=\(Self.seed):\n\(stage.history.summary)")
        #expect(stage.history.stale.isEmpty, "\(stage.history.stale.prefix(5))\n\(stage.transcript)")
        #expect(stage.history.failures.isEmpty, "\(stage.history.failures.prefix(5))\n\(stage.transcript)")
        #expect(stage.history.counts.reads > 100 && stage.history.counts.writes > 10)
        #expect(stage.history.count("L1") > 0 && stage.history.count("BYPASS") > 0)
        try await stage.expectRecovery()
    }

    @Test func `the history notices what is too old`() {
        let history = FaultHistory(hosts: 2, keys: 1)
        history.acknowledged(0, version: 5, on: 0)
        let own = history.readBegins(0, on: 0)
        let other = history.readBegins(0, on: 1)
        history.acknowledged(0, version: 6, on: 0)
        history.readEnded(own, version: 5, source: "L1", worker: "w")
        history.readEnded(other, version: 1, source: "L1", worker: "w")
        #expect(history.stale.isEmpty, "6 came later, and another host has time")
        history.readEnded(own, version: 4, source: "L1", worker: "w")
        #expect(history.stale == ["w read 4 of key 0 from L1; its host had 5"])
    }
}
