import Foundation
import TestSupport
import Testing

/// A steady load for a long time, with a fault now and then, while somebody looks at what the processes hold.
///
/// `make soak TIME=3600` runs it and judges what it has written down (scripts/soak).
@Suite(.tags(.servers), .processes) struct SoakTests {
    private static let variables = ProcessInfo.processInfo.environment
    private static let seconds = variables["SOAK_SECONDS"].flatMap { Int($0) }
    /// Processes of the first host live through everything; those of the second are killed, too.
    private static let pace = FaultStage.Pace(
        keys: 200, betweenWrites: 0...30_000, betweenReads: 0...35, harms: 1, betweenHarms: 5000...20_000,
        firstMortalHost: 1, environment: ["LOG_LEVEL": "info"])

    @Test(.enabled(if: seconds != nil, "it takes long: make soak"))
    func `for a long time nothing grows, fails or gets old`() async throws {
        let length = Duration.seconds(try #require(Self.seconds))
        var stage = try await FaultStage.start(
            Self.pace, seed: Self.variables["FAULT_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max))
        let folder = try #require(Self.variables["SOAK_FOLDER"], "SOAK_FOLDER: where to write figures")
        let log = try SoakLog(folder: folder)
        stage.onAnswer = { log.answered($0, within: $1) }
        stage.onFault = { log.began($0) }
        let running = stage
        try await running.run(for: length) {
            while !running.history.isOver {
                try log.sample(running)
                try? await Task.sleep(for: .seconds(min(5, length.components.seconds / 30 + 1)))
            }
        }
        print("soak for \(length), FAULT_SEED=\(stage.chance.seed):\n\(stage.history.summary)")
        #expect(stage.history.stale.isEmpty, "\(stage.history.stale.prefix(5))")
        #expect(stage.history.failures.isEmpty, "\(stage.history.failures.prefix(5))")
        try await stage.expectRecovery()
    }
}
