import ArgumentParser
import ClientCheck
import ProcessSupport

/// `syncd check-client`: reports the rules that a client breaks.
struct CheckClientCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-client", abstract: "Check a client in any language against a scripted syncd.",
        discussion: """
            Starts COMMAND again and again, each time with SYNCD_SOCKET and DATABASE_SOCKET in its environment: a syncd \
            and a database (GET and INCR of Redis) that only play parts. COMMAND reads lines "<id> read <key>" and \
            "<id> write <key>" from its standard input, does each as a service would, with its cache, and answers \
            "<id> ok <value> <source>" ("-" if there is no value) or "<id> error <text>". docs/clients.md says more.

            Exit status: 0 all rules are kept, 1 one is broken.

            Example: syncd check-client -- node examples/node/worker.mjs
            """)

    @Flag(help: "List the checks and their rules.") var list = false
    @Option(help: "Run only this check; may be given several times.") var only: [String] = []
    @Argument(parsing: .captureForPassthrough, help: "The client's command line.") var command: [String] = []

    func validate() throws {
        // Arguments after the options belong to the client, also those that would be options of this command.
        if let first = command.first, first.hasPrefix("-"), first != "--" {
            if ["-h", "--help"].contains(first) { throw CleanExit.helpRequest(self) }
            throw ValidationError("unknown option \(first): give the client's command line after --")
        }
        let known = Set(ClientRule.all.map(\.name))
        if let name = only.first(where: { !known.contains($0) }) { throw ValidationError("there is no check \(name)") }
        if !list, words.isEmpty { throw ValidationError("give the client's command line after --") }
    }

    private var words: [String] { command.first == "--" ? Array(command.dropFirst()) : command }

    func run() async throws {
        if list {
            for check in ClientRule.all { print("\(check.name): \(check.rule)") }
            return
        }
        ignoreBrokenPipes()
        let words = words
        let runner = CheckRunner(
            launch: { environment, errorPath in
                try await ClientProcess(
                    words, environment: ProcessEnvironment.current.merging(environment) { $1 }, errorPath: errorPath)
            },
            say: { print($0) })
        let verdicts: [CheckRunner.Verdict]
        do {
            verdicts = try await runner.run(only).map(\.verdict)
        } catch {
            StandardError.write("syncd: the client cannot be checked: \(error)\n")
            throw ExitCode(1)
        }
        let broken = verdicts.count { if case .broken = $0 { true } else { false } }
        let kept = verdicts.count { $0 == .kept }
        print("\(kept) kept, \(broken) broken, \(verdicts.count - kept - broken) skipped")
        if broken > 0 { throw ExitCode(1) }
    }
}
