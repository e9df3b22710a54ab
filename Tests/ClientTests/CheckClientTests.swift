import TestSupport
import Testing

@testable import ClientCheck

/// `syncd check-client` with clients that are right.
@Suite(.tags(.preciseTiming), .processes) struct CheckClientTests {
    private func verdicts(_ launch: @escaping CheckStage.Launch) async throws -> [String: CheckRunner.Verdict] {
        let verdicts = try await CheckRunner(launch: launch).run()
        for (check, verdict) in verdicts {
            if case .broken(let how) = verdict { Issue.record("\(check.name): \(how)") }
        }
        return Dictionary(uniqueKeysWithValues: verdicts.map { ($0.check.name, $0.verdict) })
    }

    private func skipped(_ verdicts: [String: CheckRunner.Verdict]) -> Set<String> {
        Set(verdicts.filter { if case .skipped = $0.value { true } else { false } }.keys)
    }

    private let waiting = Set(ClientRule.waiting.map(\.name))
    private let keeping = Set(ClientRule.keeping.map(\.name))
    private let sharing = Set(ClientRule.sharing.map(\.name))

    @Test(arguments: ExampleClient.allCases)
    func `an example keeps every rule that concerns it`(_ client: ExampleClient) async throws {
        let verdicts = try await verdicts { try await client.launch($0, errorPath: $1) }
        let expected: Set<String> =
            switch client {
            case .pythonRESP3: ["same-epoch"]
            case .pythonRESP2: waiting.union(["same-epoch"])
            case .nodePushes: sharing
            case .nodePlain: waiting.union(keeping).union(sharing)
            }
        #expect(skipped(verdicts) == expected)
        #expect(verdicts.count == ClientRule.all.count)
    }

    @Test func `the worker in Swift keeps every rule`() async throws {
        let verdicts = try await verdicts { environment, _ in
            try await SwiftClient(
                socketPath: environment["SYNCD_SOCKET"] ?? "", databasePath: environment["DATABASE_SOCKET"] ?? "")
        }
        #expect(skipped(verdicts) == ["same-epoch"])
    }

    @Test func `the command says what it finds, and its status is for scripts`() async throws {
        let client = ExampleClient.nodePlain
        let program = try Executables.built("syncd")
        let good = try await ChildProcess.run(
            program, ["check-client", "--only", "hit", "--only", "miss", "--"] + client.command(),
            environment: client.environment, within: .seconds(60))
        #expect(good.exit == .status(0))
        #expect(good.output.contains("ok       hit\nok       miss\n2 kept, 0 broken, 0 skipped\n"))

        let list = try await ChildProcess.run(program, ["check-client", "--list"])
        #expect(list.output.split(separator: "\n").count == ClientRule.all.count)

        let none = try await ChildProcess.run(
            program, ["check-client", "--", "/bin/false"], environment: client.environment, within: .seconds(60))
        #expect(none.exit == .status(1))
        #expect(none.errors.contains("it has ended"))
        #expect(try await ChildProcess.run(program, ["check-client"]).exit == .status(64))
        #expect(try await ChildProcess.run(program, ["check-client", "--only", "x", "--", "y"]).exit == .status(64))
    }

    @Test func `checks have names of their own and say their rule`() {
        #expect(Set(ClientRule.all.map(\.name)).count == ClientRule.all.count)
        for check in ClientRule.all { #expect(check.rule.hasSuffix(".") && !check.name.isEmpty) }
    }
}
