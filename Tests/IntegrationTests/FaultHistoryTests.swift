import Foundation
import TestSupport
import Testing

/// Real requests to two hosts on one Redis or one Redis Cluster, or to one host without Redis, and faults at random,
/// several at once.
///
/// `make faults TIME=600` runs it for ten minutes; in `make test` it is short. `FAULT_SEED` repeats what chance chose,
/// `FAULT_HOME` (redis, cluster, embedded) says where the log is, and `FAULT_DATABASE` (standalone, setOfThree) what MongoDB is;
/// otherwise the seed does.
@Suite(.tags(.manyProcesses), .processes(limit: nil)) struct FaultHistoryTests {
    private static let variables = ProcessInfo.processInfo.environment
    private static let seconds = variables["FAULT_SECONDS"].flatMap { Int($0) } ?? 25
    private static let seed = variables["FAULT_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)

    @Test func `whatever fails, nobody reads less than what was acknowledged`() async throws {
        let chosen = Self.variables["FAULT_DATABASE"].flatMap { FaultDatabase.Kind(rawValue: $0) }
        let home = Self.variables["FAULT_HOME"].flatMap { FaultStage.LogHome(rawValue: $0) }
        let homes = [FaultStage.LogHome.embedded, .redis, .redis, .cluster]
        let pace = FaultStage.Pace(
            harms: 3, calm: .seconds(15), home: home ?? homes[Int(Self.seed / 2 % 4)],
            database: chosen ?? (Self.seed % 2 == 0 ? .standalone : .setOfThree))
        let stage = try await FaultStage.start(pace, seed: Self.seed)
        let history = stage.history
        try await stage.run(for: .seconds(Self.seconds))
        print(
            "faults for \(Self.seconds) s, \(pace.home.rawValue), \(pace.database), FAULT_SEED=\(Self.seed):\n"
                + history.summary)
        for text in history.stale { print("stale: \(text)") }
        #expect(history.stale.isEmpty, "\(history.stale.prefix(5))\n\(stage.transcript)")
        #expect(history.failures.isEmpty, "\(history.failures.prefix(5))\n\(stage.transcript)")
        #expect(history.counts.reads > 100 && history.counts.writes > 10)
        #expect(history.count("L1") > 0 && history.count("BYPASS") > 0)
        try await stage.expectRecovery(waitsForLanding: Self.seconds >= 300)
    }
}
