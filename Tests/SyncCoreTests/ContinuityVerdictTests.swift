import IPCWire
import Testing

@testable import SyncCore

/// docs/consistency.md, "The log": the finding of an inspection.
@Suite struct ContinuityVerdictTests {
    private static let ours = Incarnation(high: 1, low: 1), theirs = Incarnation(high: 2, low: 2)

    private static func verdict(_ incarnation: Incarnation, at position: LogPosition, floor: LogPosition)
        -> ContinuityVerdict
    {
        let identity = ServerIdentity(runID: "run", replicationID: "replication")
        var logs = KnownLogs(ours)
        _ = logs.switchTo(ours)
        let found = Inspection(
            identity: identity, serverVersion: "7", isPrimary: true, rawRecord: nil, incarnation: incarnation,
            recordedIdentity: identity, position: position, firstEntry: nil, lastEntry: position,
            entryAtLastApplied: nil, warnings: [])
        return ContinuityVerdict(
            on: found, expected: LogSession.Expected(lastEntry: nil, floor: 0), floor: floor, earlier: nil,
            hasReplaced: false,
            logs: logs)
    }

    @Test func `another log must not begin below what came of the old one since the question`() {
        #expect(Self.verdict(Self.theirs, at: 1, floor: 6) == .replace(.logWentBack, .discontinuous))
        #expect(Self.verdict(Self.theirs, at: 6, floor: 6) == .switchLog)
    }

    @Test func `entries of the same log that came since the question are no reason to replace it`() {
        #expect(Self.verdict(Self.ours, at: 1, floor: 6) == .proceed(isContinuous: true))
    }
}
