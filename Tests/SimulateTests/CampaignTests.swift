import Foundation
import TestSupport
import Testing

/// The simulator itself, as a program: it takes over the concurrency runtime of its process.
@Suite(.tags(.simulation), .serialized) struct CampaignTests {
    /// Runs `simulate` to its end.
    private func simulate(_ arguments: String..., within limit: Duration) async throws -> (
        status: Int32?, output: String
    ) {
        let child = try ChildProcess(Executables.built("simulate"), arguments)
        await eventually("simulate ends", within: limit, details: { child.transcript }) { child.exit != nil }
        guard case .status(let status)? = child.exit else { return (nil, child.transcript) }
        return (status, child.transcript)
    }

    /// No promise is broken, and every rare situation is reached.
    @Test func `a fixed campaign`() async throws {
        let (status, output) = try await simulate("--seeds", "1..1000", within: .seconds(900))
        #expect(status == 0, "\(output)")
        #expect(output.contains("1000 seeds"), "\(output)")
    }

    /// Rare races, made frequent (docs/simulation.md, "Races").
    @Test(arguments: [
        "lostTail", "lostLog", "newTable", "longPass", "attaching", "lateOrphan", "trimmedGap", "wakeRace",
        "rewrittenLog", "slowPages", "splitLog", "equalWrites", "lateTransaction", "hungWriter", "replacedJournal",
        "doubtWithoutJournal", "syncdStarts", "undeletableMarker", "keepFile", "rollBack", "writeBoth",
    ])
    func `races`(often race: String) async throws {
        let (status, output) = try await simulate(
            "--seeds", "1..12", "--often", race, "--allow-missing-goals", within: .seconds(300))
        #expect(status == 0, "\(output)")
        #expect(output.contains("12 seeds"), "\(output)")
    }

    /// Spread, early refresh, grace and audits change no promise.
    @Test func `what the cache can do besides`() async throws {
        let (status, output) = try await simulate(
            "--seeds", "1..150", "--cache-features", "--allow-missing-goals", within: .seconds(300))
        #expect(status == 0, "\(output)")
        for figure in ["source STALE", "renewals asked for", "loads in the background"] {
            #expect(output.contains(figure), "\(output)")
        }
    }

    @Test func `one seed is one trace`() async throws {
        let (status, output) = try await simulate(
            "--seeds", "1001..1010", "--check-determinism", "--allow-missing-goals", within: .seconds(120))
        #expect(status == 0, "\(output)")
        let first = try await simulate("--seed", "1001", within: .seconds(60)).output
        let second = try await simulate("--seed", "1001", within: .seconds(60)).output
        let hash = first.split(separator: "\n").first { $0.contains("trace hash") }
        #expect(hash != nil)
        #expect(second.split(separator: "\n").first { $0.contains("trace hash") } == hash)
    }

    @Test func `arguments that make no sense`() async throws {
        for arguments in [
            ["--seed", "x"], ["--seeds", "5..1"], ["--steps", "0"], ["--seed", "1", "--seeds", "1..2"],
        ] {
            let child = try ChildProcess(Executables.built("simulate"), arguments)
            await eventually("simulate ends", within: .seconds(20)) { child.exit != nil }
            #expect(child.exit == .status(64), "\(child.transcript)")
        }
    }
}
